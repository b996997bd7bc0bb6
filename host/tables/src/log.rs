//! The Delta log of one table.
//!
//! **Invariant**: each commit of ours names its write id, the request, the actor and the writer in `commitInfo`, and carries the next number
//! of the application transaction `lakehouse`, so that a write is found again and never doubled.

mod checkpoint;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use arrow::datatypes::{DataType, Schema};
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties, TableReference, TransactionError};
use deltalake_core::kernel::{Action, EagerSnapshot, Metadata, MetadataExt, Protocol, StructType, Transaction, new_metadata};
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore, get_actions};
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use lakehouse_journal::Stamp;
use lakehouse_storage::{Quiet, quietly};
use lakehouse_types::DatasetName;
use object_store_13::prefix::PrefixStore;
use object_store_13::{ObjectStore, ObjectStoreExt, path::Path};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::folder::{Folder, LOG};
use crate::ordered::Ordered;
use crate::snapshot::Snapshot;
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
/// How often a commit is tried again when a foreign writer took the version.
const RETRIES: usize = 3;

/// The log of one table, at its folder.
#[derive(Clone)]
pub(crate) struct Log {
    dataset: DatasetName,
    store: LogStoreRef,
    known: Arc<Mutex<Known>>,
    folder: Weak<Folder>,
    /// The version that the log begins with, as far as this host has cut it. Held while a checkpoint is written: one from before a cut
    /// must not come after it, with what was cut off.
    cut: Arc<tokio::sync::Mutex<u64>>,
}

/// What need not be looked up in the log again.
#[derive(Debug, Default)]
struct Known {
    /// The number of the application transaction, as of a version.
    sequence: Option<(u64, i64)>,
    /// The version of which there is a checkpoint, or for which one was asked; `None` until it is looked up.
    gathered: Option<u64>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("dataset", &self.dataset).finish_non_exhaustive()
    }
}

impl Log {
    pub(crate) fn new(dataset: DatasetName, folder: &Arc<Folder>) -> Result<Self, TableError> {
        let root: Arc<dyn ObjectStore> = Arc::new(Ordered(folder.bucket().compat()));
        let prefixed = Arc::new(PrefixStore::new(Arc::clone(&root), folder.path()));
        let store = default_logstore(prefixed, root, &folder.url()?, &StorageConfig::default());
        Ok(Self { dataset, store, known: Arc::default(), folder: Arc::downgrade(folder), cut: Arc::default() })
    }

    fn failed(&self, source: DeltaTableError) -> TableError {
        TableError::Delta { dataset: self.dataset.clone(), source: Quiet::of(source) }
    }

    /// The newest snapshot.
    pub(crate) async fn load(&self) -> Result<Snapshot, TableError> {
        let loaded = EagerSnapshot::try_new(self.store.as_ref(), None).await.map_err(|source| self.failed(source))?;
        Ok(loaded.into())
    }

