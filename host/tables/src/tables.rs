//! All datasets of this host.
//!
//! **Invariant**: a name has at most one [`Table`] at a time, shared by all who write to it, from before its first file exists.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lakehouse_catalog::Catalog;
use lakehouse_journal::{Journal, Stamp};
use lakehouse_storage::{Buckets, Meta};
use lakehouse_types::{BucketName, Clock, ColumnName, DatasetId, DatasetName};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::OwnedMutexGuard;

use crate::folder::Folder;
use crate::outcomes::{FORGET_EVERY, forget_every};
use crate::records::Counters;
use crate::retire::{LOOK_EVERY, Waiting, reap_every};
use crate::table::{Absence, Table};
use crate::{CommitReport, DatasetState, Idempotency, TableError, TableWriter, Tombstones, WriteMode};

/// All datasets of this host: their present states, and the one way to change them.
pub struct Tables {
    pub(crate) buckets: Buckets,
    pub(crate) meta: Meta,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) journal: Journal,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) io: Handle,
    pub(crate) options: TableOptions,
    pub(crate) retired: Waiting,
    /// What each table's counters said when it was loaded, by the id of the dataset.
    pub(crate) seen: Mutex<HashMap<String, Counters>>,
    /// Ids of the tables on which no earlier host ends anything any more.
    pub(crate) fenced: Mutex<HashSet<String>>,
    tables: Mutex<HashMap<DatasetName, Arc<Table>>>,
    flights: Arc<Mutex<Flights>>,
}

/// How long files of earlier versions stay.
#[derive(Debug, Clone, Copy)]
pub struct TableOptions {
    /// After a newer version has replaced or merged them: time for readers from outside to end.
    pub retention: Duration,
    /// After rows of theirs were dropped: the longest that a query here is waited for.
    pub patience: Duration,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self { retention: Duration::from_hours(24), patience: Duration::from_secs(31) }
    }
}

type Flights = HashMap<String, Arc<tokio::sync::Mutex<()>>>;

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("datasets", &self.tables.lock().len()).finish_non_exhaustive()
    }
}

/// A write that is about to begin.
#[derive(Debug)]
pub struct WriteSpec {
    pub dataset: DatasetName,
    /// Where a new dataset goes (absent: primary); for one that exists, it must be where it is.
    pub bucket: Option<BucketName>,
    pub mode: WriteMode,
    /// The column that identifies rows, for tombstones.
    pub key: Option<ColumnName>,
    pub idempotency: Option<Idempotency>,
    pub by: Stamp,
    /// When the request came in, for its report.
    pub started: Instant,
}

/// How a write begins.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "made once a request")]
pub enum Begin {
    /// It is new: write, then finish.
    Writer(TableWriter),
    /// It was done before: this is its report.
    Replayed(CommitReport),
}

impl Tables {
    /// Finishes or undoes what a crash interrupted, sweeps what nobody owns, and loads every dataset. One that cannot be read is
    /// refused by name from then on, see [`Tables::state`], and an error in the log. Over metadata that another host writes it only
    /// loads, see [`Tables::reload`].
    ///
    /// # Errors
    /// When the metadata or a bucket cannot be read.
    pub async fn open(
        buckets: Buckets,
        meta: Meta,
        catalog: Arc<Catalog>,
        journal: Journal,
        clock: Arc<dyn Clock>,
        io: Handle,
        options: TableOptions,
    ) -> Result<Arc<Self>, TableError> {
        let tables = Arc::new(Self {
            buckets,
            meta,
            catalog,
            journal,
            clock,
            io: io.clone(),
            options,
            retired: Waiting::default(),
            seen: Mutex::default(),
            fenced: Mutex::default(),
            tables: Mutex::default(),
            flights: Arc::default(),
        });
        let opened = Arc::clone(&tables);
        if tables.meta.is_reader() {
            io.spawn(async move { opened.load_all().await }).await??;
            return Ok(tables);
        }
        io.spawn(async move { opened.repair().await }).await??;
        io.spawn(forget_every(FORGET_EVERY, Arc::downgrade(&tables)));
        io.spawn(reap_every(LOOK_EVERY, Arc::downgrade(&tables)));
        Ok(tables)
    }

    /// The present state of a dataset.
    ///
    /// # Errors
    /// Why it has none: it does not exist, its rows went with the memory that they were in, or it cannot be read.
    pub fn state(&self, name: &DatasetName) -> Result<Arc<DatasetState>, TableError> {
        Ok(self.existing(name)?.1)
    }

    /// The present state of a dataset, if it has one.
    pub fn dataset(&self, name: &DatasetName) -> Option<Arc<DatasetState>> {
        self.table(name)?.state()
    }

    /// The present states of all datasets, by name.
    pub fn datasets(&self) -> Vec<Arc<DatasetState>> {
        let mut states: Vec<_> = self.tables.lock().values().filter_map(|table| table.state()).collect();
        states.sort_by(|a, b| a.name.cmp(&b.name));
        states
    }

