//! Files that the newest version no longer names, and the log of versions before it.
//!
//! They stay for a while, for readers from outside that began earlier, or go as soon as no query here reads them: then nothing of
//! their rows is left, in the Delta log neither, which quotes least and greatest values.
//!
//! **Invariant**: what is to go is written down in the very transaction that publishes the version without it, and crossed out when
//! it is gone. A state that is pinned keeps its files, at most for [`crate::TableOptions::patience`] beyond their time.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;
use lakehouse_storage::{Record, Transaction};
use lakehouse_types::DatasetName;
use object_store_13::{ObjectStore, path::Path};
use serde::{Deserialize, Serialize};

use crate::folder::{Folder, LOG, delete_objects};
use crate::records::Intent;
use crate::table::{Absence, Table};
use crate::{DatasetState, TableError, Tables};

/// How often files are looked for whose time has come.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long nothing is tried again after a failure.
const AFTER_FAILURE: TimeDelta = TimeDelta::minutes(1);
/// How often a purge that is waited for looks again.
const WAIT_STEP: Duration = Duration::from_millis(20);

/// Files of one dataset that its newest version does not name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retired {
    /// Names in the dataset's folder.
    pub(crate) files: Vec<String>,
    /// The first version without them.
    pub(crate) version: u64,
    /// When they go.
    pub(crate) due: DateTime<Utc>,
    /// Whether they hold rows that nobody may find again, so that readers wait for them no longer than they must.
    pub(crate) purge: bool,
}

impl Record for Retired {
    const COLLECTION: &'static str = "table_retired_files";
    const FORMAT: u32 = 1;
}

/// What was removed for good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purged {
    /// Data files of earlier versions.
    pub files: u64,
    /// Commits and checkpoints of the Delta log.
    pub log_files: u64,
}

impl std::ops::AddAssign for Purged {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.log_files += other.log_files;
    }
}

/// The record's key: by dataset, in the order of versions.
fn key_of(id: &str, version: u64) -> String {
    format!("{id}/{version:020}")
}

/// What waits to go, by the key of its record.
#[derive(Debug, Default)]
pub(crate) struct Waiting(parking_lot::Mutex<BTreeMap<String, Retired>>);

impl Waiting {
    fn of(&self, id: &str) -> Vec<(String, Retired)> {
        let prefix = format!("{id}/");
        let waiting = self.0.lock();
        let of_it = waiting.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        of_it.map(|(key, retired)| (key.clone(), retired.clone())).collect()
    }

    /// Lets a dataset's files wait for longer.
    fn postpone(&self, id: &str, until: DateTime<Utc>) {
        let prefix = format!("{id}/");
        let mut waiting = self.0.lock();
        waiting
            .iter_mut()
            .filter(|(key, _)| key.starts_with(&prefix))
            .for_each(|(_, retired)| retired.due = retired.due.max(until));
    }

    /// Ids of datasets with something whose time has come.
    fn due(&self, now: DateTime<Utc>) -> Vec<String> {
        let waiting = self.0.lock();
        let due = waiting.iter().filter(|(_, retired)| retired.due <= now);
        let mut ids: Vec<String> = due.filter_map(|(key, _)| key.split_once('/')).map(|(id, _)| id.to_owned()).collect();
        ids.dedup();
        ids
    }
}

/// A change of what waits, staged with the version that causes it.
#[derive(Debug, Default)]
pub(crate) struct Retiring(Vec<(String, Retired)>);

impl Retiring {
    pub(crate) fn stage(&self, transaction: &mut Transaction) -> Result<(), TableError> {
        for (key, retired) in &self.0 {
            transaction.put(key, retired)?;
        }
        Ok(())
    }
}

impl Tables {
    /// Files that version `version` leaves behind. `purge`: those of all earlier versions go, too, and none waits.
    pub(crate) fn retiring(&self, id: &str, version: u64, files: Vec<String>, purge: bool) -> Retiring {
        let now = self.clock.now();
        let later = TimeDelta::from_std(self.options.retention).unwrap_or(TimeDelta::MAX);
        let due = if purge { now } else { now.checked_add_signed(later).unwrap_or(DateTime::<Utc>::MAX_UTC) };
        let mut changed = Vec::new();
        if purge {
            let earlier = self.retired.of(id).into_iter().filter(|(_, retired)| retired.version <= version);
            changed.extend(earlier.map(|(key, retired)| (key, Retired { due, purge, ..retired })));
        }
        if purge || !files.is_empty() {
            let key = key_of(id, version);
            // A version that left files behind, and is purged without another commit.
            let before = changed.iter().position(|(other, _)| *other == key).map(|at| changed.remove(at).1.files);
            let files = before.into_iter().flatten().chain(files).collect();
            changed.push((key, Retired { files, version, due, purge }));
        }
        Retiring(changed)
    }