    /// Delta's own snapshot of this version.
    async fn whole(&self, snapshot: &Snapshot) -> Result<EagerSnapshot, DeltaTableError> {
        match snapshot.behind() {
            0 => Ok(snapshot.loaded().clone()),
            _ => EagerSnapshot::try_new(self.store.as_ref(), Some(snapshot.version())).await,
        }
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
    pub(crate) async fn erasures(&self, snapshot: &Snapshot) -> Result<u64, TableError> {
        // An append changes nothing of it.
        let found = snapshot.loaded().transaction_version(self.store.as_ref(), ERASURES).await;
        Ok(found.map_err(|source| self.failed(source))?.map_or(0, i64::cast_unsigned))
    }

    /// What became of a commit whose outcome is unclear: the snapshot that holds it, or `None`.
    pub(crate) async fn after_failure(&self, write: &str, base: Option<u64>) -> Result<Option<Snapshot>, TableError> {
        match self.find(write, base).await? {
            Some(_) => Ok(Some(self.load().await?)),
            None => Ok(None),
        }
    }

    /// The number of the last application transaction as of this version.
    async fn sequence_at(&self, snapshot: &Snapshot) -> Result<Option<i64>, DeltaTableError> {
        let known = self.known.lock().sequence;
        match known {
            Some((version, sequence)) if version == snapshot.version() => Ok(Some(sequence)),
            _ => self.whole(snapshot).await?.transaction_version(self.store.as_ref(), APPLICATION).await,
        }
    }

    /// Commits a write and answers the snapshot that holds it. Once the log has the commit, nothing makes this fail.
    pub(crate) async fn commit(&self, commit: Commit<'_>) -> Result<Snapshot, CommitFailure> {
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
        let only_adds = operation == Operation::Write(WriteMode::Append)
            && erasure.is_none()
            && actions.iter().all(|action| matches!(action, Action::Add(_)));
        let write_as = |mode| DeltaOperation::Write { mode, partition_by: None, predicate: None };
        let operation = match operation {
            Operation::Write(WriteMode::Append) => write_as(SaveMode::Append),
            // Nothing else tells other engines that files go.
            Operation::Write(WriteMode::Replace | WriteMode::Upsert) | Operation::Compact { drops_rows: true } => {
                write_as(SaveMode::Overwrite)
            }
            Operation::Compact { drops_rows: false } => DeltaOperation::Optimize { predicate: None, target_size: TARGET_BYTES },
        };
        let mut failed: fn(DeltaTableError) -> CommitFailure = CommitFailure::Refused;
        if let Some(snapshot) = snapshot.filter(|_| only_adds) {
            match self.append(snapshot, &properties, actions.clone(), operation.clone()).await? {
                Some(next) => {
                    self.known.lock().sequence = Some((next.version(), sequence));
                    if self.is_long(&next).await {
                        self.gather_in_background(next.version());
                    }
                    return Ok(next);
                }
                // What is there, Delta's library finds out. It may be this very commit, whose answer was lost on the way.
                None => failed = CommitFailure::Unclear,
            }
        }
        let whole = match snapshot {
            Some(snapshot) => Some(self.whole(snapshot).await.map_err(failed)?),
            None => None,
        };
        let prepared = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(whole.as_ref().map(|whole| whole as &dyn TableReference), Arc::clone(&self.store), operation)
            .into_prepared_commit_future()
            .await
            .map_err(failed)?;
        let committed = prepared.await.map_err(|source| match source {
            DeltaTableError::Transaction {
                source: TransactionError::CommitConflict(_) | TransactionError::MaxCommitAttempts(_),
            } => CommitFailure::Conflict(source),
            other => CommitFailure::Unclear(other),
        })?;
        match committed.await {
            Ok(finished) => {
                let snapshot = Snapshot::from(finished.snapshot.snapshot().clone());
                self.known.lock().sequence = Some((snapshot.version(), sequence));
                Ok(self.gathered(snapshot).await)
            }
            Err(error) => {
                tracing::warn!(dataset = %self.dataset, error = %quietly(&error), "the work after a commit failed; the commit stands");
                self.load().await.map_err(|_| CommitFailure::Unclear(error))
            }
        }
    }

    /// Puts a commit that only adds files right after the version; `None` where something is in its place, or may have been: a log that
    /// another host or a foreign writer has shortened since would take it in and never read it.
    async fn append(
        &self,
        snapshot: &Snapshot,
        properties: &CommitProperties,
        adds: Vec<Action>,
        operation: DeltaOperation,
    ) -> Result<Option<Snapshot>, CommitFailure> {
        match self.store.object_store(None).head(&Path::from_iter([LOG, &entry_name(snapshot.version())])).await {
            Ok(_) => {}
            Err(object_store_13::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(CommitFailure::Refused(error.into())),
        }
        let table: &dyn TableReference = snapshot.loaded();
        let prepared = CommitBuilder::from(properties.clone())
            .with_actions(adds.clone())
            .build(Some(table), Arc::clone(&self.store), operation)
            .into_prepared_commit_future()
            .await
            .map_err(CommitFailure::Refused)?;
        let entry = prepared.commit_or_bytes().clone();
        match self.store.write_commit_entry(snapshot.version() + 1, entry, Default::default()).await {
            Ok(()) => Ok(Some(snapshot.with_added(adds.into_iter().filter_map(|action| match action {
                Action::Add(add) => Some(add),
                _ => None,
            })))),
            Err(TransactionError::VersionAlreadyExists(_)) => Ok(None),
            Err(source) => Err(CommitFailure::Unclear(source.into())),
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
    pub(crate) snapshot: Option<&'a Snapshot>,
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
            Self::Conflict(source) => TableError::Conflict { dataset, source: Quiet::of(source) },
            Self::Refused(source) | Self::Unclear(source) => TableError::Delta { dataset, source: Quiet::of(source) },
        }
    }
}

/// The name of a commit in the log.
fn entry_name(version: u64) -> String {
    format!("{version:020}.json")
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
