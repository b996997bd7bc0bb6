//! Queries that run, and the last that ended: who asked what, and what became of it.
//!
//! **Invariant**: a statement is shown without its literals and comments, and not before it was planned: until then its words may name nothing,
//! and be values that somebody forgot to quote. Nothing outlives the process, and no more than [`KEPT`] ended ones are kept.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use lakehouse_access::Caller;
use lakehouse_types::{Actor, Clock, Code, Fault, ProfileId, QueryId, RequestId};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    engine::planning::Findings,
    error::QueryError,
    run::{Answer, Outcome},
};

/// Ended queries that are remembered.
pub const KEPT: usize = 10_000;

/// What became of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryState {
    /// It waits for a place, or works.
    Running,
    /// Every row was handed over, or as many as were asked for.
    Done,
    Failed,
    /// Somebody asked for its end.
    Cancelled,
    /// Its client left before the end.
    Abandoned,
}

impl QueryState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Abandoned => "abandoned",
        }
    }
}

/// A query as it is now, or was at its end.
#[derive(Debug, Clone)]
pub struct QueryRecord {
    pub id: QueryId,
    pub request_id: RequestId,
    pub actor: Actor,
    pub role: &'static str,
    pub profile: ProfileId,
    /// Without literals; `None` of one that could not be planned.
    pub statement: Option<Arc<str>>,
    pub state: QueryState,
    /// Why it failed.
    pub code: Option<Code>,
    /// Rows that were handed over so far.
    pub rows: u64,
    pub began_at: DateTime<Utc>,
    /// Until now, or its end; the wait for a place included.
    pub duration: Duration,
    /// Whether the answer was kept from an equal question, so that nothing was read.
    pub cached: bool,
}

struct Live {
    /// As it began.
    record: QueryRecord,
    findings: Arc<Findings>,
    began: Instant,
    outcome: OnceLock<Arc<Outcome>>,
    cancel: watch::Sender<bool>,
}

impl Live {
    fn now(&self) -> QueryRecord {
        let (rows, cached) = self.outcome.get().map_or((0, false), |outcome| (outcome.rows(), outcome.from_cache()));
        let statement = self.record.statement.clone().filter(|_| cached || self.findings.is_planned());
        QueryRecord { statement, rows, cached, duration: self.began.elapsed(), ..self.record.clone() }
    }
}

/// All queries of one process.
pub(crate) struct History {
    clock: Arc<dyn Clock>,
    kept: usize,
    queries: Mutex<Queries>,
}

#[derive(Default)]
struct Queries {
    live: BTreeMap<QueryId, Arc<Live>>,
    ended: VecDeque<QueryRecord>,
    /// All that ended since the start, by state and code.
    totals: BTreeMap<(&'static str, &'static str), u64>,
}

impl History {
    pub(crate) fn new(clock: Arc<dyn Clock>, kept: usize) -> Self {
        Self { clock, kept, queries: Mutex::default() }
    }

    /// A query begins. `statement` is without its literals.
    pub(crate) fn begin(self: &Arc<Self>, caller: &Caller, statement: Option<Arc<str>>) -> Tracked {
        let record = QueryRecord {
            id: QueryId::fresh(),
            request_id: caller.request_id.clone(),
            actor: caller.principal.name.clone(),
            role: caller.principal.role.as_str(),
            profile: caller.profile.clone(),
            statement,
            state: QueryState::Running,
            code: None,
            rows: 0,
            began_at: self.clock.now(),
            duration: Duration::ZERO,
            cached: false,
        };
        let id = record.id.clone();
        let live = Arc::new(Live {
            record,
            findings: Arc::default(),
            began: Instant::now(),
            outcome: OnceLock::new(),
            cancel: watch::Sender::new(false),
        });
        self.queries.lock().live.insert(id, Arc::clone(&live));
        Tracked { history: Arc::clone(self), live, end: None }
    }

