//! Who a request acts as.

use chrono::{DateTime, Utc};
use lakehouse_types::{Actor, DatasetName, IndexName, KeyId, ProfileId, SourceName, ViewName};

use crate::{AccessError, Action, Grant, GrantTarget, KeyInfo, Role, Verb};

/// The name of everybody where keys are switched off.
pub(crate) const LOCAL: &str = "local";

/// The holder of a key, as of the moment it was authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub key_id: KeyId,
    /// The key's name; journals show it.
    pub name: Actor,
    pub role: Role,
    pub grants: Vec<Grant>,
    pub profiles: Vec<ProfileId>,
    pub default_profile: Option<ProfileId>,
    pub expires_at: Option<DateTime<Utc>>,
    /// How often the key's grants had come to permit less by that moment.
    pub narrowings: u64,
}

impl Principal {
    /// Everybody, when `[auth] enabled = false`.
    pub fn local_admin() -> Self {
        Self {
            key_id: KeyId::new(LOCAL).expect("a plain word is a slug"),
            name: Actor::new(LOCAL).expect("a plain word is an actor"),
            role: Role::Admin,
            grants: Vec::new(),
            profiles: Vec::new(),
            default_profile: None,
            expires_at: None,
            narrowings: 0,
        }
    }

    /// The holder of this key, with all its grants.
    pub(crate) fn new(info: &KeyInfo, grants: Vec<Grant>, narrowings: u64) -> Self {
        Self {
            key_id: info.id.clone(),
            name: Actor::new(info.name.as_str()).expect("every key name is an actor"),
            role: info.role,
            grants,
            profiles: info.profiles.clone(),
            default_profile: info.default_profile.clone(),
            expires_at: info.expires_at,
            narrowings,
        }
    }

    /// Whether no key stands behind it. No key is ever named so.
    pub fn is_local(&self) -> bool {
        self.name.as_str() == LOCAL
    }

    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Whether the role may do it at all; names are a matter of grants.
    pub fn may(&self, action: Action) -> bool {
        action.roles().contains(&self.role)
    }

    /// # Errors
    /// [`AccessError::Forbidden`] when the role may not.
    pub fn require(&self, action: Action) -> Result<(), AccessError> {
        if self.may(action) { Ok(()) } else { Err(AccessError::Forbidden { role: self.role, action }) }
    }

    pub fn may_read_dataset(&self, name: &DatasetName) -> bool {
        self.is_admin()
            || self.is_granted(Verb::Read, |target| matches!(target, GrantTarget::Dataset(one) if one.matches(name.as_str())))
    }

    /// A view is readable by its own grant, without one on its base, and not by one on its base.
    pub fn may_read_view(&self, name: &ViewName) -> bool {
        self.is_admin()
            || self.is_granted(Verb::Read, |target| matches!(target, GrantTarget::View(one) if one.matches(name.as_str())))
    }

    /// By the index's own grant. Whoever may read the index's relation needs none.
    pub fn may_search_index(&self, name: &IndexName) -> bool {
        self.is_admin()
            || self.is_granted(Verb::Read, |target| matches!(target, GrantTarget::Index(one) if one.matches(name.as_str())))
    }

    /// Ingest, tombstones, deletion.
    pub fn may_write_dataset(&self, name: &DatasetName) -> bool {
        let granted =
            || self.is_granted(Verb::Write, |target| matches!(target, GrantTarget::Dataset(one) if one.matches(name.as_str())));
        self.is_admin() || self.may(Action::Ingest) && granted()
    }

    /// Ingest from a database that an operator declared.
    pub fn may_read_source(&self, name: &SourceName) -> bool {
        let granted =
            || self.is_granted(Verb::Read, |target| matches!(target, GrantTarget::Source(one) if one.matches(name.as_str())));
        self.is_admin() || self.may(Action::Ingest) && granted()
    }

    /// The profile of a request: the one it asks for if the key may name it, else the key's own, else `default`.
    ///
    /// # Errors
    /// [`AccessError::ProfileNotAllowed`] when the key does not list what was asked for.
    pub fn choose_profile(&self, asked: Option<&ProfileId>) -> Result<ProfileId, AccessError> {
        let own = self.default_profile.clone().unwrap_or_else(ProfileId::default_profile);
        let Some(asked) = asked else { return Ok(own) };
        let granted =
            || self.is_granted(Verb::Read, |target| matches!(target, GrantTarget::Profile(one) if one.matches(asked.as_str())));
        if *asked == own || self.is_admin() || self.profiles.contains(asked) || granted() {
            return Ok(asked.clone());
        }
        let mut allowed = vec![own];
        allowed.extend(self.profiles.iter().filter(|id| **id != allowed[0]).cloned().collect::<Vec<_>>());
        Err(AccessError::ProfileNotAllowed { id: asked.clone(), allowed })
    }

    fn is_granted(&self, verb: Verb, is_target: impl Fn(&GrantTarget) -> bool) -> bool {
        self.grants.iter().any(|grant| grant.permits(verb) && is_target(&grant.target))
    }
}

#[cfg(test)]
mod tests;
