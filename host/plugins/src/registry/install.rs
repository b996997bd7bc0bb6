//! How a component becomes a version.
//!
//! **Invariant**: nothing is stored, and nothing that serves is touched, before the component is compiled, has passed its
//! self-test, and every rule that follows the plugin opens on it. What an upload or a file was refused for is journaled.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use bytes::Bytes;
use lakehouse_journal::{Draft, EventKind, Stamp, SystemActor};
use lakehouse_types::{Digest, PluginName};
use serde_json::json;

use super::{Origin, PluginRecord, PushReport, PushState, Registry, SeenRecord, VersionRecord, detached};
use crate::{
    PluginError,
    error::{Check, VersionedName},
    manifest::{self, Manifest},
    selftest,
    store::{digest_of, on_blocking},
    version::Version,
};

/// Versions kept of one plugin; more are refused until the plugin is deleted.
const MAX_VERSIONS: usize = 1000;
/// Plugins of one server.
const MAX_PLUGINS: usize = 1000;

/// A component that has been read.
struct Candidate {
    digest: Digest,
    manifest: Manifest,
    wasm: Bytes,
}

impl Registry {
    /// Installs a component under `name` and makes it active. The old version serves until the new one has passed every check.
    ///
    /// # Errors
    /// [`PluginError::Refused`] with the checks that failed; the old version stays in force.
    pub async fn push(self: &Arc<Self>, by: &Stamp, name: &PluginName, wasm: Bytes) -> Result<PushReport, PluginError> {
        let pushed = async {
            let candidate = self.read(wasm.clone()).await?;
            check_name(&candidate.manifest, name)?;
            self.install(by, Origin::Upload, name.clone(), candidate).await
        };
        let outcome = pushed.await;
        if let Err(PluginError::Refused { checks }) = &outcome {
            let digest = digest_in_background(wasm).await.ok();
            self.journal_refusal(by, name.as_str(), Origin::Upload, digest, checks).await;
        }
        outcome
    }

