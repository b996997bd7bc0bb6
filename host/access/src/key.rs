//! A key as it is stored, and what may be shown of it.

use std::fmt;

use chrono::{DateTime, Utc};
use lakehouse_storage::Record;
use lakehouse_types::{Actor, KeyId, KeyName, ProfileId};
use serde::{Deserialize, Serialize};

use crate::{AccessError, Grant, Role, naming, secret::SecretDigest};

/// Of a key's own grants, and of those that the access file gives it.
pub(crate) const MAX_GRANTS: usize = 1000;
const MAX_PROFILES: usize = 100;

/// A stored key. Holds a salted digest of the secret, never the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    #[serde(flatten)]
    pub info: KeyInfo,
    pub(crate) secret: SecretDigest,
}

impl Record for KeyRecord {
    const COLLECTION: &'static str = "keys";
    const FORMAT: u32 = 1;
}

/// What is known of a key; fit to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    pub id: KeyId,
    pub name: KeyName,
    pub role: Role,
    #[serde(default)]
    pub grants: Vec<Grant>,
    /// Profiles that requests may name; an admin may name any.
    #[serde(default)]
    pub profiles: Vec<ProfileId>,
    /// The profile of a request that names none; absent stands for `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_profile: Option<ProfileId>,
    pub created_at: DateTime<Utc>,
    pub created_by: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<Actor>,
}

impl KeyInfo {
    /// Neither revoked nor expired.
    pub fn is_live(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// A key as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedKey {
    /// With all grants in force, those of the access file among them.
    #[serde(flatten)]
    pub info: KeyInfo,
    /// To a minute or so; absent when it never was.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// The body of `POST /admin/keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// Neither one that a key has or had, nor one that the server uses itself.
    pub name: KeyName,
    pub role: Role,
    #[serde(default)]
    pub grants: Vec<Grant>,
    #[serde(default)]
    pub profiles: Vec<ProfileId>,
    /// Counts as one of `profiles`. When absent, the first of `profiles`; without any, `default`.
    #[serde(default)]
    pub default_profile: Option<ProfileId>,
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
}

impl CreateKey {
    pub(crate) fn validate(&self, now: DateTime<Utc>) -> Result<(), AccessError> {
        if naming::is_reserved(&self.name) {
            return Err(AccessError::NameReserved { name: self.name.clone() });
        }
        if self.expires_at.is_some_and(|end| end <= now) {
            return Err(AccessError::ExpiresInPast);
        }
        if self.grants.len() > MAX_GRANTS {
            return Err(AccessError::TooMany { field: "grants", limit: MAX_GRANTS });
        }
        if self.profiles.len() > MAX_PROFILES {
            return Err(AccessError::TooMany { field: "profiles", limit: MAX_PROFILES });
        }
        self.grants.iter().try_for_each(Grant::validate)
    }

    pub(crate) fn into_info(self, id: KeyId, by: Actor, now: DateTime<Utc>) -> KeyInfo {
        let Self { name, role, grants, mut profiles, default_profile, expires_at } = self;
        let default_profile = default_profile.or_else(|| profiles.first().cloned());
        if let Some(own) = &default_profile
            && !profiles.contains(own)
        {
            profiles.push(own.clone());
        }
        KeyInfo {
            id,
            name,
            role,
            grants,
            profiles,
            default_profile,
            created_at: now,
            created_by: by,
            expires_at,
            revoked_at: None,
            revoked_by: None,
        }
    }
}

/// A key at the one moment when its secret is known.
#[derive(Clone)]
pub struct NewKey {
    pub id: KeyId,
    /// The whole text to send: id and secret. Shown once.
    pub key: String,
    pub record: KeyInfo,
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("id", &self.id).field("record", &self.record).finish_non_exhaustive()
    }
}
