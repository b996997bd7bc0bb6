//! The rules that follow a plugin, asked before another version comes into force.
//!
//! **Invariant**: a version that a rule in force cannot be opened on never replaces one that it can be opened on. What is told of a
//! rule is its name and where it is bound: never its configuration, nor what the component says of it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use lakehouse_catalog::{CatalogSnapshot, Pin, RuleBinding, RuleKind};
use lakehouse_types::{PluginName, RuleName, ViewName};
use serde_json::Value;

use super::{Origin, Registry};
use crate::{
    Limits, PluginError,
    error::Check,
    log::GuestLog,
    resolve::overlaid,
    rule::Rule,
    runtime::{Options, Place},
    selftest,
    store::on_blocking,
    version::Version,
};

/// Different configurations opened for one upload; those beyond are not tried, and the check says so.
const MAX_OPENED: usize = 1000;
/// Broken rules named in one refusal.
const MAX_NAMED: usize = 8;

/// A rule in force, and how it is opened.
#[derive(Debug, Clone, PartialEq)]
struct Follower {
    /// ``rule `r` of profile `p` ``.
    place: String,
    kind: RuleKind,
    config: String,
    binding: RuleBinding,
}

impl Registry {
    /// Asks every rule that follows `name` whether it can be opened on `trial`. Nothing when no version would be replaced.
    ///
    /// # Errors
    /// [`PluginError::Refused`] naming the rules that can be opened on the present version alone.
    pub(super) async fn ask_followers(
        &self,
        name: &PluginName,
        origin: Origin,
        trial: &Arc<Version>,
    ) -> Result<Option<Check>, PluginError> {
        let (Some(catalog), Some(present)) = (&self.catalog, self.replaced_by(name, origin, trial)) else { return Ok(None) };
        let (catalog, name) = (catalog.snapshot(), name.clone());
        let mut followers = on_blocking(move || followers(&catalog, &name)).await?;
        let skipped = followers.len().saturating_sub(MAX_OPENED);
        followers.truncate(MAX_OPENED);
        let mut broken = Vec::new();
        for follower in &followers {
            let Some(why) = self.why_broken(follower, trial).await? else { continue };
            // What does not work today is no reason to keep today's version.
            if self.why_broken(follower, &present).await?.is_none() {
                broken.push(format!("{}: {why}", follower.place));
            }
            if broken.len() == MAX_NAMED {
                break;
            }
        }
        if !broken.is_empty() {
            let checks = broken.into_iter().map(|what| Check::failed("bindings", what)).collect();
            return Err(PluginError::Refused { checks });
        }
        let beyond = if skipped == 0 { String::new() } else { format!("; {skipped} more were not tried") };
        Ok(Some(Check::passed("bindings", format!("{} configurations of rules in force{beyond}", followers.len()))))
    }

    /// The version that would no longer be in force.
    fn replaced_by(&self, name: &PluginName, origin: Origin, trial: &Version) -> Option<Arc<Version>> {
        let plugin = self.plugin(name).ok()?;
        let present = plugin.version(&plugin.record.active)?;
        let stays = origin == Origin::Shipped && present.record.origin != Origin::Shipped;
        (!stays && present.digest() != trial.digest()).then(|| present.uncounted())
    }

    /// Why the rule cannot be opened on `version`, without a word of the component's.
    async fn why_broken(&self, follower: &Follower, version: &Arc<Version>) -> Result<Option<String>, PluginError> {
        let kind = follower.kind;
        if !version.record.kinds.contains(&kind) {
            return Ok(Some(format!("needs a {kind}, which `{}` is not", version.id)));
        }
        // A rule above a ceiling is broken whatever the version.
        let Ok(limits) = Limits::of(&follower.binding, &self.runtime.ceilings) else { return Ok(None) };
        let rule = Rule {
            runtime: Arc::clone(&self.runtime),
            version: Arc::clone(version),
            loaded: version.code().await?,
            config: follower.config.as_str().into(),
            options: Options {
                limits,
                log: GuestLog::discarded(version.counters.discarded_lines()),
                meter: None,
                place: Place::SelfTest,
            },
        };
        let opening = rule.clone();
        match rule.on_cpu(async move { selftest::open(&opening, kind).await }).await {
            Ok(()) => Ok(None),
            Err(error) if error.plugin().is_some() => Ok(Some(error.to_string())),
            Err(error) => Err(error),
        }
    }
}

/// The rules of all profiles that follow `plugin`, as they stand and as views overlay them, one for each way to open it.
fn followers(catalog: &CatalogSnapshot, plugin: &PluginName) -> Vec<Follower> {
    let overlays = overlays(catalog);
    let (mut followers, mut known) = (Vec::new(), HashSet::new());
    let mut add = |place: String, binding: &RuleBinding, overlay: Option<&Value>| {
        // One that is no object fails to open whatever the component.
        let Ok(config) = overlaid(binding, overlay) else { return };
        if known.insert((binding.kind, config.clone(), format!("{:?}", binding.limits))) {
            followers.push(Follower { place, kind: binding.kind, config, binding: binding.clone() });
        }
    };
    for (id, profile) in &catalog.profiles {
        let bound: HashSet<&str> = profile.bound_datasets.iter().map(String::as_str).collect();
        let follows = |rule: &RuleBinding| rule.component.plugin == *plugin && rule.component.pin == Pin::Active;
        for binding in profile.effective_rules().into_iter().filter(follows) {
            let place = format!("rule `{}` of profile `{id}`", binding.name);
            add(place.clone(), &binding, None);
            if binding.kind != RuleKind::Redactor {
                continue;
            }
            for (view, overlay) in overlays.get(&binding.name).into_iter().flatten() {
                if !bound.is_empty() && !bound.contains(view.as_str()) {
                    continue;
                }
                add(format!("{place}, as view `{view}` uses it"), &binding, Some(overlay));
            }
        }
    }
    followers
}

/// What views lay over the configurations of redactors, by rule.
fn overlays(catalog: &CatalogSnapshot) -> HashMap<RuleName, Vec<(&ViewName, Value)>> {
    let mut overlays: HashMap<_, Vec<_>> = HashMap::new();
    for view in catalog.views.values() {
        for redaction in view.column_redactions.values() {
            if let (rule, Some(overlay)) = redaction.rule() {
                overlays.entry(rule).or_default().push((&view.name, overlay));
            }
        }
    }
    overlays
}

#[cfg(test)]
mod tests;
