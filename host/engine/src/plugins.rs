//! Plugins: push, list, show, roll back, switch, delete, try.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use lakehouse_access::{Action, Caller};
use lakehouse_catalog::CatalogError;
use lakehouse_journal::Stamp;
use lakehouse_plugins::{DryRun, DryRunReport, FolderFailure, PluginDetails, PluginList, PluginSummary, PushReport};
use lakehouse_types::{PluginName, ProfileId, RuleName};

use crate::{Engine, EngineError, Page};

/// A plugin, and the rules of profiles that run it.
#[derive(Debug, Clone)]
pub struct PluginDetail {
    pub plugin: PluginDetails,
    pub used_by: Vec<(ProfileId, RuleName)>,
}

/// A page of plugins, and what of the watched folder failed.
#[derive(Debug)]
pub struct PluginPage {
    pub plugins: Page<PluginSummary>,
    pub failures: Vec<FolderFailure>,
}

/// What a plugin has done since the server started, all versions together.
#[derive(Debug, Clone)]
pub struct PluginCounts {
    pub plugin: PluginName,
    pub calls: u64,
    pub errors: u64,
    pub timeouts: u64,
    /// Values, texts or requests handed over.
    pub rows: u64,
    /// Of all calls together.
    pub busy: Duration,
}

impl Engine {
    /// Compiles, checks and activates a component; the old version serves until then.
    ///
    /// # Errors
    /// When the caller may not, or reads a view through a rule that runs the plugin and not its base; when the component is
    /// refused: the old version stays in force.
    pub async fn push_plugin(&self, caller: &Caller, name: &PluginName, wasm: Bytes) -> Result<PushReport, EngineError> {
        self.require(caller, Action::ManagePlugins).await?;
        self.require_no_insight_by(caller, &format!("push plugin {name}"), name).await?;
        Ok(self.registry.push(&self.stamp(caller), name, wasm).await?)
    }

    /// All plugins by name, and the files of the watched folder that were refused.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn plugins(&self, caller: &Caller, after: Option<&str>, limit: usize) -> Result<PluginPage, EngineError> {
        self.require(caller, Action::ReadPlugins).await?;
        let PluginList { plugins, failures } = self.registry.list();
        Ok(PluginPage { plugins: Page::of(plugins, after, limit, |plugin| plugin.name.as_str()), failures })
    }

    /// One plugin: versions, statistics, who uses it.
    ///
    /// # Errors
    /// When the caller may not, or it does not exist.
    pub async fn plugin(&self, caller: &Caller, name: &PluginName) -> Result<PluginDetail, EngineError> {
        self.require(caller, Action::ReadPlugins).await?;
        let plugin = self.registry.show(name)?;
        Ok(PluginDetail { plugin, used_by: self.catalog.snapshot().users_of_plugin(name) })
    }

    /// Makes another version active: the named one, else the one before.
    ///
    /// # Errors
    /// When the caller may not, or reads a view through a rule that runs the plugin and not its base; when there is no such version.
    pub async fn rollback_plugin(
        &self,
        caller: &Caller,
        name: &PluginName,
        to: Option<String>,
    ) -> Result<PluginSummary, EngineError> {
        self.require(caller, Action::ManagePlugins).await?;
        self.require_no_insight_by(caller, &format!("roll back plugin {name}"), name).await?;
        let (registry, by, name) = (Arc::clone(&self.registry), self.stamp(caller), name.clone());
        self.changes.to_the_end(async move { Ok(registry.rollback(&by, &name, to).await?) }).await
    }

    /// Lets rules resolve to the plugin, or makes them fail closed. The latter shows nobody anything, and is never held up.
    ///
    /// # Errors
    /// When the caller may not, or, to switch it on, reads a view through a rule that runs the plugin and not its base; when the
    /// plugin does not exist.
    pub async fn switch_plugin(&self, caller: &Caller, name: &PluginName, on: bool) -> Result<PluginSummary, EngineError> {
        self.require(caller, Action::ManagePlugins).await?;
        if on {
            self.require_no_insight_by(caller, &format!("enable plugin {name}"), name).await?;
        }
        let (registry, by, name) = (Arc::clone(&self.registry), self.stamp(caller), name.clone());
        self.changes
            .to_the_end(
                async move { Ok(if on { registry.enable(&by, &name).await? } else { registry.disable(&by, &name).await? }) },
            )
            .await
    }

    /// Removes a plugin that no profile binds and no index was made with.
    ///
    /// # Errors
    /// When the caller may not, it does not exist, or a profile binds it or an index pins it.
    pub async fn delete_plugin(self: &Arc<Self>, caller: &Caller, name: &PluginName) -> Result<(), EngineError> {
        self.require(caller, Action::ManagePlugins).await?;
        let (engine, by, name) = (Arc::clone(self), self.stamp(caller), name.clone());
        self.changes.to_the_end(async move { engine.remove_plugin(&by, &name).await }).await
    }

    async fn remove_plugin(&self, by: &Stamp, name: &PluginName) -> Result<(), EngineError> {
        // No profile comes to bind it between the check and the deletion.
        let _held = self.binding.lock().await;
        self.registry.show(name)?;
        let used_by = self.catalog.snapshot().users_of_plugin(name);
        if !used_by.is_empty() {
            return Err(EngineError::PluginInUse { plugin: name.clone(), used_by });
        }
        let used_by = self.catalog.snapshot().indexes_by_plugin(name);
        if !used_by.is_empty() {
            return Err(CatalogError::InUse { what: format!("plugin `{name}`"), used_by }.into());
        }
        Ok(self.registry.delete(by, name).await?)
    }

    /// Runs a plugin on the caller's own rows. Nothing is stored.
    ///
    /// # Errors
    /// When the caller may not, or the plugin fails, then with its own words.
    pub async fn dry_run_plugin(&self, caller: &Caller, name: &PluginName, what: DryRun) -> Result<DryRunReport, EngineError> {
        self.require(caller, Action::DryRun).await?;
        Ok(self.registry.dry_run(name, what).await?)
    }

    /// Counters of every plugin.
    pub fn plugin_counts(&self) -> Vec<PluginCounts> {
        let plugins = self.registry.list().plugins;
        let details = plugins.iter().filter_map(|plugin| self.registry.show(&plugin.name).ok());
        details
            .map(|details| {
                let counts = PluginCounts {
                    plugin: details.summary.name,
                    calls: 0,
                    errors: 0,
                    timeouts: 0,
                    rows: 0,
                    busy: Duration::ZERO,
                };
                details.all.iter().fold(counts, |sum, version| PluginCounts {
                    calls: sum.calls + version.stats.calls,
                    errors: sum.errors + version.stats.errors,
                    timeouts: sum.timeouts + version.stats.timeouts,
                    rows: sum.rows + version.stats.rows,
                    busy: sum.busy + Duration::from_micros(version.stats.latency_sum_us),
                    ..sum
                })
            })
            .collect()
    }
}
