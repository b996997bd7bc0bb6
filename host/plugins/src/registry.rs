//! Names, versions, and which of them is active.
//!
//! **Invariant**: changes are made one at a time, each one metadata transaction with its journal event, and published after it
//! is durable; a change that fails leaves the old snapshot in force.

mod change;
mod dry_run;
mod folder;
mod followers;
mod install;
mod options;
mod record;
mod report;
mod snapshot;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use arc_swap::ArcSwap;
use lakehouse_catalog::Catalog;
use lakehouse_journal::Journal;
use lakehouse_storage::Meta;
use lakehouse_types::{Clock, Digest, PluginName};
use tokio::sync::Mutex;

use crate::{PluginError, cache::CodeCache, error::VersionedName, runtime::Runtime, store::ComponentStore, version::Version};

pub use dry_run::{DryRun, DryRunInput, DryRunReport};
pub use folder::{FolderFailure, FolderWatch};
pub use options::RegistryOptions;
pub use record::{Origin, VersionRecord};
pub use report::{PluginDetails, PluginList, PluginSummary, PushReport, PushState, VersionDetails};
pub use snapshot::Snapshot;

use record::{PluginRecord, SeenRecord};
use snapshot::Plugin;

/// All plugins of a server.
pub struct Registry {
    meta: Meta,
    journal: Journal,
    catalog: Option<Arc<Catalog>>,
    clock: Arc<dyn Clock>,
    runtime: Arc<Runtime>,
    store: Arc<ComponentStore>,
    snapshot: ArcSwap<Snapshot>,
    /// Held by whoever changes something.
    edits: Mutex<()>,
    /// Digests that folders do not install again.
    seen: parking_lot::Mutex<HashSet<Digest>>,
    failures: parking_lot::Mutex<BTreeMap<String, FolderFailure>>,
    max_component_bytes: usize,
}

impl Registry {
    /// Restores every plugin from metadata and starts loading the active ones. Nothing is compiled that the cache still has.
    ///
    /// # Errors
    /// When metadata cannot be read, the cache folder cannot be made, or the engine cannot be set up.
    pub async fn open(options: RegistryOptions) -> Result<Arc<Self>, PluginError> {
        let RegistryOptions {
            bucket,
            meta,
            journal,
            catalog,
            clock,
            cpu,
            cache_path,
            compiler,
            ceilings,
            pool,
            queue_wait,
            max_component_bytes,
        } = options;
        let runtime = Runtime::start(pool, queue_wait, ceilings, cpu)
            .map_err(|error| PluginError::host("the component engine cannot be set up", error.to_string()))?;
        let runtime = Arc::new(runtime);
        let cache = CodeCache::open(&cache_path, runtime.compatibility())
            .map_err(|error| PluginError::host("the folder for compiled components cannot be used", error))?;
        let store = Arc::new(ComponentStore::new(bucket, cache, compiler, Arc::clone(&runtime)));
        let mut plugins = BTreeMap::new();
        for (_, record) in meta.collection::<PluginRecord>().all().await? {
            plugins.insert(record.name.clone(), plugin_of(record, None, Vec::new(), &store));
        }
        let seen = meta.collection::<SeenRecord>().all().await?;
        let seen = seen.into_iter().filter_map(|(digest, _)| Digest::new(digest).ok()).collect();
        let snapshot = Snapshot { runtime: Arc::clone(&runtime), plugins };
        let registry = Arc::new(Self {
            meta,
            journal,
            catalog,
            clock,
            runtime,
            store,
            snapshot: ArcSwap::from_pointee(snapshot),
            edits: Mutex::default(),
            seen: parking_lot::Mutex::new(seen),
            failures: parking_lot::Mutex::default(),
            max_component_bytes,
        });
        registry.warm();
        Ok(registry)
    }

