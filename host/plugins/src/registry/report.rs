//! What is told about plugins.

use chrono::{DateTime, Utc};
use lakehouse_catalog::RuleKind;
use lakehouse_types::{Digest, PluginName};
use serde::Serialize;

use super::{FolderFailure, Plugin, Registry, VersionRecord};
use crate::{PluginError, error::Check, stats::PluginStats};

/// Whether an upload is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PushState {
    Active,
    /// The plugin is disabled; the version is in force once it is enabled.
    Staged,
}

/// What became of an upload.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PushReport {
    pub name: PluginName,
    pub version: Box<str>,
    pub digest: Digest,
    pub kinds: Vec<RuleKind>,
    pub imports: Vec<String>,
    pub state: PushState,
    pub checks: Vec<Check>,
}

/// A plugin in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PluginSummary {
    pub name: PluginName,
    /// The active version.
    pub version: Box<str>,
    pub digest: Digest,
    pub enabled: bool,
    pub kinds: Vec<RuleKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How many versions there are.
    pub versions: usize,
    pub updated_at: DateTime<Utc>,
}

/// Everything that is installed, and the files of the watched folder that were refused.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PluginList {
    pub plugins: Vec<PluginSummary>,
    pub failures: Vec<FolderFailure>,
}

/// A plugin with all its versions, newest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PluginDetails {
    #[serde(flatten)]
    pub summary: PluginSummary,
    #[serde(rename = "all_versions")]
    pub all: Vec<VersionDetails>,
}

/// One version of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VersionDetails {
    #[serde(flatten)]
    pub record: VersionRecord,
    pub active: bool,
    pub stats: PluginStats,
}

impl Plugin {
    fn summary(&self) -> PluginSummary {
        let record = &self.record;
        let active = record.version(&record.active);
        PluginSummary {
            name: record.name.clone(),
            version: active.map(|version| version.version.clone()).unwrap_or_default(),
            digest: record.active.clone(),
            enabled: record.enabled,
            kinds: active.map(|version| version.kinds.clone()).unwrap_or_default(),
            description: active.and_then(|version| version.description.clone()),
            versions: record.versions.len(),
            updated_at: record.versions.last().map(|version| version.pushed_at).unwrap_or_default(),
        }
    }
}

impl Registry {
    /// All plugins by name, and what of the watched folder failed.
    pub fn list(&self) -> PluginList {
        let plugins = self.snapshot.load().plugins.values().map(Plugin::summary).collect();
        PluginList { plugins, failures: self.failures.lock().values().cloned().collect() }
    }

    /// One plugin with its versions and their statistics.
    ///
    /// # Errors
    /// When there is no such plugin.
    pub fn show(&self, name: &PluginName) -> Result<PluginDetails, PluginError> {
        let plugin = self.plugin(name)?;
        let all = plugin.versions.iter().rev().map(|version| VersionDetails {
            record: version.record.clone(),
            active: *version.digest() == plugin.record.active,
            stats: version.counters.read(),
        });
        Ok(PluginDetails { summary: plugin.summary(), all: all.collect() })
    }

    pub(super) fn summary(&self, name: &PluginName) -> Result<PluginSummary, PluginError> {
        Ok(self.plugin(name)?.summary())
    }
}
