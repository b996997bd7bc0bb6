//! Rows in the place of those with the same key.
//!
//! **Invariant**: the files of a version that hold a key of the input are written anew without it, under the table's queue, and
//! swapped in the very commit that adds the new rows: no reader sees a key twice, or not at all.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use lakehouse_types::{ColumnName, Unwatched};

use crate::rewrite::Rewrite;
use crate::writer::Work;
use crate::{DatasetState, TableError, Tombstones, WriteMode};

/// Rows of one upsert: each key is kept in memory until the commit.
const MAX_KEYS: usize = 4_000_000;

/// The text forms of the keys so far.
#[derive(Debug, Default)]
pub(crate) struct Keys(HashSet<Box<str>>);

/// What an upsert takes out.
#[derive(Debug, Default)]
pub(crate) struct Replaced {
    /// Names of files that are written anew.
    pub(crate) files: Vec<String>,
    pub(crate) rows: u64,
    /// Those of the rows that a tombstone hid.
    pub(crate) hidden: u64,
}

impl Work {
    /// The column whose values say which rows are the same.
    fn upsert_column(&self) -> Result<ColumnName, TableError> {
        let present = || self.table.tombstones().and_then(|tombstones| tombstones.column.clone());
        self.key.clone().or_else(present).ok_or_else(|| TableError::NoKey { dataset: self.table.name.clone() })
    }

    /// Takes note of the keys of a batch whose first row is number `row` of the input.
    pub(crate) fn gather_keys(&mut self, batch: &RecordBatch, row: u64) -> Result<(), TableError> {
        if self.mode != WriteMode::Upsert {
            return Ok(());
        }
        let column = self.upsert_column()?;
        let unknown = || TableError::UnknownColumn { dataset: self.table.name.clone(), column: column.clone() };
        let texts = cast(batch.column_by_name(column.as_str()).ok_or_else(unknown)?, &DataType::Utf8)?;
        for (key, row) in texts.as_string::<i32>().iter().zip(row..) {
            let key = key.ok_or_else(|| TableError::NullKey { column: column.clone(), row })?;
            if !self.keys.0.insert(key.into()) {
                return Err(TableError::RepeatedKey { column, row });
            }
        }
        match self.keys.0.len() > MAX_KEYS {
            true => Err(TableError::TooManyKeys { limit: MAX_KEYS }),
            false => Ok(()),
        }
    }

    /// Writes the files anew that hold keys of this upsert, without them. The caller holds the queue.
    pub(crate) async fn replace_keys(&mut self, present: Option<&Arc<DatasetState>>) -> Result<(), TableError> {
        let Some(present) = present.filter(|_| self.mode == WriteMode::Upsert) else { return Ok(()) };
        let column = self.upsert_column()?;
        let keys = Arc::new(Tombstones::new(None, std::mem::take(&mut self.keys.0)));
        let mut files = Vec::new();
        for file in present.files.iter() {
            if self.tables.has_any(present, file, &column, &keys).await? {
                files.push(file.clone());
            }
        }
        if files.is_empty() {
            return Ok(());
        }
        self.intend().await?;
        let names = files.iter().map(|file| file.name().to_owned()).collect();
        let rewritten = self
            .tables
            .rewrite(Rewrite {
                files: Arc::new(present.of_files(Arc::clone(&present.schema), files)),
                without: Some((column, keys)),
                write: self.id.clone(),
                first: self.adds.len(),
                progress: Arc::new(Unwatched),
            })
            .await?;
        self.replaced = Replaced { files: names, rows: rewritten.dropped, hidden: rewritten.dropped_hidden };
        self.adds.extend(rewritten.adds);
        Ok(())
    }
}
