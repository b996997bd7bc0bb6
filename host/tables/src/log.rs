//! The Delta log of one table.
//!
//! **Invariant**: each commit of ours names its write id, the request, the actor and the writer in `commitInfo`, and carries the next number
//! of the application transaction `lakehouse`, so that a write is found again and never doubled.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties, TableReference, TransactionError};
use deltalake_core::kernel::{Action, EagerSnapshot, Metadata, MetadataExt, Protocol, StructType, Transaction, new_metadata};
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore, get_actions};
use deltalake_core::protocol::checkpoints::create_checkpoint;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::{DeltaTable, DeltaTableError};
use lakehouse_journal::Stamp;
use lakehouse_types::DatasetName;
use object_store_13::ObjectStore;
use object_store_13::prefix::PrefixStore;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::folder::Folder;
use crate::ordered::Ordered;
use crate::retire::delete_log_before;
use crate::{TableError, WriteMode};

/// The application transaction of every commit of ours.
const APPLICATION: &str = "lakehouse";
/// The application transaction that counts the erasures that a table has been through. Checkpoints keep it for ever.
const ERASURES: &str = "lakehouse-erasures";
/// The member of `commitInfo` that holds the write id.
const WRITE_ID: &str = "lakehouseWrite";
/// The member of `commitInfo` that holds the writer's epoch: that of the metadata store.
pub(crate) const EPOCH: &str = "lakehouseEpoch";
/// What compacted files grow to.
const TARGET_BYTES: i64 = 256 << 20;
/// A snapshot is loaded anew after so many commits, and one more for so many files: a checkpoint names all of them.
const MIN_PIECES: u64 = 16;
const FILES_PER_PIECE: u64 = 64;
/// How often a commit is tried again when a foreign writer took the version.
const RETRIES: usize = 3;

/// The log of one table, at its folder.
#[derive(Clone)]
pub(crate) struct Log {
    dataset: DatasetName,
    store: LogStoreRef,
    known: Arc<Mutex<Known>>,
}

/// What need not be looked up in the log again.
#[derive(Debug, Default)]
struct Known {
    /// The number of the application transaction, as of a version.
    sequence: Option<(u64, i64)>,
    /// The version of the snapshot that was loaded last. Each commit since then is one more piece of those that follow from it.
    loaded: Option<u64>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("dataset", &self.dataset).finish_non_exhaustive()
    }
}

impl Log {
    pub(crate) fn new(dataset: DatasetName, folder: &Folder) -> Result<Self, TableError> {
        let root: Arc<dyn ObjectStore> = Arc::new(Ordered(folder.bucket().compat()));
        let prefixed = Arc::new(PrefixStore::new(Arc::clone(&root), folder.path()));
        let store = default_logstore(prefixed, root, &folder.url()?, &StorageConfig::default());
        Ok(Self { dataset, store, known: Arc::default() })
    }

    fn failed(&self, source: DeltaTableError) -> TableError {
        TableError::Delta { dataset: self.dataset.clone(), source: Box::new(source) }
    }

    /// The newest snapshot.
    pub(crate) async fn load(&self) -> Result<EagerSnapshot, TableError> {
        let snapshot = EagerSnapshot::try_new(self.store.as_ref(), None).await.map_err(|source| self.failed(source))?;
        self.known.lock().loaded = Some(snapshot.version());
        Ok(snapshot)
    }

    /// A snapshot of one piece in the place of one of many, each of which every commit goes through; and a checkpoint, which every start
    /// and reader gains from, too.
    ///
    /// It fails without harm: the snapshot is as good as before.
    async fn gathered(&self, snapshot: EagerSnapshot) -> EagerSnapshot {
        let version = snapshot.version();
        let pieces = version.saturating_sub(*self.known.lock().loaded.get_or_insert(version));
        let files = snapshot.try_log_data().map_or(0, |files| files.num_files() as u64);
        if pieces < MIN_PIECES + files / FILES_PER_PIECE {
            return snapshot;
        }
        let gathered = async {
            self.checkpoint(version).await?;
            self.load().await
        };
        match gathered.await {
            Ok(gathered) if gathered.version() == version => gathered,
            Ok(_) => snapshot,
            Err(error) => {
                tracing::warn!(dataset = %self.dataset, %error, "a table's log stays long for now");
                self.known.lock().loaded = Some(version);
                snapshot
            }
        }
    }

