//! Names, versions, and which of them is active.
//!
//! **Invariant**: changes are made one at a time, each one metadata transaction with its journal event, and published after it
//! is durable; a change that fails leaves the old snapshot in force.

mod dry_run;
mod folder;
mod followers;
mod install;
mod record;
mod report;
mod snapshot;

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use lakehouse_catalog::{Catalog, ComponentRef, Pin};
use lakehouse_journal::{Draft, EventKind, Journal, Stamp};
use lakehouse_storage::{Bucket, Meta};
use lakehouse_types::{Clock, Digest, PluginName};
use serde_json::json;
use tokio::{runtime::Handle, sync::Mutex};

use crate::{
    Ceilings, Compiler, PluginError, cache::CodeCache, error::VersionedName, runtime::Runtime, store::ComponentStore,
    version::Version,
};

pub use dry_run::{DryRun, DryRunInput, DryRunReport};
pub use folder::{FolderFailure, FolderWatch};
pub use record::{Origin, VersionRecord};
pub use report::{PluginDetails, PluginList, PluginSummary, PushReport, PushState, VersionDetails};
pub use snapshot::Snapshot;

use record::{PluginRecord, SeenRecord};
use snapshot::Plugin;

/// What a registry is opened with.
pub struct RegistryOptions {
    /// Holds the components: the primary bucket.
    pub bucket: Bucket,
    pub meta: Meta,
    pub journal: Journal,
    /// Whose rules an upload must not break; absent, none do.
    pub catalog: Option<Arc<Catalog>>,
    pub clock: Arc<dyn Clock>,
    /// Where components run.
    pub cpu: Handle,
    /// Compiled code; private to this host.
    pub cache_path: PathBuf,
    pub compiler: Compiler,
    pub ceilings: Ceilings,
    /// Instances at once, all requests together.
    pub pool: usize,
    /// How long a call waits for a place in the pool before it answers `busy`.
    pub queue_wait: Duration,
    /// The largest component taken.
    pub max_component_bytes: usize,
}

impl RegistryOptions {
    /// With this program as the compiler, no rules to ask, the default ceilings, 256 instances, 5 s of queue and 64 MiB a
    /// component.
    ///
    /// # Errors
    /// When the program's own path is unknown.
    pub fn new(
        bucket: Bucket,
        meta: Meta,
        journal: Journal,
        clock: Arc<dyn Clock>,
        cpu: Handle,
        cache_path: PathBuf,
    ) -> std::io::Result<Self> {
        Ok(Self {
            bucket,
            meta,
            journal,
            catalog: None,
            clock,
            cpu,
            cache_path,
            compiler: Compiler::this_program()?,
            ceilings: Ceilings::default(),
            pool: 256,
            queue_wait: Duration::from_secs(5),
            max_component_bytes: 64 << 20,
        })
    }
}

