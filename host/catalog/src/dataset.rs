//! A dataset's record: where it lives and what is known beside its rows.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use lakehouse_storage::Record;
use lakehouse_types::{Actor, BucketName, ColumnName, DatasetId, DatasetName};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// A dataset. Its schema and rows are the table's own, in Delta; this is the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetRecord {
    pub name: DatasetName,
    /// Never reused: names the table's folder, so that a dataset that is deleted and made again never meets its old files.
    pub id: DatasetId,
    /// Read where it is empty, too, as earlier releases left it for the primary bucket.
    #[serde(deserialize_with = "bucket")]
    pub bucket: BucketName,
    pub created_at: DateTime<Utc>,
    pub created_by: Actor,
    /// The column that tombstones name rows by, once one has been used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_column: Option<ColumnName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_embedded_at: Option<DateTime<Utc>>,
    /// Set by the first ingest after `last_embedded_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_stale_since: Option<DateTime<Utc>>,
    #[serde(default)]
    pub embedding_refresh_policy: RefreshPolicy,
}

impl DatasetRecord {
    /// A dataset that was never ingested into, embedded or tombstoned.
    pub fn new(name: DatasetName, bucket: BucketName, created_by: Actor, created_at: DateTime<Utc>) -> Self {
        Self {
            name,
            id: DatasetId::fresh(),
            bucket,
            created_at,
            created_by,
            key_column: None,
            last_embedded_at: None,
            embedding_stale_since: None,
            embedding_refresh_policy: RefreshPolicy::default(),
        }
    }

    /// Marks the embeddings stale, if there are any and they are not stale already. Answers whether that changed the record.
    pub fn mark_stale(&mut self, at: DateTime<Utc>) -> bool {
        let changes = self.last_embedded_at.is_some() && self.embedding_stale_since.is_none();
        if changes {
            self.embedding_stale_since = Some(at);
        }
        changes
    }
}

fn bucket<'de, D: Deserializer<'de>>(stored: D) -> Result<BucketName, D::Error> {
    match Cow::<str>::deserialize(stored)? {
        name if name.is_empty() => Ok(BucketName::primary()),
        name => BucketName::new(name).map_err(D::Error::custom),
    }
}

impl Record for DatasetRecord {
    const COLLECTION: &'static str = "datasets";
    const FORMAT: u32 = 1;
}

/// When embeddings follow the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RefreshPolicy {
    /// When asked.
    #[default]
    Manual,
    /// After each append.
    OnAppend,
    /// At the times of a cron expression.
    Scheduled { cron: String },
}