    async fn checkpoint(&self, version: u64) -> Result<(), TableError> {
        let mut table = DeltaTable::new(Arc::clone(&self.store));
        table.load().await.map_err(|source| self.failed(source))?;
        if table.version() != Some(version) {
            return Err(TableError::Conflict {
                dataset: self.dataset.clone(),
                source: Box::new(DeltaTableError::Generic("a foreign writer committed".to_owned())),
            });
        }
        create_checkpoint(&table, None).await.map_err(|source| self.failed(source))
    }

    /// The version that a write made, looked for after version `base`; `None` if there is no such commit.
    pub(crate) async fn find(&self, write: &str, base: Option<u64>) -> Result<Option<u64>, TableError> {
        let mut version = base.map_or(0, |base| base + 1);
        while let Some(bytes) = self.store.read_commit_entry(version).await.map_err(|source| self.failed(source))? {
            let actions = get_actions(version, &bytes).map_err(|source| self.failed(source))?;
            let ours = |action: &Action| match action {
                Action::CommitInfo(info) => match info.info.get(WRITE_ID) {
                    Some(Value::String(one)) => one == write,
                    Some(Value::Array(several)) => several.iter().any(|one| one == write),
                    _ => false,
                },
                _ => false,
            };
            if actions.iter().any(ours) {
                return Ok(Some(version));
            }
            version += 1;
        }
        Ok(None)
    }

    /// The number of the last erasure that the version has been through; 0 for none.
    pub(crate) async fn erasures(&self, snapshot: &EagerSnapshot) -> Result<u64, TableError> {
        let found = snapshot.transaction_version(self.store.as_ref(), ERASURES).await;
        Ok(found.map_err(|source| self.failed(source))?.map_or(0, i64::cast_unsigned))
    }

    /// What became of a commit whose outcome is unclear: the snapshot that holds it, or `None`.
    pub(crate) async fn after_failure(&self, write: &str, base: Option<u64>) -> Result<Option<EagerSnapshot>, TableError> {
        match self.find(write, base).await? {
            Some(_) => Ok(Some(self.load().await?)),
            None => Ok(None),
        }
    }

    /// Shortens the log to a checkpoint of `version`, the newest, and answers a snapshot that stands on it alone, with the number
    /// of objects that are gone. Whoever calls it holds the table's queue.
    pub(crate) async fn trim(&self, folder: &Folder, version: u64) -> Result<(EagerSnapshot, u64), TableError> {
        self.checkpoint(version).await?;
        // Whoever reads from now on reads the checkpoint: only then does what it stands for go.
        let snapshot = self.load().await?;
        let deleted = delete_log_before(folder, version).await?;
        Ok((snapshot, deleted))
    }

    /// The number of the last application transaction as of this version.
    async fn sequence_at(&self, snapshot: &EagerSnapshot) -> Result<Option<i64>, DeltaTableError> {
        let known = self.known.lock().sequence;
        match known {
            Some((version, sequence)) if version == snapshot.version() => Ok(Some(sequence)),
            _ => snapshot.transaction_version(self.store.as_ref(), APPLICATION).await,
        }
    }

    /// Commits a write and answers the snapshot that holds it. Once the log has the commit, nothing makes this fail.
    pub(crate) async fn commit(&self, commit: Commit<'_>) -> Result<EagerSnapshot, CommitFailure> {
        let Commit { snapshot, actions, writes, epoch, operation, erasure, by, rows } = commit;
        let before = match snapshot {
            Some(snapshot) => self.sequence_at(snapshot).await.map_err(CommitFailure::Refused)?,
            None => None,
        };
        let sequence = before.map_or(1, |before| before + 1);
        let transaction =
            Transaction::new_with_last_update(APPLICATION, sequence, by.iter().map(|by| by.at.timestamp_millis()).max());
        let info = [
            (WRITE_ID, one_or_all(writes.iter().copied())),
            (EPOCH, json!(epoch)),
            ("requestId", one_or_all(by.iter().map(|by| by.request_id.as_str()))),
            ("userName", one_or_all(by.iter().map(|by| by.actor.as_str()))),
            ("operationMetrics", json!({ "numOutputRows": rows })),
        ];
        let properties = CommitProperties::default()
            .with_max_retries(RETRIES)
            .with_cleanup_expired_logs(Some(false))
            // See `gathered`.
            .with_create_checkpoint(false)
            .with_metadata(info.map(|(name, value)| (name.to_owned(), value)))
            .with_application_transactions(
                [transaction].into_iter().chain(erasure.map(|number| Transaction::new(ERASURES, number.cast_signed()))).collect(),
            );
        let write_as = |mode| DeltaOperation::Write { mode, partition_by: None, predicate: None };
        let operation = match operation {
            Operation::Write(WriteMode::Append) => write_as(SaveMode::Append),
            // Nothing else tells other engines that files go.
            Operation::Write(WriteMode::Replace | WriteMode::Upsert) | Operation::Compact { drops_rows: true } => {
                write_as(SaveMode::Overwrite)
            }
            Operation::Compact { drops_rows: false } => DeltaOperation::Optimize { predicate: None, target_size: TARGET_BYTES },
        };
        let table = snapshot.map(|snapshot| snapshot as &dyn TableReference);
        let prepared = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(table, Arc::clone(&self.store), operation)
            .into_prepared_commit_future()
            .await
            .map_err(CommitFailure::Refused)?;
        let committed = prepared.await.map_err(|source| match source {
            DeltaTableError::Transaction {
                source: TransactionError::CommitConflict(_) | TransactionError::MaxCommitAttempts(_),
            } => CommitFailure::Conflict(source),
            other => CommitFailure::Unclear(other),
        })?;
        match committed.await {
            Ok(finished) => {
                let snapshot = finished.snapshot.snapshot().clone();
                self.known.lock().sequence = Some((snapshot.version(), sequence));
                Ok(self.gathered(snapshot).await)
            }
            Err(error) => {
                tracing::warn!(dataset = %self.dataset, error = %error, "the work after a commit failed; the commit stands");
                self.load().await.map_err(|_| CommitFailure::Unclear(error))
            }
        }
    }
}