impl std::fmt::Debug for RegistryOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryOptions").field("pool", &self.pool).field("ceilings", &self.ceilings).finish_non_exhaustive()
    }
}

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

    /// Makes another version active: `to` (a version, or `sha256:` and a digest), else the one that was active before.
    ///
    /// # Errors
    /// When there is no such plugin or version, or its code cannot be loaded.
    pub async fn rollback(
        self: &Arc<Self>,
        by: &Stamp,
        name: &PluginName,
        to: Option<String>,
    ) -> Result<PluginSummary, PluginError> {
        let pin = match &to {
            None => None,
            Some(text) => {
                let unknown = || PluginError::UnknownVersion { plugin: name.clone(), version: crate::message::escape(text, 80) };
                let reference: ComponentRef = format!("{name}@{text}").parse().map_err(|_| unknown())?;
                Some(reference.pin)
            }
        };
        let target = self.rollback_target(name, pin.as_ref())?;
        self.version(name, &target)?.code().await?;
        self.edit(by, name, EventKind::PluginRollback, move |record| {
            // The plugin may have been changed, or deleted and uploaded anew, since the target was found.
            let from = record.active.clone();
            match pin {
                None => drop(record.step_back().ok_or_else(|| PluginError::NoEarlierVersion(record.name.clone()))?),
                Some(_) if record.version(&target).is_some() => record.activate(target),
                Some(pin) => return Err(PluginError::UnknownVersion { plugin: record.name.clone(), version: pin_text(&pin) }),
            }
            let version_of = |digest: &Digest| record.version(digest).map(|version| version.version.clone());
            let (left, reached) = (version_of(&from), version_of(&record.active));
            Ok(json!({ "from": left, "from_digest": from, "to": reached, "to_digest": record.active }))
        })
        .await
    }

    fn rollback_target(&self, name: &PluginName, pin: Option<&Pin>) -> Result<Digest, PluginError> {
        let plugin = self.plugin(name)?;
        match pin {
            None => plugin.record.history.last().cloned().ok_or_else(|| PluginError::NoEarlierVersion(name.clone())),
            Some(pin) => match plugin.record.find(pin) {
                Some(version) => Ok(version.digest.clone()),
                None => Err(PluginError::UnknownVersion { plugin: name.clone(), version: pin_text(pin) }),
            },
        }
    }

    /// Lets bindings resolve to the plugin again.
    ///
    /// # Errors
    /// When there is no such plugin, or metadata cannot be written.
    pub async fn enable(self: &Arc<Self>, by: &Stamp, name: &PluginName) -> Result<PluginSummary, PluginError> {
        self.set_enabled(by, name, true, EventKind::PluginEnable).await
    }

    /// Makes every binding to the plugin unresolved, so that what uses it fails closed.
    ///
    /// # Errors
    /// As [`Self::enable`].
    pub async fn disable(self: &Arc<Self>, by: &Stamp, name: &PluginName) -> Result<PluginSummary, PluginError> {
        self.set_enabled(by, name, false, EventKind::PluginDisable).await
    }

    async fn set_enabled(
        self: &Arc<Self>,
        by: &Stamp,
        name: &PluginName,
        enabled: bool,
        kind: EventKind,
    ) -> Result<PluginSummary, PluginError> {
        if self.plugin(name)?.record.enabled == enabled {
            return self.summary(name);
        }
        self.edit(by, name, kind, move |record| {
            record.enabled = enabled;
            Ok(json!({ "active": record.version(&record.active).map(|version| version.version.clone()) }))
        })
        .await
    }

    /// Removes the plugin and the bytes that no other plugin shares. Requests that hold a snapshot finish on it. Whether
    /// something uses the plugin is for the caller to check.
    ///
    /// # Errors
    /// When there is no such plugin, or metadata cannot be written.
    pub async fn delete(self: &Arc<Self>, by: &Stamp, name: &PluginName) -> Result<(), PluginError> {
        let (this, by, name) = (Arc::clone(self), by.clone(), name.clone());
        detached(async move {
            let _turn = this.edits.lock().await;
            let plugin = this.plugin(&name)?;
            // Whoever holds the present snapshot keeps its code after the bytes are gone.
            if let Some(active) = plugin.version(&plugin.record.active) {
                let _ = active.code().await;
            }
            let mut txn = this.meta.begin().await?;
            txn.delete::<PluginRecord>(name.as_str());
            let versions: Vec<_> = plugin.record.versions.iter().map(|version| version.version.clone()).collect();
            let draft = Draft::new(EventKind::PluginDelete, name.as_str()).details(json!({ "versions": versions }));
            this.journal.commit(txn, &by, vec![draft]).await?;
            this.publish(|plugins| drop(plugins.remove(&name)));
            let left = this.snapshot();
            for version in &plugin.record.versions {
                let shared = left.plugins.values().any(|other| other.record.version(&version.digest).is_some());
                if !shared && let Err(error) = this.store.remove(&version.digest).await {
                    tracing::warn!(component = %version.digest, %error, "a deleted component's bytes are left over");
                }
            }
            Ok(())
        })
        .await
    }

    /// One change of one plugin: record, event, publication.
    async fn edit(
        self: &Arc<Self>,
        by: &Stamp,
        name: &PluginName,
        kind: EventKind,
        change: impl FnOnce(&mut PluginRecord) -> Result<serde_json::Value, PluginError> + Send + 'static,
    ) -> Result<PluginSummary, PluginError> {
        let (this, by, name) = (Arc::clone(self), by.clone(), name.clone());
        detached(async move {
            let _turn = this.edits.lock().await;
            let mut record = (*this.plugin(&name)?.record).clone();
            let details = change(&mut record)?;
            let mut txn = this.meta.begin().await?;
            txn.put(name.as_str(), &record)?;
            this.journal.commit(txn, &by, vec![Draft::new(kind, name.as_str()).details(details)]).await?;
            this.replace(record, None);
            this.summary(&name)
        })
        .await
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

fn pin_text(pin: &Pin) -> String {
    match pin {
        Pin::Active => "active".to_owned(),
        Pin::Version(version) => version.to_string(),
        Pin::Digest(digest) => format!("sha256:{digest}"),
    }
}

/// Runs `work` to its end even if the caller goes away: what is committed is also published.
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, PluginError>> + Send + 'static,
) -> Result<T, PluginError> {
    tokio::spawn(work).await.unwrap_or_else(|error| Err(PluginError::host("a change of plugins ended early", error)))
}

#[cfg(test)]
mod tests;
