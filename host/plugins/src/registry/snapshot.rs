//! Which plugins there are at one moment.
//!
//! **Invariant**: a snapshot never changes; whoever holds one sees the same versions from start to end.

use std::{collections::BTreeMap, sync::Arc};

use lakehouse_catalog::{ComponentRef, RuleBinding};
use lakehouse_types::{Digest, PluginName};

use crate::{Limits, PluginError, registry::record::PluginRecord, runtime::Runtime, version::Version};

/// The plugins of one moment.
pub struct Snapshot {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) plugins: BTreeMap<PluginName, Plugin>,
}

/// A plugin within a snapshot.
#[derive(Clone)]
pub(crate) struct Plugin {
    pub(crate) record: Arc<PluginRecord>,
    /// In the order of the record.
    pub(crate) versions: Vec<Arc<Version>>,
}

impl Plugin {
    pub(crate) fn version(&self, digest: &Digest) -> Option<&Arc<Version>> {
        self.versions.iter().find(|version| version.digest() == digest)
    }
}

impl Snapshot {
    /// Whether a binding could be opened: its component exists and has the kind, its limits are below the ceilings, its grants
    /// can be given. Runs no component; the configuration is checked when the rule is first opened.
    ///
    /// # Errors
    /// What is wrong with the binding, by name.
    pub fn check(&self, binding: &RuleBinding) -> Result<(), PluginError> {
        Limits::of(binding, &self.runtime.ceilings)?;
        if let Some(grant) = binding.grants.first() {
            return Err(PluginError::UnknownGrant { rule: binding.name.clone(), grant: grant.clone() });
        }
        self.resolve(binding).map(drop)
    }

    /// The version behind a binding.
    pub(crate) fn resolve(&self, binding: &RuleBinding) -> Result<Arc<Version>, PluginError> {
        let unresolved = |why: String| PluginError::Unresolved { rule: binding.name.clone(), why };
        let ComponentRef { plugin: name, pin } = &binding.component;
        let plugin = self.plugins.get(name).ok_or_else(|| unresolved(format!("plugin `{name}` does not exist")))?;
        if !plugin.record.enabled {
            return Err(unresolved(format!("plugin `{name}` is disabled")));
        }
        let missing = || unresolved(format!("there is no `{}`", binding.component));
        let record = plugin.record.find(pin).ok_or_else(missing)?;
        let version = plugin.version(&record.digest).ok_or_else(missing)?;
        if !version.record.kinds.contains(&binding.kind) {
            return Err(unresolved(format!("`{}` is no {}", version.id, binding.kind)));
        }
        Ok(Arc::clone(version))
    }

    /// The names of all plugins.
    pub fn names(&self) -> impl Iterator<Item = &PluginName> {
        self.plugins.keys()
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("plugins", &self.plugins.keys().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}