    /// Those that run, the oldest first.
    pub(crate) fn running(&self) -> Vec<QueryRecord> {
        let mut live: Vec<Arc<Live>> = self.queries.lock().live.values().cloned().collect();
        live.sort_by_key(|one| one.began);
        live.iter().map(|one| one.now()).collect()
    }

    /// All that are known: the ended ones in the order of their ends, then those that run.
    pub(crate) fn all(&self) -> Vec<QueryRecord> {
        let queries = self.queries.lock();
        queries.ended.iter().cloned().chain(queries.live.values().map(|live| live.now())).collect()
    }

    /// How many run, and how many have ended by state and problem code.
    pub(crate) fn counts(&self) -> (usize, Vec<(&'static str, &'static str, u64)>) {
        let queries = self.queries.lock();
        (queries.live.len(), queries.totals.iter().map(|((state, code), count)| (*state, *code, *count)).collect())
    }

    pub(crate) fn get(&self, id: &QueryId) -> Option<QueryRecord> {
        let queries = self.queries.lock();
        let live = queries.live.get(id).map(|live| live.now());
        live.or_else(|| queries.ended.iter().rev().find(|record| record.id == *id).cloned())
    }

    /// Asks for the end of one that runs; nothing happens to any other.
    pub(crate) fn cancel(&self, id: &QueryId) {
        let live = self.queries.lock().live.get(id).cloned();
        if let Some(live) = live {
            live.cancel.send_replace(true);
        }
    }
}

/// A query that has its first rows.
#[derive(Debug)]
pub struct Started {
    pub id: QueryId,
    pub answer: Answer,
}

/// A query under watch, until its answer is gone.
pub(crate) struct Tracked {
    history: Arc<History>,
    live: Arc<Live>,
    /// How it ended; not yet, or by its client's leaving.
    end: Option<(QueryState, Option<Code>)>,
}

impl Tracked {
    /// What planning is to note.
    pub(crate) fn findings(&self) -> &Arc<Findings> {
        &self.live.findings
    }

    /// What `work` comes to, unless somebody asks for its end first.
    pub(crate) async fn unless_cancelled<T>(&self, work: impl Future<Output = Result<T, QueryError>>) -> Result<T, QueryError> {
        let mut cancelled = self.live.cancel.subscribe();
        tokio::select! {
            biased;
            _ = cancelled.wait_for(|cancelled| *cancelled) => Err(QueryError::Cancelled),
            done = work => done,
        }
    }

    pub(crate) fn failed(&mut self, error: &QueryError) {
        let state = if matches!(error, QueryError::Cancelled) { QueryState::Cancelled } else { QueryState::Failed };
        self.end = Some((state, Some(error.code())));
    }

    /// The answer, watched to its end.
    pub(crate) fn over(self, answer: Answer) -> Started {
        let Answer { schema, batches, outcome } = answer;
        let _ = self.live.outcome.set(Arc::clone(&outcome));
        let id = self.live.record.id.clone();
        let batches = stream::unfold(Some((self, batches)), |state| async move {
            let (mut tracked, mut batches) = state?;
            let next = async { batches.next().await.transpose() };
            match tracked.unless_cancelled(next).await {
                Ok(Some(batch)) => Some((Ok(batch), Some((tracked, batches)))),
                Ok(None) => {
                    tracked.end = Some((QueryState::Done, None));
                    None
                }
                Err(error) => {
                    tracked.failed(&error);
                    Some((Err(error), None))
                }
            }
        });
        Started { id, answer: Answer { schema, batches: batches.fuse().boxed(), outcome } }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let (state, code) = self.end.take().unwrap_or((QueryState::Abandoned, None));
        let record = QueryRecord { state, code, ..self.live.now() };
        let mut queries = self.history.queries.lock();
        queries.live.remove(&record.id);
        *queries.totals.entry((state.as_str(), code.map_or("", Code::as_str))).or_default() += 1;
        queries.ended.push_back(record);
        let over = queries.ended.len().saturating_sub(self.history.kept);
        queries.ended.drain(..over);
    }
}
