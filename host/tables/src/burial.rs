//! Hiding rows by key, and showing them again.
//!
//! **Invariant**: a key is either hidden, durable and in the state that the next query pins, or reported as a failure. Journal
//! events hold pseudonyms of keys.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::DataType;
use futures::TryStreamExt;
use lakehouse_catalog::{CatalogError, TombstoneRecord};
use lakehouse_journal::{Draft, EventKind, Stamp};
use lakehouse_types::{Actor, ColumnName, DatasetName};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::records::{Counters, TombstonePage};
use crate::rewrite::scan_column;
use crate::schema::{friendly, is_key_type};
use crate::table::Table;
use crate::tables::check_key_column;
use crate::tombstones::{count_rows, key_text};
use crate::{DatasetState, TableError, Tables, Tombstones};

/// Keys that a journal event names, as pseudonyms; the others are counted.
const JOURNALED_KEYS: usize = 1000;

/// What a burial did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burial {
    /// Rows that are hidden by this call.
    pub rows_tombstoned: u64,
    /// Values that hid nothing, in the order in which they came.
    pub failures: Vec<BurialFailure>,
}

impl Burial {
    /// Whether every value hid rows.
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty()
    }
}

/// A value that hid nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BurialFailure {
    /// The value as it came.
    pub value: Value,
    pub reason: FailureReason,
}

/// Why a value did nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// No row has this key.
    NotFound,
    /// NULL, a boolean, a fraction, a list or an object is no key.
    InvalidValue,
    /// The key is hidden already.
    AlreadyTombstoned,
    /// The key is not hidden, so there is nothing to undo.
    NotTombstoned,
}

/// What an undo did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restoration {
    /// Rows that are visible again.
    pub rows_restored: u64,
    pub failures: Vec<BurialFailure>,
}

impl Restoration {
    /// Whether every value was undone.
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty()
    }
}

impl Tables {
    /// Hides every row, present and to come, whose `column` has one of `values`. The first burial chooses the dataset's row key
    /// column. `actor` is who is named in the records, if not the caller.
    ///
    /// # Errors
    /// For an unknown dataset or column, another key column than the dataset's, or a column that is neither text nor integer.
    pub async fn bury(
        self: &Arc<Self>,
        by: &Stamp,
        name: &DatasetName,
        column: &ColumnName,
        values: Vec<Value>,
        actor: Option<Actor>,
        reason: String,
    ) -> Result<Burial, TableError> {
        let actor = actor.unwrap_or_else(|| by.actor.clone());
        let order = BurialOrder { by: by.clone(), name: name.clone(), column: column.clone(), values, actor, reason };
        let tables = Arc::clone(self);
        self.io.spawn(async move { tables.bury_now(order).await }).await?
    }

    async fn bury_now(&self, order: BurialOrder) -> Result<Burial, TableError> {
        let BurialOrder { by, name, column, values, actor, reason } = order;
        let (table, _) = self.existing(&name)?;
        let mut queue = table.queue().await?;
        self.settle(&table, &mut queue).await?;
        let state = table.state().ok_or_else(|| TableError::UnknownDataset { name: name.clone() })?;
        check_key_column(&name, &state.tombstones, &column)?;
        check_key_type(&state, &column)?;
        let (keys, mut failures) = sort_out(&values, |key| match state.tombstones.contains(key) {
            true => Some(FailureReason::AlreadyTombstoned),
            false => None,
        });
        let wanted = Tombstones::new(None, keys.iter().map(|(_, key)| key.clone()));
        let found = self.count(&state, &column, Arc::new(wanted)).await?;
        let mut buried = Vec::new();
        for (index, key) in keys {
            match found.get(&key) {
                Some(_) => buried.push(key),
                None => failures.push((index, FailureReason::NotFound)),
            }
        }
        let rows: u64 = found.values().sum();
        if !buried.is_empty() {
            let hidden = state.hidden + rows;
            let records = buried.iter().map(|key| TombstoneRecord {
                dataset: name.clone(),
                row_key_column: column.clone(),
                row_key_value: key.to_string(),
                deleted_at: by.at,
                actor: actor.clone(),
                reason: reason.clone(),
            });
            let records: Vec<_> = records.collect();
            let keys = self.pseudonyms(&buried);
            let details =
                json!({ "row_key_column": column, "keys": keys, "key_count": buried.len(), "rows": rows, "actor": actor });
            self.catalog
                .edit(&by, |present, edit| {
                    let mut record = present.dataset(&name)?.as_ref().clone();
                    record.key_column = Some(column.clone());
                    edit.put_dataset(record)?;
                    edit.event(Draft::new(EventKind::Tombstone, name.as_str()).dataset(name.clone()).details(details));
                    let transaction = edit.txn();
                    for record in &records {
                        transaction.put(&record_key(&table, &record.row_key_value), record).map_err(CatalogError::from)?;
                    }
                    transaction.put(table.folder.id(), &Counters::new(hidden)).map_err(CatalogError::from)?;
                    Ok::<_, TableError>(())
                })
                .await?;
            let tombstones = state.tombstones.with(column, buried);
            table.set_state(Some(Arc::new(state.with_tombstones(Arc::new(tombstones), hidden))));
        }
        Ok(Burial { rows_tombstoned: rows, failures: told(values, failures) })
    }

    /// Shows the rows of these keys again.
    ///
    /// # Errors
    /// For an unknown dataset.
    pub async fn restore(
        self: &Arc<Self>,
        by: &Stamp,
        name: &DatasetName,
        values: Vec<Value>,
    ) -> Result<Restoration, TableError> {
        let (tables, by, name) = (Arc::clone(self), by.clone(), name.clone());
        self.io.spawn(async move { tables.restore_now(&by, &name, values).await }).await?
    }