    /// Takes note once it is durable.
    pub(crate) fn retire(&self, retiring: Retiring) {
        self.retired.0.lock().extend(retiring.0);
    }

    /// Removes the records of a dataset that goes as a whole; its folder is deleted by other means.
    pub(crate) fn unretire(&self, id: &str, transaction: &mut Transaction) -> Vec<String> {
        let keys: Vec<String> = self.retired.of(id).into_iter().map(|(key, _)| key).collect();
        keys.iter().for_each(|key| transaction.delete::<Retired>(key));
        keys
    }

    pub(crate) fn forget_retired(&self, keys: &[String]) {
        let mut waiting = self.retired.0.lock();
        keys.iter().for_each(|key| {
            waiting.remove(key);
        });
    }

    /// Loads what an earlier run left to do.
    pub(crate) async fn load_retired(&self) -> Result<(), TableError> {
        self.load_retired_of("").await
    }

    /// The same of one dataset, after a commit whose outcome was not known.
    pub(crate) async fn load_retired_of(&self, id: &str) -> Result<(), TableError> {
        let found = self.meta.collection::<Retired>().scan(id, None, usize::MAX).await?;
        self.retired.0.lock().extend(found);
        Ok(())
    }

    /// Removes the files of earlier versions of a dataset for good, those that were to stay for a while among them, and all that
    /// the Delta log says of them. Waits for queries that read them, at most [`crate::TableOptions::patience`].
    ///
    /// # Errors
    /// For an unknown dataset, or when the storage fails; what is left is removed later.
    pub async fn purge(self: &Arc<Self>, name: &DatasetName) -> Result<Purged, TableError> {
        let (tables, name) = (Arc::clone(self), name.clone());
        self.io.spawn(async move { tables.purge_now(&name).await }).await?
    }

    async fn purge_now(&self, name: &DatasetName) -> Result<Purged, TableError> {
        let (table, _) = self.existing(name)?;
        {
            // Nobody commits, drops or reaps between the look and the note.
            let _reaping = table.reaping().await;
            let _queue = table.queue().await?;
            let version = table.state().ok_or_else(|| table.refusal())?.version;
            let retiring = self.retiring(table.folder.id(), version, Vec::new(), true);
            let mut transaction = self.meta.begin().await?;
            retiring.stage(&mut transaction)?;
            transaction.commit().await?;
            self.retire(retiring);
        }
        let until = tokio::time::Instant::now() + self.options.patience;
        let mut purged = Purged::default();
        loop {
            purged += self.reap(table.folder.id(), tokio::time::Instant::now() >= until).await?;
            let is_left = self.retired.of(table.folder.id()).iter().any(|(_, retired)| retired.purge);
            if !is_left || self.table(name).is_none_or(|present| !Arc::ptr_eq(&present, &table)) {
                return Ok(purged);
            }
            tokio::time::sleep(WAIT_STEP).await;
        }
    }

    /// Removes what has had its time and is read by nobody; with `force`, all that is to be purged.
    async fn reap(&self, id: &str, force: bool) -> Result<Purged, TableError> {
        let now = self.clock.now();
        let Some(table) = self.with_id(id) else { return Ok(Purged::default()) };
        if matches!(table.absence(), Some(Absence::Unreadable(_) | Absence::Unplugged)) {
            return Ok(Purged::default());
        }
        let _reaping = table.reaping().await;
        let patience = TimeDelta::from_std(self.options.patience).unwrap_or(TimeDelta::MAX);
        let may_go = |retired: &Retired| {
            let is_overdue = || retired.due.checked_add_signed(patience).is_some_and(|end| end <= now);
            match retired.purge {
                true if force => true,
                purge => retired.due <= now && (purge && is_overdue() || !table.is_pinned_before(retired.version)),
            }
        };
        let due: Vec<_> = self.retired.of(id).into_iter().filter(|(_, retired)| may_go(retired)).collect();
        if due.is_empty() {
            return Ok(Purged::default());
        }
        let mut purged = Purged::default();
        for (_, retired) in &due {
            purged.files += delete_files(&table.folder, &retired.files).await?;
        }
        let is_purge = due.iter().any(|(_, retired)| retired.purge);
        // The log of versions whose files stay for a while stays with them.
        if is_purge || self.retired.of(id).len() == due.len() {
            let (files, log_files) = self.trim(&table, is_purge).await?;
            purged += Purged { files, log_files };
        }
        let keys: Vec<String> = due.into_iter().map(|(key, _)| key).collect();
        let mut transaction = self.meta.begin().await?;
        keys.iter().for_each(|key| transaction.delete::<Retired>(key));
        transaction.commit().await?;
        self.forget_retired(&keys);
        if purged != Purged::default() {
            tracing::info!(dataset = %table.name, files = purged.files, log_files = purged.log_files, "earlier versions are gone");
        }
        Ok(purged)
    }

