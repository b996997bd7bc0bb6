//! What tables keep in metadata besides the catalog's own records.
//!
//! **Invariant**: an [`Intent`] is durable before the first file of its write exists, and goes in the very transaction that
//! publishes the write's outcome.

use chrono::{DateTime, Utc};
use lakehouse_catalog::TombstoneRecord;
use lakehouse_journal::Stamp;
use lakehouse_storage::Record;
use lakehouse_types::{Actor, BucketName, ColumnName, DatasetId, DatasetName, ProfileId, RequestId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::CommitReport;
use crate::table::Table;
use crate::tables::fresh_id;

/// Makes a repeated request answer what the first one answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The caller's key, at home under the caller's name.
    pub key: String,
    /// What the request asked for, body included, as a digest.
    pub fingerprint: String,
}

impl Idempotency {
    /// The record key: callers never meet each other's keys.
    pub(crate) fn record_key(&self, actor: &Actor) -> String {
        let mut hash = Sha256::new();
        hash.update(actor.as_str().as_bytes());
        hash.update([0]);
        hash.update(self.key.as_bytes());
        lakehouse_types::Digest::from_bytes(&hash.finalize().into()).as_str().to_owned()
    }
}

/// Who asked for a write, kept for repair.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredStamp {
    actor: Actor,
    role: String,
    profile: Option<ProfileId>,
    request_id: RequestId,
    at: DateTime<Utc>,
}

impl From<&Stamp> for StoredStamp {
    fn from(stamp: &Stamp) -> Self {
        Self {
            actor: stamp.actor.clone(),
            role: stamp.role.to_string(),
            profile: stamp.profile.clone(),
            request_id: stamp.request_id.clone(),
            at: stamp.at,
        }
    }
}

impl From<StoredStamp> for Stamp {
    fn from(stamp: StoredStamp) -> Self {
        Self { actor: stamp.actor, role: stamp.role.into(), profile: stamp.profile, request_id: stamp.request_id, at: stamp.at }
    }
}

/// A write or a deletion that has begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) by: StoredStamp,
    pub(crate) dataset: DatasetName,
    /// The dataset's id: the name of its folder.
    pub(crate) id: String,
    pub(crate) bucket: BucketName,
    pub(crate) stage: Stage,
}

impl Intent {
    pub(crate) fn new(table: &Table, by: &Stamp, stage: Stage) -> Self {
        let (id, bucket) = (table.folder.id().to_owned(), table.folder.bucket().name().clone());
        Self { by: by.into(), dataset: table.name.clone(), id, bucket, stage }
    }
}

/// How far it came.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "stage")]
pub(crate) enum Stage {
    /// Files may exist, no commit does.
    Writing,
    /// The Delta commit may exist; if it does, the rest follows from this.
    Committing(Box<Pending>),
    /// The same of a compaction.
    Compacting(Box<crate::compact::Pending>),
    /// The dataset is out of the catalog, its folder may still exist.
    Dropping,
}

impl Stage {
    /// Whether the one who left it may have had a commit on its way.
    pub(crate) fn may_commit(&self) -> bool {
        matches!(self, Self::Committing(_) | Self::Compacting(_))
    }
}

/// What is published once the Delta commit exists.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The Delta version before; `None` where the commit creates the table.
    pub(crate) base: Option<u64>,
    pub(crate) report: CommitReport,
    pub(crate) key_column: Option<ColumnName>,
    pub(crate) idempotency: Option<Idempotency>,
    /// Hidden rows that an upsert took out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) hidden_replaced: u64,
    /// Names of files that are named no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) retired: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Record for Intent {
    const COLLECTION: &'static str = "table_intents";
    const FORMAT: u32 = 1;
}

/// The answer of an idempotent request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) fingerprint: String,
    pub(crate) report: CommitReport,
    pub(crate) at: DateTime<Utc>,
    /// The dataset that was written; absent in records of the first releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dataset_id: Option<DatasetId>,
}

impl Record for Outcome {
    const COLLECTION: &'static str = "ingest_outcomes";
    const FORMAT: u32 = 1;
}

/// What a table counts beside its log. Written with every change of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// Rows that tombstones hide.
    pub(crate) hidden: u64,
    /// Another one with every change, so that who reads beside the writer sees which tables to look at. Empty in records of the first
    /// releases.
    #[serde(default)]
    pub(crate) revision: String,
}

impl Counters {
    pub(crate) fn new(hidden: u64) -> Self {
        Self { hidden, revision: fresh_id() }
    }
}

impl Record for Counters {
    const COLLECTION: &'static str = "table_counters";
    const FORMAT: u32 = 1;
}

/// A page of tombstones.
#[derive(Debug, Clone)]
pub struct TombstonePage {
    pub records: Vec<TombstoneRecord>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<String>,
}
