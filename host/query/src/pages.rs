//! Answers that are read page by page: the rows of one query, kept in memory until the last page was read or nobody asks any more.
//!
//! **Invariant**: pages are given to the very principal and profile that asked, as both were then; what is kept is counted in the memory of
//! all queries, and ends [`KEPT_FOR`] after it was last read, at an erasure, or when the server stops.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use futures::{StreamExt, stream};
use lakehouse_access::{Caller, Principal};
use lakehouse_types::{ProfileId, QueryId};
use parking_lot::Mutex;

use crate::{
    error::QueryError,
    functions::array_bytes,
    history::Started,
    run::{Answer, Outcome},
};

/// How long an answer is kept after it was last read.
pub const KEPT_FOR: Duration = Duration::from_secs(300);
/// Answers of one key that are kept at once; a new one takes the place of the one that was read longest ago.
pub const KEPT_OF_A_KEY: usize = 16;

/// The kept answers.
pub(crate) struct Pages {
    memory: Arc<dyn MemoryPool>,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    kept: HashMap<QueryId, Kept>,
    /// How often all were let go of. An answer that was begun before the last time is not kept.
    cleared: u64,
}

struct Kept {
    principal: Arc<Principal>,
    profile: ProfileId,
    rows: Arc<Rows>,
    read: Instant,
}

/// All rows of an answer.
struct Rows {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    count: u64,
    truncated: bool,
    _memory: MemoryReservation,
}

impl Pages {
    pub(crate) fn new(memory: Arc<dyn MemoryPool>) -> Self {
        Self { memory, shelf: Mutex::default() }
    }

    /// Says when a query began, for [`Pages::first`].
    pub(crate) fn cleared(&self) -> u64 {
        self.shelf.lock().cleared
    }

    /// Reads an answer to its end and gives its first page; the others are kept if there are any. `cleared` was said before the query began.
    pub(crate) async fn first(
        &self,
        caller: &Caller,
        started: Started,
        page_rows: u64,
        cleared: u64,
    ) -> Result<Started, QueryError> {
        let Started { id, answer } = started;
        let rows = Arc::new(self.gather(answer).await?);
        let page = page(&rows, 0, page_rows);
        if rows.count > page_rows {
            let kept =
                Kept { principal: Arc::clone(&caller.principal), profile: caller.profile.clone(), rows, read: Instant::now() };
            self.shelf.lock().keep(id.clone(), kept, cleared);
        }
        Ok(Started { id, answer: page })
    }

    async fn gather(&self, answer: Answer) -> Result<Rows, QueryError> {
        let Answer { schema, mut batches, outcome } = answer;
        let memory = MemoryConsumer::new("pages").register(&self.memory);
        let (mut gathered, mut count) = (Vec::new(), 0);
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            let bytes = batch.columns().iter().map(array_bytes).fold(0, u64::saturating_add);
            memory.try_grow(usize::try_from(bytes).unwrap_or(usize::MAX)).map_err(|_| QueryError::Memory)?;
            count += batch.num_rows() as u64;
            gathered.push(batch);
        }
        Ok(Rows { schema, batches: gathered, count, truncated: outcome.truncated(), _memory: memory })
    }

    /// Rows after the first `after`, at most `limit`. The last page ends what is kept.
    pub(crate) fn next(&self, caller: &Caller, id: &QueryId, after: u64, limit: u64) -> Result<Answer, QueryError> {
        let mut shelf = self.shelf.lock();
        shelf.forget_old();
        let kept = shelf.kept.get_mut(id).filter(|kept| kept.principal == caller.principal && kept.profile == caller.profile);
        let kept = kept.ok_or_else(|| QueryError::UnknownQuery { id: id.clone() })?;
        kept.read = Instant::now();
        let rows = Arc::clone(&kept.rows);
        drop(shelf);
        if after > rows.count {
            return Err(QueryError::Parameters { message: format!("`after` is beyond the last of {} rows", rows.count) });
        }
        Ok(page(&rows, after, limit))
    }

    /// Lets go of one of the caller's answers.
    pub(crate) fn forget(&self, id: &QueryId) {
        self.shelf.lock().kept.remove(id);
    }

    /// Lets go of all: what was erased must not be in them.
    pub(crate) fn forget_all(&self) {
        let mut shelf = self.shelf.lock();
        shelf.kept.clear();
        shelf.cleared += 1;
    }

    /// Lets go of what nobody has read for long.
    pub(crate) fn forget_old(&self) {
        self.shelf.lock().forget_old();
    }
}

impl Shelf {
    fn keep(&mut self, id: QueryId, answer: Kept, cleared: u64) {
        if self.cleared != cleared {
            return;
        }
        self.forget_old();
        let key = &answer.principal.key_id;
        let own = self.kept.iter().filter(|(_, kept)| kept.principal.key_id == *key);
        let mut own: Vec<(Instant, QueryId)> = own.map(|(id, kept)| (kept.read, id.clone())).collect();
        if own.len() >= KEPT_OF_A_KEY {
            own.sort();
            self.kept.remove(&own[0].1);
        }
        self.kept.insert(id, answer);
    }

    fn forget_old(&mut self) {
        self.kept.retain(|_, kept| kept.read.elapsed() < KEPT_FOR);
    }
}

/// A part of the rows as an answer of its own.
fn page(rows: &Rows, after: u64, limit: u64) -> Answer {
    let (mut skip, mut left) = (after, limit);
    let mut part = Vec::new();
    for batch in &rows.batches {
        let length = batch.num_rows() as u64;
        if skip >= length {
            skip -= length;
            continue;
        }
        let take = (length - skip).min(left);
        if take == 0 {
            break;
        }
        // Both are no more than the batch's rows.
        part.push(Ok(batch.slice(usize::try_from(skip).unwrap_or(0), usize::try_from(take).unwrap_or(0))));
        (skip, left) = (0, left - take);
    }
    let given = limit - left;
    let end = after + given;
    let outcome = Outcome::of_page(given, rows.truncated && end == rows.count, (end < rows.count).then_some(end));
    Answer { schema: Arc::clone(&rows.schema), batches: stream::iter(part).boxed(), outcome: Arc::new(outcome) }
}