/// What a commit does, as the log tells other engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Write(WriteMode),
    Compact { drops_rows: bool },
}

/// One write, ready for the log.
pub(crate) struct Commit<'a> {
    /// The table before; `None` where the commit creates it.
    pub(crate) snapshot: Option<&'a EagerSnapshot>,
    pub(crate) actions: Vec<Action>,
    /// The writes that it commits together.
    pub(crate) writes: &'a [&'a str],
    pub(crate) epoch: u64,
    pub(crate) operation: Operation,
    /// The number of an erasure, which the table bears from then on.
    pub(crate) erasure: Option<u64>,
    /// Who asked for each.
    pub(crate) by: &'a [&'a Stamp],
    pub(crate) rows: u64,
}

/// Why a commit failed, as far as it is known.
#[derive(Debug)]
pub(crate) enum CommitFailure {
    /// Before anything was written.
    Refused(DeltaTableError),
    /// A foreign writer's commit does not go with ours.
    Conflict(DeltaTableError),
    /// The log may hold the commit all the same: read it.
    Unclear(DeltaTableError),
}

impl CommitFailure {
    /// What to tell once the log is known not to hold the commit.
    pub(crate) fn into_error(self, dataset: DatasetName) -> TableError {
        match self {
            Self::Conflict(source) => TableError::Conflict { dataset, source: Box::new(source) },
            Self::Refused(source) | Self::Unclear(source) => TableError::Delta { dataset, source: Box::new(source) },
        }
    }
}

/// A text as it is, several as a list.
fn one_or_all<'t>(mut texts: impl ExactSizeIterator<Item = &'t str>) -> Value {
    if texts.len() == 1 { json!(texts.next()) } else { json!(texts.collect::<Vec<_>>()) }
}

/// The protocol that a table of this schema needs: the oldest, so that every engine reads it.
pub(crate) fn protocol(schema: &Schema) -> Result<Protocol, TableError> {
    let value = if schema.fields().iter().any(|field| has_local_time(field.data_type())) {
        let writer = ["appendOnly", "invariants", "timestampNtz"];
        json!({ "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["timestampNtz"], "writerFeatures": writer })
    } else {
        json!({ "minReaderVersion": 1, "minWriterVersion": 2 })
    };
    Ok(serde_json::from_value(value)?)
}

/// Whether a timestamp without a zone is in the type.
fn has_local_time(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, None) => true,
        DataType::List(field) | DataType::Map(field, _) => has_local_time(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_local_time(field.data_type())),
        _ => false,
    }
}

/// The metadata of a table with this schema: new, or the old with another schema.
pub(crate) fn metadata(old: Option<&Metadata>, schema: &Schema) -> Result<Metadata, TableError> {
    let schema: StructType = schema.try_into_kernel()?;
    let made = match old {
        Some(old) => old.clone().with_schema(&schema),
        None => new_metadata(&schema, Vec::<String>::new(), HashMap::<String, String>::new()),
    };
    made.map_err(|_| TableError::Internal { what: "the schema is not one that Delta takes" })
}
