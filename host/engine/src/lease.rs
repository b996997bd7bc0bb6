//! How long a caller's key holds while work for it goes on.
//!
//! **Invariant**: a key that was revoked or has expired commits no file whose body was not whole by then, and is handed no rows more
//! than [`ASKED_EVERY`] later; that it was is journaled as a denial.

use std::{sync::Arc, time::Duration};

use arrow::array::RecordBatch;
use futures::{StreamExt, stream, stream::BoxStream};
use lakehouse_access::{AccessError, Caller, Keys};
use lakehouse_journal::Journal;
use lakehouse_query::QueryError;
use lakehouse_types::{Clock, Fault};
use tokio::time::{Instant, timeout_at};

use crate::Engine;

/// How often the key of an answer is asked for.
const ASKED_EVERY: Duration = Duration::from_secs(1);

type Rows = BoxStream<'static, Result<RecordBatch, QueryError>>;

/// One caller's leave to go on.
pub(crate) struct Lease {
    keys: Keys,
    journal: Journal,
    clock: Arc<dyn Clock>,
    caller: Caller,
}

impl Engine {
    pub(crate) fn lease(&self, caller: &Caller) -> Lease {
        Lease { keys: self.keys.clone(), journal: self.journal.clone(), clock: Arc::clone(&self.clock), caller: caller.clone() }
    }
}

impl Lease {
    pub(crate) fn holds(&self) -> bool {
        self.keys.still_admits(&self.caller.principal)
    }

    /// The rows for as long as it holds, then an error.
    pub(crate) fn over(self, rows: Rows) -> Rows {
        let held = Held { lease: self, rows, due: Instant::now() };
        stream::unfold(Some(held), |held| async move {
            let mut held = held?;
            match held.next().await {
                Some(Ok(batch)) => Some((Ok(batch), Some(held))),
                Some(Err(error)) => Some((Err(error), None)),
                None => None,
            }
        })
        .boxed()
    }

    async fn ended(&self) -> QueryError {
        let ended = AccessError::Ended;
        if let Err(error) = self.journal.deny(&self.caller.stamp(&*self.clock), "read on", ended.code()).await {
            tracing::warn!(%error, "a denial could not be journaled");
        }
        QueryError::Rule { relation: "answer".into(), fault: Arc::new(ended) }
    }
}

/// Rows under a lease.
struct Held {
    lease: Lease,
    rows: Rows,
    /// When the key is asked for next.
    due: Instant,
}

impl Held {
    async fn next(&mut self) -> Option<Result<RecordBatch, QueryError>> {
        loop {
            if Instant::now() >= self.due {
                if !self.lease.holds() {
                    return Some(Err(self.lease.ended().await));
                }
                self.due = Instant::now() + ASKED_EVERY;
            }
            if let Ok(next) = timeout_at(self.due, self.rows.next()).await {
                return next;
            }
        }
    }
}