    /// Begins a write. An idempotent request waits here while an equal one is under way.
    ///
    /// # Errors
    /// For a bucket that does not exist or is not the dataset's, another row key column, or a reused idempotency key.
    pub async fn begin(self: &Arc<Self>, spec: WriteSpec) -> Result<Begin, TableError> {
        let mut flight = None;
        if let Some(idempotency) = &spec.idempotency {
            let key = idempotency.record_key(&spec.by.actor);
            flight = Some(Flight::take(&self.flights, key).await);
            if let Some(report) = self.outcome(idempotency, &spec.by.actor).await? {
                return Ok(Begin::Replayed(report));
            }
        }
        if self.catalog.snapshot().views.contains_key(spec.dataset.as_str()) {
            let name = spec.dataset.to_string();
            return Err(lakehouse_catalog::CatalogError::NameTaken { name, holder: "view" }.into());
        }
        let table = self.table_for(&spec.dataset, spec.bucket.as_ref())?;
        if let (Some(tombstones), Some(asked)) = (table.tombstones(), &spec.key) {
            check_key_column(&spec.dataset, &tombstones, asked)?;
        }
        Ok(Begin::Writer(TableWriter::new(Arc::clone(self), table, spec, flight)))
    }

    pub(crate) fn table(&self, name: &DatasetName) -> Option<Arc<Table>> {
        self.tables.lock().get(name).cloned()
    }

    /// The table in the folder of this id.
    pub(crate) fn with_id(&self, id: &str) -> Option<Arc<Table>> {
        self.tables.lock().values().find(|table| table.folder.id() == id).cloned()
    }

    /// The table of an existing dataset with its state.
    pub(crate) fn existing(&self, name: &DatasetName) -> Result<(Arc<Table>, Arc<DatasetState>), TableError> {
        let unknown = || TableError::UnknownDataset { name: name.clone() };
        let table = self.table(name).ok_or_else(unknown)?;
        let state = table.state().ok_or_else(|| table.refusal())?;
        Ok((table, state))
    }

    fn table_for(&self, name: &DatasetName, bucket: Option<&BucketName>) -> Result<Arc<Table>, TableError> {
        let home = match bucket {
            Some(bucket) => self.buckets.get(bucket)?,
            None => self.buckets.primary(),
        };
        let mut tables = self.tables.lock();
        // One that never came to be and that nobody is at any more holds no place: the dataset may go into another bucket.
        if let Some(table) = tables.get(name).filter(|table| Arc::strong_count(table) > 1 || !table.is_unborn()) {
            if matches!(table.absence(), Some(Absence::Unreadable(_) | Absence::Unplugged)) {
                return Err(table.refusal());
            }
            let holder = table.folder.bucket().name();
            return match bucket {
                Some(asked) if asked != holder => {
                    Err(TableError::BucketMismatch { dataset: name.clone(), bucket: holder.clone(), asked: asked.clone() })
                }
                _ => Ok(Arc::clone(table)),
            };
        }
        let folder = Folder::new(home, &fresh_id(), self.meta.clone(), self.io.clone());
        let table = Arc::new(Table::new(name.clone(), Arc::new(folder))?);
        tables.insert(name.clone(), Arc::clone(&table));
        Ok(table)
    }

    /// Takes note of what a table's counters said when it was loaded.
    pub(crate) fn seen(&self, id: &str, counters: Counters) {
        self.seen.lock().insert(id.to_owned(), counters);
    }

    /// Keeps those tables alone that `stays` holds for.
    pub(crate) fn retain(&self, stays: impl Fn(&Table) -> bool) {
        self.tables.lock().retain(|_, table| stays(table));
    }

    pub(crate) fn insert(&self, table: Arc<Table>) {
        self.tables.lock().insert(table.name.clone(), table);
    }

    /// Forgets a table, if the name still means this one.
    pub(crate) fn forget(&self, table: &Arc<Table>) {
        let mut tables = self.tables.lock();
        if tables.get(&table.name).is_some_and(|held| Arc::ptr_eq(held, table)) {
            tables.remove(&table.name);
        }
    }

    /// Forgets a table that never came to be, unless another writer is at it: the map and the caller hold it then.
    pub(crate) fn forget_unborn(&self, table: &Arc<Table>) {
        const MAP_AND_CALLER: usize = 2;
        let mut tables = self.tables.lock();
        let held = tables.get(&table.name).is_some_and(|held| Arc::ptr_eq(held, table));
        if held && table.is_unborn() && Arc::strong_count(table) <= MAP_AND_CALLER {
            tables.remove(&table.name);
        }
    }
}

pub(crate) fn check_key_column(dataset: &DatasetName, tombstones: &Tombstones, asked: &ColumnName) -> Result<(), TableError> {
    match &tombstones.column {
        Some(column) if column != asked => {
            Err(TableError::KeyColumnMismatch { dataset: dataset.clone(), column: column.clone(), asked: asked.clone() })
        }
        _ => Ok(()),
    }
}

/// A fresh, time-ordered id for folders and writes.
pub(crate) fn fresh_id() -> String {
    DatasetId::fresh().as_str().to_owned()
}

/// The turn of one idempotency key: one request at a time has it.
pub(crate) struct Flight {
    key: String,
    flights: Arc<Mutex<Flights>>,
    turn: Option<OwnedMutexGuard<()>>,
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").finish_non_exhaustive()
    }
}

impl Flight {
    async fn take(flights: &Arc<Mutex<Flights>>, key: String) -> Self {
        let turn = Arc::clone(flights.lock().entry(key.clone()).or_default());
        // Made before the wait, so that a caller who leaves meanwhile is forgotten too.
        let mut flight = Self { key, flights: Arc::clone(flights), turn: None };
        flight.turn = Some(turn.lock_owned().await);
        flight
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        self.turn = None;
        if flights.get(&self.key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            flights.remove(&self.key);
        }
    }
}
