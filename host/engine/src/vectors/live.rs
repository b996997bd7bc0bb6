//! Which rows of an index the relation still has as they were indexed.
//!
//! **Invariant**: asked anew whenever the dataset's state is another, tombstones included; a row whose content is no longer what was
//! indexed counts as gone until the next refresh.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use futures::StreamExt;
use lakehouse_access::Caller;
use lakehouse_catalog::IndexRecord;
use lakehouse_query::{Governance, QueryError, ReadRequest, Reading};
use lakehouse_tables::DatasetState;
use lakehouse_types::IndexId;
use lakehouse_vector::{Loaded, Mask, MaskBuilder};
use parking_lot::Mutex;

use super::host;
use crate::{Engine, EngineError};

/// How often rows are read anew because their dataset changed meanwhile.
const MAX_RACES: usize = 8;

enum Found {
    Rows(Arc<Mask>),
    /// The dataset has changed since.
    Newer(Governance),
}

/// What was found out last, by index.
#[derive(Debug, Default)]
pub(super) struct LiveRows {
    known: Mutex<HashMap<IndexId, Known>>,
    turns: Mutex<HashMap<IndexId, Arc<tokio::sync::Mutex<()>>>>,
}

/// The files of a state, beside those that a refresh saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    /// The same, and no row was hidden then: an id names the row that was indexed, or none.
    Same,
    /// All of those, and perhaps others: an id may name another row, too.
    More,
    /// Some are gone: rows may have changed.
    Others,
}

impl Files {
    pub(super) fn of(index: &IndexRecord, state: &DatasetState) -> Self {
        let (seen, marks) = (&index.seen, state.file_marks());
        if seen.dataset.as_str() != state.id || !seen.files.iter().all(|mark| marks.binary_search(mark).is_ok()) {
            return Self::Others;
        }
        if seen.files.len() == marks.len() && seen.tombstones == 0 { Self::Same } else { Self::More }
    }
}

#[derive(Debug)]
struct Known {
    generation: u64,
    state: Weak<DatasetState>,
    mask: Arc<Mask>,
}

impl LiveRows {
    fn get(&self, index: &IndexRecord, state: &Arc<DatasetState>) -> Option<Arc<Mask>> {
        let known = self.known.lock();
        let known = known.get(&index.id)?;
        // A state that is gone is no other's place in memory as long as it is referred to.
        let is_it = known.generation == index.generation && Weak::ptr_eq(&known.state, &Arc::downgrade(state));
        is_it.then(|| Arc::clone(&known.mask))
    }

    fn put(&self, index: &IndexRecord, state: &Arc<DatasetState>, mask: &Arc<Mask>) {
        let known = Known { generation: index.generation, state: Arc::downgrade(state), mask: Arc::clone(mask) };
        self.known.lock().insert(index.id.clone(), known);
    }

    fn turn(&self, index: &IndexId) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.turns.lock().entry(index.clone()).or_default())
    }

    pub(super) fn forget(&self, index: &IndexId) {
        self.known.lock().remove(index);
        self.turns.lock().remove(index);
    }
}

impl Engine {
    /// The rows of the index that may be found in this state.
    ///
    /// # Errors
    /// When the relation cannot be read, or its rules have changed since `governance` was asked for.
    pub(super) async fn live_rows(
        &self,
        caller: &Caller,
        index: &Loaded,
        governance: &Governance,
    ) -> Result<Arc<Mask>, EngineError> {
        if let Some(known) = self.vectors.live.get(&index.record, &governance.state) {
            return Ok(known);
        }
        // Many ask at once after a tombstone; one looks.
        let turn = self.vectors.live.turn(&index.record.id);
        let _turn = turn.lock().await;
        let mut governance = governance.clone();
        for _ in 0..MAX_RACES {
            match self.try_live_rows(caller, index, &governance).await? {
                Found::Rows(mask) => return Ok(mask),
                Found::Newer(newer) => governance = newer,
            }
        }
        Err(EngineError::Raced { what: format!("dataset `{}`", index.record.base) })
    }

    async fn try_live_rows(&self, caller: &Caller, index: &Loaded, governance: &Governance) -> Result<Found, EngineError> {
        let record = &index.record;
        if let Some(known) = self.vectors.live.get(record, &governance.state) {
            return Ok(Found::Rows(known));
        }
        let state = &governance.state;
        let files = Files::of(record, state);
        if files != Files::Others && state.tombstones.is_empty() {
            let mask = Arc::new(Mask::live(index));
            self.vectors.live.put(record, state, &mask);
            return Ok(Found::Rows(mask));
        }
        let reading = match self.rows_of(&host(caller), record, files, None).await {
            Ok(reading) => reading,
            // By what the host meets on the way the caller would learn of columns that it may not read.
            Err(error @ (QueryError::UnknownColumn { .. } | QueryError::Plan { .. } | QueryError::Definition { .. })) => {
                tracing::warn!(index = %record.name, %error, "an index no longer fits its relation");
                return Err(EngineError::IndexOutdated { index: record.name.clone() });
            }
            Err(error) => return Err(error.into()),
        };
        if reading.governance.digest != record.governance {
            return Err(EngineError::IndexOutdated { index: record.name.clone() });
        }
        if !Arc::ptr_eq(&reading.governance.state, state) {
            return Ok(Found::Newer(reading.governance));
        }
        let mask = match self.mask_of(index, reading, files).await {
            Ok(mask) => Arc::new(mask),
            Err(EngineError::Vector(error)) => {
                tracing::warn!(index = %record.name, %error, "an index no longer fits its relation");
                return Err(EngineError::IndexOutdated { index: record.name.clone() });
            }
            Err(error) => return Err(error),
        };
        self.vectors.live.put(record, state, &mask);
        Ok(Found::Rows(mask))
    }

    /// Ids of the relation's rows, with their content where an id alone does not tell whether it names the row that was indexed.
    pub(super) async fn rows_of(
        &self,
        reader: &Caller,
        index: &IndexRecord,
        files: Files,
        filter: Option<&str>,
    ) -> Result<Reading, QueryError> {
        let columns = [index.recipe.id_column.as_str(), index.recipe.source.column().as_str()];
        let columns = if files == Files::Same { &columns[..1] } else { &columns[..] };
        let request = ReadRequest { relation: &index.relation, columns, filter, deadline: None, place: None };
        self.query.read(reader, request).await
    }

    /// The indexed rows among those that were read; on the query threads, since every row is looked at.
    pub(super) async fn mask_of(&self, index: &Loaded, mut reading: Reading, files: Files) -> Result<Mask, EngineError> {
        let index = index.clone();
        let work = async move {
            let mut mask = MaskBuilder::new(&index);
            while let Some(batch) = reading.answer.batches.next().await {
                let batch = batch?;
                if files == Files::Same {
                    mask.add(batch.column(0))?;
                } else {
                    mask.add_unchanged(batch.column(0), batch.column(1))?;
                }
            }
            Ok(mask.finish()?)
        };
        self.cpu.run(work).await?
    }
}
