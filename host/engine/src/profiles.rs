//! Profiles: bind rules to components, after asking the components.

use std::sync::Arc;

use lakehouse_access::{Action, Caller};
use lakehouse_catalog::{CatalogError, Profile, ProfileInput, RuleBinding, RuleKind, RuleLimits};
use lakehouse_journal::{Draft, EventKind};
use lakehouse_plugins::Bindings;
use lakehouse_types::{DatasetName, ProfileId, ViewName};
use serde_json::json;

use crate::{Engine, EngineError, Page, insight::rebound};

impl Engine {
    /// Creates or replaces a profile; in force when this returns.
    ///
    /// # Errors
    /// When the caller may not, or reads a view through a rule that changes and not its base; a component does not exist, is of another kind, rejects its configuration, or is granted what it
    /// does not ask for; a limit is above its ceiling; a bound dataset or view does not exist.
    pub async fn put_profile(self: &Arc<Self>, caller: &Caller, input: ProfileInput) -> Result<Profile, EngineError> {
        self.require(caller, Action::ManageProfiles).await?;
        let (engine, caller) = (Arc::clone(self), caller.clone());
        self.changes.to_the_end(async move { engine.define_profile(&caller, input).await }).await
    }

    async fn define_profile(&self, caller: &Caller, input: ProfileInput) -> Result<Profile, EngineError> {
        let by = self.stamp(caller);
        let profile = input.into_profile(&by.actor, by.at, None);
        profile.validate()?;
        // No plugin is deleted between the check and the edit, and no other profile put.
        let _held = self.binding.lock().await;
        let present = self.catalog.snapshot();
        let rules = rebound(present.profiles.get(&profile.id).map(AsRef::as_ref), Some(&profile));
        self.require_no_insight(caller, &format!("change profile {}", profile.id), &rules).await?;
        self.check_rules(&profile).await?;

        let rules: Vec<_> = profile.rules.iter().map(|rule| json!([rule.name, rule.component.to_string()])).collect();
        let details = json!({ "rules": rules, "bound_datasets": profile.bound_datasets });
        self.catalog
            .edit(&by, |present, edit| {
                let mut profile = profile;
                if let Some(previous) = present.profiles.get(&profile.id) {
                    profile.created_at = previous.created_at;
                    profile.created_by = previous.created_by.clone();
                }
                edit.event(Draft::new(EventKind::ProfilePut, profile.id.as_str()).details(details));
                edit.put_profile(profile.clone())?;
                Ok(profile)
            })
            .await
    }

    /// The profiles that the caller may name or manage, by id.
    ///
    /// # Errors
    /// None today.
    pub fn profiles(&self, caller: &Caller, after: Option<&str>, limit: usize) -> Result<Page<Profile>, EngineError> {
        let present = self.catalog.snapshot();
        let visible = present.profiles.values().filter(|profile| sees(caller, &profile.id));
        Ok(Page::of(visible, after, limit, |profile| profile.id.as_str()).map(|profile| shown(caller, profile)))
    }

    /// One profile.
    ///
    /// # Errors
    /// When it does not exist, or the caller may not know that it does.
    pub async fn profile(&self, caller: &Caller, id: &ProfileId) -> Result<Profile, EngineError> {
        if !sees(caller, id) {
            return Err(self.hidden(caller, &format!("profile {id}"), CatalogError::UnknownProfile { id: id.clone() }).await);
        }
        Ok(shown(caller, self.catalog.snapshot().profile(id)?))
    }

    /// Deletes a profile. Keys that name it are refused until they name another.
    ///
    /// # Errors
    /// When the caller may not, or reads a view through one of its rules and not its base; when it does not exist, or is `default`.
    pub async fn delete_profile(self: &Arc<Self>, caller: &Caller, id: &ProfileId) -> Result<(), EngineError> {
        self.require(caller, Action::ManageProfiles).await?;
        let (engine, caller, id) = (Arc::clone(self), caller.clone(), id.clone());
        self.changes.to_the_end(async move { engine.remove_profile(&caller, &id).await }).await
    }

    async fn remove_profile(&self, caller: &Caller, id: &ProfileId) -> Result<(), EngineError> {
        let _held = self.binding.lock().await;
        let present = self.catalog.snapshot();
        let rules = rebound(present.profiles.get(id).map(AsRef::as_ref), None);
        self.require_no_insight(caller, &format!("delete profile {id}"), &rules).await?;
        self.catalog
            .edit(&self.stamp(caller), |_, edit| {
                edit.remove_profile(id)?;
                edit.event(Draft::new(EventKind::ProfileDelete, id.as_str()));
                Ok(())
            })
            .await
    }

    /// Asks each component whether it is what the rule takes it for.
    async fn check_rules(&self, profile: &Profile) -> Result<(), EngineError> {
        let plugins = &self.settings.plugins;
        let ceilings = RuleLimits {
            memory_mib: mib(plugins.memory_bytes),
            deadline_ms: u32::try_from(plugins.deadline.as_millis()).unwrap_or(u32::MAX),
            output_mib: mib(plugins.output_bytes),
            log_kib: u32::try_from(plugins.log_bytes >> 10).unwrap_or(u32::MAX),
        };
        for rule in &profile.rules {
            rule.check_limits(&ceilings)
                .map_err(|reason| CatalogError::Definition { what: format!("profile `{}`", profile.id), reason })?;
        }
        let bindings = Bindings::new(self.registry.snapshot(), profile.rules.clone());
        let rules = profile.rules.clone();
        self.cpu
            .run(async move {
                for rule in &rules {
                    try_rule(&bindings, rule).await?;
                }
                Ok(())
            })
            .await?
    }
}

/// Opens the rule once with its configuration.
pub(crate) async fn try_rule(bindings: &Bindings, rule: &RuleBinding) -> Result<(), EngineError> {
    match rule.kind {
        RuleKind::Redactor => drop(bindings.redactor(&rule.name, None).await?),
        RuleKind::Condition => drop(bindings.condition(&rule.name, None).await?),
        RuleKind::Chunker => drop(bindings.chunker(&rule.name, None).await?),
        RuleKind::IdMapper => drop(bindings.id_mapper(&rule.name, None).await?),
        RuleKind::Embedder => drop(bindings.embedder(&rule.name, None).await?),
        RuleKind::ModelAdapter => drop(bindings.model_adapter(&rule.name, None).await?),
    }
    Ok(())
}

fn mib(bytes: u64) -> u32 {
    u32::try_from(bytes >> 20).unwrap_or(u32::MAX)
}

/// The profile as the caller may know it.
fn shown(caller: &Caller, profile: &Profile) -> Profile {
    Profile { bound_datasets: known_bindings(caller, profile), ..profile.clone() }
}

/// What the profile is bound to, of what the caller manages, reads or writes.
pub(crate) fn known_bindings(caller: &Caller, profile: &Profile) -> Vec<String> {
    let principal = &caller.principal;
    let dataset = |name: &DatasetName| principal.may_read_dataset(name) || principal.may_write_dataset(name);
    let is_known = |name: &String| {
        principal.may(Action::ManageProfiles)
            || DatasetName::new(name.as_str()).is_ok_and(|name| dataset(&name))
            || ViewName::new(name.as_str()).is_ok_and(|name| principal.may_read_view(&name))
    };
    profile.bound_datasets.iter().filter(|name| is_known(name)).cloned().collect()
}

pub(crate) fn sees(caller: &Caller, id: &ProfileId) -> bool {
    caller.principal.may(Action::ManageProfiles) || caller.principal.choose_profile(Some(id)).is_ok()
}