    /// Installs the components of the distribution that were never installed here. Writes no journal events. A newer shipped
    /// version becomes active only where a shipped one is.
    ///
    /// # Errors
    /// When the folder cannot be read, or a shipped component is refused; the others are installed all the same.
    pub async fn install_shipped(self: &Arc<Self>, folder: &Path) -> Result<Vec<PushReport>, PluginError> {
        let folder = folder.to_owned();
        let files = on_blocking(move || super::folder::wasm_files(&folder))
            .await?
            .map_err(|error| PluginError::host("the folder of shipped components cannot be read", error))?;
        let by = SystemActor::Distribution.stamp(self.clock.now());
        let (mut reports, mut failed) = (Vec::new(), None);
        for file in files {
            match self.install_shipped_file(&by, &file).await {
                Ok(report) => reports.extend(report),
                Err(error) => {
                    tracing::error!(%error, file = %file.display(), "a shipped component is not installed");
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(reports), Err)
    }

    /// Nothing when its content is known.
    async fn install_shipped_file(self: &Arc<Self>, by: &Stamp, file: &Path) -> Result<Option<PushReport>, PluginError> {
        let reading = file.to_owned();
        let wasm = on_blocking(move || std::fs::read(reading))
            .await?
            .map_err(|error| PluginError::host("a shipped component cannot be read", error))?;
        let candidate = self.read(wasm.into()).await?;
        if self.is_known(&candidate.digest) {
            return Ok(None);
        }
        let name = name_of(&candidate.manifest, file)?;
        self.install(by, Origin::Shipped, name, candidate).await.map(Some)
    }

    /// A file of the watched folder; nothing when its content is known.
    pub(super) async fn install_file(self: &Arc<Self>, file: &Path, wasm: Bytes) -> Result<Option<PushReport>, PluginError> {
        let digest = digest_in_background(wasm.clone()).await?;
        if self.is_known(&digest) {
            return Ok(None);
        }
        let by = SystemActor::PluginFolder.stamp(self.clock.now());
        let installed = async {
            let candidate = self.read(wasm).await?;
            let name = name_of(&candidate.manifest, file)?;
            self.install(&by, Origin::Folder, name, candidate).await.map(Some)
        };
        let outcome = installed.await;
        if let Err(PluginError::Refused { checks }) = &outcome {
            self.journal_refusal(&by, &super::folder::display_name(file), Origin::Folder, Some(digest), checks).await;
        }
        outcome
    }

    /// Refuses a file that was not read.
    pub(super) async fn refuse_file(&self, file: &Path, check: Check) -> PluginError {
        let (by, checks) = (SystemActor::PluginFolder.stamp(self.clock.now()), vec![check]);
        self.journal_refusal(&by, &super::folder::display_name(file), Origin::Folder, None, &checks).await;
        PluginError::Refused { checks }
    }

    /// Tells what was refused, and for which checks; a flood of it does not grow the journal. A journal that fails changes nothing
    /// about the refusal.
    async fn journal_refusal(&self, by: &Stamp, subject: &str, origin: Origin, digest: Option<Digest>, checks: &[Check]) {
        let failed: BTreeSet<&str> = checks.iter().filter(|check| !check.ok).map(|check| check.check).collect();
        let details = json!({ "digest": digest, "origin": origin, "failed": failed });
        let draft = Draft::new(EventKind::PluginPush, subject).details(details);
        if let Err(error) = self.journal.refuse(by, draft).await {
            tracing::warn!(%error, "a refused component could not be journaled");
        }
    }

    fn is_known(&self, digest: &Digest) -> bool {
        self.seen.lock().contains(digest)
    }

    async fn read(&self, wasm: Bytes) -> Result<Candidate, PluginError> {
        let refused = |check| PluginError::Refused { checks: vec![check] };
        if wasm.len() > self.max_component_bytes {
            let detail = format!("{} bytes; {} are allowed", wasm.len(), self.max_component_bytes);
            return Err(refused(Check::failed("size", detail)));
        }
        on_blocking(move || Ok(Candidate { digest: digest_of(&wasm), manifest: manifest::read(&wasm)?, wasm }))
            .await?
            .map_err(refused)
    }

    async fn install(
        self: &Arc<Self>,
        by: &Stamp,
        origin: Origin,
        name: PluginName,
        candidate: Candidate,
    ) -> Result<PushReport, PluginError> {
        let Candidate { digest, manifest, wasm } = candidate;
        let size_bytes = wasm.len() as u64;
        let mut checks = read_checks(&manifest);
        let begun = std::time::Instant::now();
        let loaded = self.store.compile(&digest, wasm.clone()).await.map_err(|error| with_checks(&checks, error))?;
        checks.push(Check::passed("compile", format!("{} ms", begun.elapsed().as_millis())));

        let record = VersionRecord {
            digest: digest.clone(),
            version: manifest.version.clone().unwrap_or_default().into(),
            size_bytes,
            kinds: manifest.kinds,
            imports: manifest.imports,
            description: manifest.description,
            licenses: manifest.licenses,
            config_schema: manifest.config_schema,
            origin,
            pushed_at: by.at,
            pushed_by: by.actor.clone(),
            request_id: by.request_id.clone(),
        };
        let label = if record.version.is_empty() { "upload".into() } else { record.version.clone() };
        let id = VersionedName { name: name.clone(), version: label };
        let trial = Arc::new(Version::new(id, record.clone(), Arc::clone(&self.store)).with_code(Arc::clone(&loaded)));
        let passed = selftest::run(&self.runtime, &trial).await.map_err(|error| with_checks(&checks, error))?;
        checks.extend(passed);
        let asked = self.ask_followers(&name, origin, &trial).await.map_err(|error| with_checks(&checks, error))?;
        checks.extend(asked);

        let (this, by) = (Arc::clone(self), by.clone());
        detached(async move {
            let _turn = this.edits.lock().await;
            let (record, fresh) = this.placed(&name, record, origin)?;
            // In this turn: deleting another plugin of the same content would take the bytes away before the record shares them.
            this.store.put(&digest, wasm).await?;
            let mut txn = this.meta.begin().await?;
            txn.put(name.as_str(), &record)?;
            txn.put(digest.as_str(), &SeenRecord { plugin: name.clone(), at: by.at })?;
            if origin == Origin::Shipped {
                txn.commit().await?;
            } else {
                let details = json!({ "version": fresh.version, "digest": digest, "kinds": fresh.kinds, "origin": origin });
                let draft = Draft::new(EventKind::PluginPush, name.as_str()).details(details);
                this.journal.commit(txn, &by, vec![draft]).await?;
            }
            let state = if record.enabled && record.active == digest { PushState::Active } else { PushState::Staged };
            let id = VersionedName { name: name.clone(), version: fresh.version.clone() };
            let version = Version::new(id, fresh.clone(), Arc::clone(&this.store)).with_code(loaded);
            this.seen.lock().insert(digest.clone());
            this.replace(record, Some(Arc::new(version)));
            let VersionRecord { version, kinds, imports, .. } = fresh;
            Ok(PushReport { name, version, digest, kinds, imports, state, checks })
        })
        .await
    }

    /// The plugin's record with the new version in its place. Called with [`Self::edits`] held.
    fn placed(
        &self,
        name: &PluginName,
        mut fresh: VersionRecord,
        origin: Origin,
    ) -> Result<(PluginRecord, VersionRecord), PluginError> {
        let snapshot = self.snapshot();
        let full = |what: String| PluginError::Refused { checks: vec![Check::failed("limits", what)] };
        let Some(plugin) = snapshot.plugins.get(name) else {
            if snapshot.plugins.len() >= MAX_PLUGINS {
                return Err(full(format!("there are {MAX_PLUGINS} plugins already")));
            }
            let counter = number(&mut fresh, &[], 0);
            return Ok((PluginRecord::new(name.clone(), fresh.clone(), counter), fresh));
        };
        let mut record = (*plugin.record).clone();
        if let Some(known) = record.version(&fresh.digest).cloned() {
            record.activate(known.digest.clone());
            return Ok((record, known));
        }
        if record.versions.len() >= MAX_VERSIONS {
            return Err(full(format!("the plugin has {MAX_VERSIONS} versions already")));
        }
        record.counter = number(&mut fresh, &record.versions, record.counter);
        let follows =
            origin != Origin::Shipped || record.version(&record.active).is_some_and(|active| active.origin == Origin::Shipped);
        record.versions.push(fresh.clone());
        if follows {
            record.activate(fresh.digest.clone());
        }
        Ok((record, fresh))
    }
}

/// Gives a version that brought none the next number that no version has.
fn number(fresh: &mut VersionRecord, present: &[VersionRecord], counter: u64) -> u64 {
    if !fresh.version.is_empty() {
        return counter;
    }
    let mut next = counter + 1;
    while present.iter().any(|version| *version.version == *next.to_string()) {
        next += 1;
    }
    fresh.version = next.to_string().into();
    next
}

fn check_name(manifest: &Manifest, name: &PluginName) -> Result<(), PluginError> {
    match &manifest.name {
        Some(own) if own != name => {
            let detail = format!("the component calls itself `{own}`, not `{name}`");
            Err(PluginError::Refused { checks: vec![Check::failed("name", detail)] })
        }
        _ => Ok(()),
    }
}

/// The component's own name, else its file's.
fn name_of(manifest: &Manifest, file: &Path) -> Result<PluginName, PluginError> {
    if let Some(own) = &manifest.name {
        return Ok(own.clone());
    }
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    PluginName::new(stem).map_err(|error| PluginError::Refused { checks: vec![Check::failed("name", error.to_string())] })
}

fn read_checks(manifest: &Manifest) -> Vec<Check> {
    let kinds: Vec<_> = manifest.kinds.iter().map(|kind| kind.as_str()).collect();
    vec![
        Check::passed("component", "a component"),
        Check::passed("exports", kinds.join(", ")),
        Check::passed("imports", format!("{} imports, all provided", manifest.imports.len())),
    ]
}

/// What passed before, then what failed.
fn with_checks(passed: &[Check], error: PluginError) -> PluginError {
    match error {
        PluginError::Refused { checks } => PluginError::Refused { checks: passed.iter().cloned().chain(checks).collect() },
        other => other,
    }
}

async fn digest_in_background(wasm: Bytes) -> Result<Digest, PluginError> {
    on_blocking(move || digest_of(&wasm)).await
}
