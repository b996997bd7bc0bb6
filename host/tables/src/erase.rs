//! What erasure asks of a table: which rows are a subject's, what they say that no other row says, and whether it was done.
//!
//! **Invariant**: nothing here writes; values that are handed out are for the search that proves their absence, and go nowhere else.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch, not};
use arrow::datatypes::DataType;
use futures::TryStreamExt;
use lakehouse_types::{ColumnName, DatasetName};

use crate::burial::check_key_type;
use crate::rewrite::scan_column;
use crate::sieve::Sieve;
use crate::tables::check_key_column;
use crate::{TableError, Tables, Tombstones};

/// Values of one erasure that are looked for at most; the longest of them.
const MAX_VALUES: usize = 100_000;
const MAX_VALUE_BYTES: usize = 64 << 10;
/// All of them together.
const MAX_VALUES_BYTES: usize = 16 << 20;

/// Rows of some keys.
#[derive(Debug, Default)]
pub struct Subjects {
    /// Rows that are there, hidden or not.
    pub rows: u64,
    /// Texts that stand in these rows and in no other row of the dataset, at least as long as was asked for and up to 64 KiB; the
    /// shortest first, 16 MiB in all.
    pub values: Vec<String>,
}

impl Tables {
    /// Whether rows of a dataset can be erased by this column: its key column, or one that can become it.
    ///
    /// # Errors
    /// For an unknown dataset or column, another key column than the dataset's, or one that is neither text nor integer.
    pub fn check_key(&self, name: &DatasetName, column: &ColumnName) -> Result<(), TableError> {
        let (_, state) = self.existing(name)?;
        check_key_column(name, &state.tombstones, column)?;
        check_key_type(&state, column).map(|_| ())
    }

    /// The rows of these keys, and what only they say.
    ///
    /// # Errors
    /// For an unknown dataset, or when a file cannot be read.
    pub async fn subjects(
        &self,
        name: &DatasetName,
        column: &ColumnName,
        keys: Arc<Tombstones>,
        min_bytes: usize,
    ) -> Result<Subjects, TableError> {
        let (_, state) = self.existing(name)?;
        let mut subjects = Subjects::default();
        let mut said = HashSet::new();
        let (key, whose) = (column.clone(), Arc::clone(&keys));
        let theirs = self.look_at_all(&state, move |batch, (rows, said): &mut (u64, HashSet<String>)| {
            if let Some(theirs) = rows_of(batch, &key, &whose, true)? {
                *rows += theirs.num_rows() as u64;
                each_text(&theirs, &mut |text| {
                    if (min_bytes..=MAX_VALUE_BYTES).contains(&text.len()) && !said.contains(text) {
                        said.insert(text.to_owned());
                    }
                });
            }
            Ok(())
        });
        for (rows, texts) in theirs.await? {
            subjects.rows += rows;
            said.extend(texts);
        }
        if !said.is_empty() {
            // Nearly all that others say is told apart by one bit.
            let sieve = Sieve::of(said.iter().map(String::as_str));
            let (key, known) = (column.clone(), Arc::new((sieve, said)));
            let look_up = Arc::clone(&known);
            let others = self.look_at_all(&state, move |batch, shared: &mut HashSet<String>| {
                let (sieve, said) = look_up.as_ref();
                let others = rows_of(batch, &key, &keys, false)?;
                each_text(others.as_ref().unwrap_or(batch), &mut |text| {
                    if sieve.passes(text) && said.contains(text) && !shared.contains(text) {
                        shared.insert(text.to_owned());
                    }
                });
                Ok(())
            });
            let shared = others.await?;
            let only_theirs = known.1.iter().filter(|text| !shared.iter().any(|shared| shared.contains(*text)));
            subjects.values = only_theirs.cloned().collect();
        }
        subjects.values.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
        let mut bytes = 0;
        let within = subjects.values.iter().take_while(|value| {
            bytes += value.len();
            bytes <= MAX_VALUES_BYTES
        });
        let count = within.count().min(MAX_VALUES);
        subjects.values.truncate(count);
        Ok(subjects)
    }

    /// The keys of a dataset for which `is_one` holds.
    ///
    /// # Errors
    /// For an unknown dataset, a column that it does not have, or when a file cannot be read.
    pub async fn keys_of(
        &self,
        name: &DatasetName,
        column: &ColumnName,
        is_one: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<HashSet<Box<str>>, TableError> {
        let (_, state) = self.existing(name)?;
        if state.schema.index_of(column.as_str()).is_err() {
            // Nobody can be told from anybody.
            let (dataset, column) = (name.clone(), column.clone());
            return if state.rows == 0 { Ok(HashSet::new()) } else { Err(TableError::UnknownColumn { dataset, column }) };
        }
        let column = column.clone();
        let look = async move {
            let mut found = HashSet::new();
            let mut batches = scan_column(&state, &column).await?;
            while let Some(batch) = batches.try_next().await? {
                let texts = cast(batch.column(0), &DataType::Utf8)?;
                let keys = texts.as_string::<i32>().iter().flatten().filter(|key| is_one(key));
                found.extend(keys.map(Box::from));
            }
            Ok(found)
        };
        self.on_blocking(look).await
    }

    /// The number of the last erasure that a dataset has been through; 0 for none. One with a lower number than it should have is a
    /// copy from before.
    ///
    /// # Errors
    /// For an unknown dataset, or when its log cannot be read.
    pub async fn erasures(&self, name: &DatasetName) -> Result<u64, TableError> {
        let (table, state) = self.existing(name)?;
        table.log.erasures(&state.snapshot).await
    }
}

/// The rows of the keys, or the others; `None` for none of the keys'.
fn rows_of(batch: &RecordBatch, column: &ColumnName, keys: &Tombstones, theirs: bool) -> Result<Option<RecordBatch>, TableError> {
    let Some(values) = batch.column_by_name(column.as_str()) else { return Ok(None) };
    let others = keys.keep_mask(values);
    if others.false_count() == 0 {
        return Ok(None);
    }
    let mask = if theirs { not(&others)? } else { others };
    Ok(Some(filter_record_batch(batch, &mask)?))
}

/// Hands out every text of a batch, those inside of lists, objects and maps among them.
fn each_text(batch: &RecordBatch, take: &mut dyn FnMut(&str)) {
    batch.columns().iter().for_each(|column| texts_in(column, take));
}

fn texts_in(values: &ArrayRef, take: &mut dyn FnMut(&str)) {
    match values.data_type() {
        DataType::Utf8 => values.as_string::<i32>().iter().flatten().for_each(take),
        DataType::Utf8View => values.as_string_view().iter().flatten().for_each(take),
        DataType::List(_) => {
            let lists = values.as_list::<i32>();
            let (from, to) = (lists.value_offsets()[0], lists.value_offsets()[lists.len()]);
            texts_in(&lists.values().slice(from as usize, (to - from) as usize), take);
        }
        DataType::Struct(_) => values.as_struct().columns().iter().for_each(|member| texts_in(member, take)),
        DataType::Map(_, _) => {
            let maps = values.as_map();
            let (from, to) = (maps.value_offsets()[0], maps.value_offsets()[maps.len()]);
            let entries = maps.entries().slice(from as usize, (to - from) as usize);
            entries.columns().iter().for_each(|part| texts_in(part, take));
        }
        _ => {}
    }
}