    /// Shortens the log to its newest version; with `sweeps`, deletes data files that nothing names either: an older copy of the
    /// bucket, another writer or an earlier release may have left them. Answers such files and those of the log.
    async fn trim(&self, table: &Arc<Table>, sweeps: bool) -> Result<(u64, u64), TableError> {
        let mut queue = table.queue().await?;
        self.settle(table, &mut queue).await?;
        let Some(state) = table.state() else { return Ok((0, 0)) };
        let (snapshot, log_files) = table.log.trim(&table.folder, state.version).await?;
        // The snapshot of before would look for what is gone.
        table.set_state(Some(Arc::new(state.with_snapshot(snapshot))));
        let files = if sweeps { self.sweep_unnamed(table, &state).await? } else { 0 };
        Ok((files, log_files))
    }

    /// Deletes the data files of a folder that neither the version, nor a write under way, nor a retired version names.
    async fn sweep_unnamed(&self, table: &Table, state: &DatasetState) -> Result<u64, TableError> {
        // Listed before the intents are read: whatever file is there had a durable intent before, and a write that began may not end
        // while the queue is held. The other way round, a file of a write that began in between would be taken for nobody's.
        let listed = table.folder.bucket().compat().list_with_delimiter(Some(&table.folder.path())).await?;
        let begun = self.meta.collection::<Intent>().all().await?;
        let begun: Vec<String> =
            begun.into_iter().filter(|(_, intent)| intent.id == table.folder.id()).map(|(write, _)| write).collect();
        // A successor's writes are not among the intents that are read here, and its files not among those that were listed if this
        // host writes still.
        self.meta.beat().await?;
        let named: HashSet<String> = state.files.iter().map(|file| file.name().to_owned()).collect();
        let waiting: HashSet<String> =
            self.retired.of(table.folder.id()).into_iter().flat_map(|(_, retired)| retired.files).collect();
        let names = listed.objects.iter().filter_map(|object| object.location.filename());
        let is_unnamed = |name: &&str| {
            name.ends_with(".parquet")
                && !named.contains(*name)
                && !waiting.contains(*name)
                && !begun.iter().any(|write| name.starts_with(write.as_str()))
        };
        let unnamed: Vec<String> = names.filter(is_unnamed).map(str::to_owned).collect();
        if !unnamed.is_empty() {
            tracing::warn!(dataset = %table.name, files = unnamed.len(), "data files that no version names are deleted");
        }
        delete_files(&table.folder, &unnamed).await
    }

    async fn reap_due(&self) {
        let now = self.clock.now();
        for id in self.retired.due(now) {
            if let Err(error) = self.reap(&id, false).await {
                tracing::warn!(id, %error, "files of earlier versions stay for now");
                self.retired.postpone(&id, now + AFTER_FAILURE);
            }
        }
    }
}

/// Removes files whose time has come, for as long as the tables are open.
pub(crate) async fn reap_every(pause: Duration, tables: Weak<Tables>) {
    loop {
        tokio::time::sleep(pause).await;
        let Some(tables) = tables.upgrade() else { return };
        tables.reap_due().await;
    }
}

/// Deletes files of a folder by name; answers how many were there.
async fn delete_files(folder: &Folder, names: &[String]) -> Result<u64, TableError> {
    delete_objects(folder.bucket(), names.iter().map(|name| folder.path().join(name.as_str()))).await
}

/// Deletes what the log holds of versions before `version`, of which there is a checkpoint.
pub(crate) async fn delete_log_before(folder: &Folder, version: u64) -> Result<u64, TableError> {
    const DIGITS: usize = 20;
    let log = folder.path().join(LOG);
    let found: Vec<Path> = folder.bucket().compat().list(Some(&log)).map_ok(|meta| meta.location).try_collect().await?;
    let is_older = |path: &Path| {
        let name = path.filename().unwrap_or_default();
        name.get(..DIGITS).and_then(|digits| digits.parse::<u64>().ok()).is_some_and(|of| of < version)
    };
    delete_objects(folder.bucket(), found.into_iter().filter(is_older)).await
}
