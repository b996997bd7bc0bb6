//! What a write did.

use arrow::datatypes::Schema;
use lakehouse_types::{BucketName, DatasetName};
use serde::{Deserialize, Serialize};

use crate::schema::friendly;

/// How new rows meet the rows that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WriteMode {
    /// The new rows come to the old ones.
    Append,
    /// The new rows take the place of all old ones, their schema that of the old schema.
    Replace,
    /// The new rows take the place of the old ones with the same key; the others come to those that are there.
    Upsert,
}

impl WriteMode {
    /// Whether rows that are there stay, and with them the schema.
    pub(crate) fn adds(self) -> bool {
        self != Self::Replace
    }
}

/// A column as reports and listings name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub data_type: String,
}

impl Column {
    /// The columns of a schema, types by their friendly names.
    pub fn of(schema: &Schema) -> Vec<Self> {
        let column =
            |field: &arrow::datatypes::FieldRef| Self { name: field.name().clone(), data_type: friendly(field.data_type()) };
        schema.fields().iter().map(column).collect()
    }
}

/// An input row that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Line of the input where the row starts, from 1.
    pub line: u64,
    /// Why, without the value.
    pub reason: String,
}

/// What a write did. Stored as the outcome of an idempotent request and answered again word for word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitReport {
    pub dataset: DatasetName,
    pub bucket: BucketName,
    pub mode: WriteMode,
    /// Rows written by this request.
    pub rows: u64,
    /// Rows of before that an upsert took out.
    #[serde(default)]
    pub replaced_rows: u64,
    /// Rows that were left out: the first of them, at most as many as the reader keeps.
    pub rejected: Vec<Rejected>,
    /// Rows that were left out in all.
    pub rejected_rows: u64,
    /// The dataset's columns after the write.
    pub columns: Vec<Column>,
    /// Delta version that the write made.
    pub version: u64,
    /// Rows of this request that stay hidden, because their key is tombstoned.
    pub tombstoned_keys: u64,
    /// From the arrival of the request to its commit.
    pub duration_ms: u64,
    /// It is the answer to an earlier request with the same idempotency key: this one wrote nothing. Not stored.
    #[serde(skip)]
    pub is_repeat: bool,
}