    async fn restore_now(&self, by: &Stamp, name: &DatasetName, values: Vec<Value>) -> Result<Restoration, TableError> {
        let (table, _) = self.existing(name)?;
        let mut queue = table.queue().await?;
        self.settle(&table, &mut queue).await?;
        let state = table.state().ok_or_else(|| TableError::UnknownDataset { name: name.clone() })?;
        let (keys, failures) = sort_out(&values, |key| match state.tombstones.contains(key) {
            true => None,
            false => Some(FailureReason::NotTombstoned),
        });
        let keys: Vec<Box<str>> = keys.into_iter().map(|(_, key)| key).collect();
        let mut rows = 0;
        if let Some(column) = state.tombstones.column.clone().filter(|_| !keys.is_empty()) {
            let found = self.count(&state, &column, Arc::new(Tombstones::new(None, keys.iter().cloned()))).await?;
            rows = found.values().sum();
            let hidden = state.hidden.saturating_sub(rows);
            let told = self.pseudonyms(&keys);
            let details = json!({ "row_key_column": column, "keys": told, "key_count": keys.len(), "rows": rows });
            self.catalog
                .edit(by, |_, edit| {
                    edit.event(Draft::new(EventKind::TombstoneUndo, name.as_str()).dataset(name.clone()).details(details));
                    let transaction = edit.txn();
                    keys.iter().for_each(|key| transaction.delete::<TombstoneRecord>(&record_key(&table, key)));
                    transaction.put(table.folder.id(), &Counters::new(hidden)).map_err(CatalogError::from)?;
                    Ok::<_, TableError>(())
                })
                .await?;
            let tombstones = state.tombstones.without(&keys.into_iter().collect());
            table.set_state(Some(Arc::new(state.with_tombstones(Arc::new(tombstones), hidden))));
        }
        Ok(Restoration { rows_restored: rows, failures: told(values, failures) })
    }

    /// A page of a dataset's tombstones, with who hid what, when and why. `after` is the `next` of the page before.
    ///
    /// # Errors
    /// For an unknown dataset, or when metadata cannot be read.
    pub async fn tombstones(&self, name: &DatasetName, after: Option<&str>, limit: usize) -> Result<TombstonePage, TableError> {
        let (table, _) = self.existing(name)?;
        let prefix = format!("{}/", table.folder.id());
        let after = after.map(|after| format!("{prefix}{after}"));
        let mut found =
            self.meta.collection::<TombstoneRecord>().scan(&prefix, after.as_deref(), limit.saturating_add(1)).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(key, _)| key.trim_start_matches(&prefix).to_owned());
        Ok(TombstonePage { records: found.into_iter().map(|(_, record)| record).collect(), next })
    }

    /// The first [`JOURNALED_KEYS`] keys as an event names them.
    fn pseudonyms(&self, keys: &[Box<str>]) -> Vec<String> {
        keys.iter().take(JOURNALED_KEYS).map(|key| self.journal.pseudonym(key)).collect()
    }

    /// Rows of each wanted key in the files, found in one scan of the key column, on a thread that may block.
    pub(crate) async fn count(
        &self,
        state: &Arc<DatasetState>,
        column: &ColumnName,
        wanted: Arc<Tombstones>,
    ) -> Result<HashMap<Box<str>, u64>, TableError> {
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        let (state, column) = (Arc::clone(state), column.clone());
        let scan = async move {
            let mut batches = scan_column(&state, &column).await?;
            let mut found = HashMap::new();
            while let Some(batch) = batches.try_next().await? {
                count_rows(&wanted, batch.column(0), &mut found)?;
            }
            Ok::<_, TableError>(found)
        };
        self.on_blocking(scan).await
    }
}

struct BurialOrder {
    by: Stamp,
    name: DatasetName,
    column: ColumnName,
    values: Vec<Value>,
    actor: Actor,
    reason: String,
}

/// Where the record of one key is.
pub(crate) fn record_key(table: &Table, key: &str) -> String {
    let hash = lakehouse_types::Digest::from_bytes(&Sha256::digest(key.as_bytes()).into());
    format!("{}/{hash}", table.folder.id())
}

pub(crate) fn check_key_type(state: &DatasetState, column: &ColumnName) -> Result<DataType, TableError> {
    let unknown = |_| TableError::UnknownColumn { dataset: state.name.clone(), column: column.clone() };
    let data_type = state.schema.field_with_name(column.as_str()).map_err(unknown)?.data_type();
    if is_key_type(data_type) {
        Ok(data_type.clone())
    } else {
        Err(TableError::KeyType { column: column.clone(), given: friendly(data_type) })
    }
}

type Indexed<T> = Vec<(usize, T)>;

/// Keys to act on, each once, and values to report; both with their place among `values`.
fn sort_out(values: &[Value], refuse: impl Fn(&str) -> Option<FailureReason>) -> (Indexed<Box<str>>, Indexed<FailureReason>) {
    let (mut keys, mut failures, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for (index, value) in values.iter().enumerate() {
        match key_text(value) {
            None => failures.push((index, FailureReason::InvalidValue)),
            Some(key) => match refuse(&key) {
                Some(reason) => failures.push((index, reason)),
                None => {
                    if seen.insert(key.clone()) {
                        keys.push((index, key));
                    }
                }
            },
        }
    }
    (keys, failures)
}

fn told(mut values: Vec<Value>, mut failures: Indexed<FailureReason>) -> Vec<BurialFailure> {
    failures.sort_by_key(|(index, _)| *index);
    failures.into_iter().map(|(index, reason)| BurialFailure { value: values[index].take(), reason }).collect()
}