    /// The plugins of this moment.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Reads the plugins anew, where another host installs them. Versions that are known stay loaded.
    ///
    /// # Errors
    /// When metadata cannot be read.
    pub async fn reload(&self) -> Result<(), PluginError> {
        let records = self.meta.collection::<PluginRecord>().all().await?;
        let present = self.snapshot();
        let is_same = |(_, record): &(String, PluginRecord)| {
            present.plugins.get(&record.name).is_some_and(|plugin| *plugin.record == *record)
        };
        if records.len() == present.plugins.len() && records.iter().all(is_same) {
            return Ok(());
        }
        let _turn = self.edits.lock().await;
        self.publish(|plugins| {
            let known = std::mem::take(plugins);
            for (_, record) in records {
                let versions = known.get(&record.name).map(|plugin| plugin.versions.clone()).unwrap_or_default();
                plugins.insert(record.name.clone(), plugin_of(record, None, versions, &self.store));
            }
        });
        self.warm();
        Ok(())
    }

    /// Loads the active versions in the background, so that first calls find their code.
    fn warm(&self) {
        let snapshot = self.snapshot();
        self.runtime.cpu.spawn(async move {
            for plugin in snapshot.plugins.values().filter(|plugin| plugin.record.enabled) {
                let Some(version) = plugin.version(&plugin.record.active) else { continue };
                if let Err(error) = version.code().await {
                    tracing::error!(plugin = %version.id, %error, "a component cannot be loaded");
                }
            }
        });
    }

    fn plugin(&self, name: &PluginName) -> Result<Plugin, PluginError> {
        self.snapshot.load().plugins.get(name).cloned().ok_or_else(|| PluginError::UnknownPlugin(name.clone()))
    }

    fn version(&self, name: &PluginName, digest: &Digest) -> Result<Arc<Version>, PluginError> {
        let unknown = || PluginError::UnknownVersion { plugin: name.clone(), version: format!("sha256:{digest}") };
        self.plugin(name)?.version(digest).cloned().ok_or_else(unknown)
    }

    /// Publishes `record`; `fresh` is the version that it brought.
    fn replace(&self, record: PluginRecord, fresh: Option<Arc<Version>>) {
        self.publish(|plugins| {
            let known = plugins.get(&record.name).map(|plugin| plugin.versions.clone()).unwrap_or_default();
            plugins.insert(record.name.clone(), plugin_of(record, fresh, known, &self.store));
        });
    }

    /// Swaps the snapshot. Called with [`Self::edits`] held.
    fn publish(&self, change: impl FnOnce(&mut BTreeMap<PluginName, Plugin>)) {
        let mut plugins = self.snapshot.load().plugins.clone();
        change(&mut plugins);
        self.snapshot.store(Arc::new(Snapshot { runtime: Arc::clone(&self.runtime), plugins }));
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("snapshot", &self.snapshot.load()).finish_non_exhaustive()
    }
}

/// A plugin for a snapshot, with the versions that are already known, so that counters survive, and the code of the active one.
fn plugin_of(record: PluginRecord, fresh: Option<Arc<Version>>, known: Vec<Arc<Version>>, store: &Arc<ComponentStore>) -> Plugin {
    let known: Vec<_> = known.into_iter().chain(fresh).collect();
    let versions = record
        .versions
        .iter()
        .map(|of| {
            let version = known.iter().find(|version| version.digest() == &of.digest).cloned().unwrap_or_else(|| {
                let id = VersionedName { name: record.name.clone(), version: of.version.clone() };
                Arc::new(Version::new(id, of.clone(), Arc::clone(store)))
            });
            version.holding(of.digest == record.active)
        })
        .collect();
    Plugin { record: Arc::new(record), versions }
}

/// Runs `work` to its end even if the caller goes away: what is committed is also published.
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, PluginError>> + Send + 'static,
) -> Result<T, PluginError> {
    tokio::spawn(work).await.unwrap_or_else(|error| Err(PluginError::host("a change of plugins ended early", error)))
}

#[cfg(test)]
mod tests;
