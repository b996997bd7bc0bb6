//! Who may change what stands behind a view's redactions.
//!
//! **Invariant**: by changing a rule nobody comes to see more through a view than its grants give: who reads a view and not its base
//! changes no rule that the view is redacted with, under no profile; nor one of a view that it stands on, unless it reads the base of
//! that one. Who searches an index of a view reads it, in this sense.

use std::{collections::BTreeSet, sync::Arc};

use lakehouse_access::Caller;
use lakehouse_catalog::{Profile, ViewRecord};
use lakehouse_types::{PluginName, RuleName, ViewName};

use crate::{Engine, EngineError};

impl Engine {
    /// Refuses who reads a view through one of the rules, and not its base.
    pub(crate) async fn require_no_insight(
        &self,
        caller: &Caller,
        what: &str,
        rules: &BTreeSet<RuleName>,
    ) -> Result<(), EngineError> {
        let present = self.catalog.snapshot();
        for view in present.views.values().filter(|view| self.sees_through(caller, &view.name)) {
            let stack = present.stack(Arc::clone(view))?;
            let hidden = |layer: &&Arc<ViewRecord>| !self.reads_base(caller, &present, &layer.base_dataset);
            for layer in stack.views().iter().filter(hidden) {
                let Some(rule) = layer.column_redactions.values().map(|how| how.rule().0).find(|rule| rules.contains(rule))
                else {
                    continue;
                };
                let base = layer.base_dataset.clone();
                let kind = if present.views.contains_key(base.as_str()) { "view" } else { "dataset" };
                let refusal = EngineError::RuleOfReadView { rule, view: view.name.clone(), kind, base };
                return Err(self.denied(caller, what, refusal).await);
            }
        }
        Ok(())
    }

    /// Whether the caller reads the view, or searches an index that holds what it shows.
    pub(crate) fn sees_through(&self, caller: &Caller, view: &ViewName) -> bool {
        let present = self.catalog.snapshot();
        let indexes = present.indexes.values().filter(|index| index.relation == view.as_str());
        caller.principal.may_read_view(view)
            || indexes.map(|index| &index.name).any(|index| caller.principal.may_search_index(index))
    }

    /// The same, of all rules that run a plugin.
    pub(crate) async fn require_no_insight_by(
        &self,
        caller: &Caller,
        what: &str,
        plugin: &PluginName,
    ) -> Result<(), EngineError> {
        let users = self.catalog.snapshot().users_of_plugin(plugin);
        self.require_no_insight(caller, what, &users.into_iter().map(|(_, rule)| rule).collect()).await
    }
}

/// The rules behind which something else stands after the change. A profile that does not exist is taken for one without rules of
/// its own, so that deleting a profile and making it anew is no way around.
pub(crate) fn rebound(before: Option<&Profile>, after: Option<&Profile>) -> BTreeSet<RuleName> {
    let Some(either) = before.or(after) else { return BTreeSet::new() };
    let bare = Profile { rules: Vec::new(), ..either.clone() };
    let (before, after) = (before.unwrap_or(&bare).effective_rules(), after.unwrap_or(&bare).effective_rules());
    let changed = before.iter().filter(|rule| !after.contains(rule)).chain(after.iter().filter(|rule| !before.contains(rule)));
    changed.map(|rule| rule.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use lakehouse_catalog::{Profile, RuleBinding, RuleKind};
    use lakehouse_types::{Actor, PluginName, RuleName};

    use super::rebound;

    fn profile(rules: &[(&str, &str)]) -> Profile {
        let at = "2026-01-02T03:04:05Z".parse().unwrap();
        let mut profile = Profile::implicit_default(Actor::new("ada").unwrap(), at);
        profile.rules = rules
            .iter()
            .map(|(name, plugin)| {
                RuleBinding::new(RuleName::new(*name).unwrap(), RuleKind::Redactor, PluginName::new(*plugin).unwrap())
            })
            .collect();
        profile
    }

    #[test]
    fn a_rule_is_rebound_when_something_else_stands_behind_its_name() {
        let check = |before: Option<&[(&str, &str)]>, after: Option<&[(&str, &str)]>, expected: &[&str]| {
            let (before, after) = (before.map(profile), after.map(profile));
            let names = rebound(before.as_ref(), after.as_ref());
            assert_eq!(names.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), expected, "{before:?} {after:?}");
        };
        check(None, Some(&[]), &[]);
        check(None, Some(&[("hash", "redact-hash")]), &[]);
        check(None, Some(&[("hash", "identity"), ("note", "redact-pii")]), &["hash", "note"]);
        check(Some(&[("mask", "redact-null")]), Some(&[]), &["mask"]);
        check(Some(&[("mask", "redact-null")]), None, &["mask"]);
        check(Some(&[("note", "redact-pii")]), Some(&[("note", "redact-pii"), ("null", "identity")]), &["null"]);

        let mut tuned = profile(&[("note", "redact-pii")]);
        tuned.rules[0].limits.deadline_ms += 1;
        assert_eq!(rebound(Some(&profile(&[("note", "redact-pii")])), Some(&tuned)).len(), 1, "limits stand behind it too");
    }
}
