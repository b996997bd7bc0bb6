//! One hidden row key, with who hid it and why. The in-memory sets that scans probe belong to the tables.

use chrono::{DateTime, Utc};
use lakehouse_storage::Record;
use lakehouse_types::{Actor, ColumnName, DatasetName};
use serde::{Deserialize, Serialize};

/// Every row of `dataset` whose `row_key_column` reads `row_key_value` is hidden, whenever it was ingested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstoneRecord {
    pub dataset: DatasetName,
    pub row_key_column: ColumnName,
    /// The key's text form: integer 7 and text '7' are the same key.
    pub row_key_value: String,
    pub deleted_at: DateTime<Utc>,
    pub actor: Actor,
    pub reason: String,
}

impl Record for TombstoneRecord {
    const COLLECTION: &'static str = "tombstones";
    const FORMAT: u32 = 1;
}
