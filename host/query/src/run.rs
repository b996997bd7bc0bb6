//! One query at work: it is planned and executed on the CPU runtime, and its batches cross to the caller over a short channel.
//!
//! **Invariant**: the caller hears of the deadline at the deadline, whatever the query's thread is doing; when the caller drops the
//! answer, the task is aborted, joins are told to stop, and the query's place is free again once its last poll returns.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout_at;
use tracing::Instrument;

use crate::{engine::Place, error::QueryError, watch::Watch};

/// Batches that may wait for the caller.
const CHANNEL_BATCHES: usize = 2;

/// Rows on their way.
pub struct Answer {
    /// Names and types of the columns; names may repeat.
    pub schema: SchemaRef,
    /// The rows. After an `Err` there is nothing more. Dropping it ends the query.
    pub batches: BoxStream<'static, Result<RecordBatch, QueryError>>,
    /// How it went; complete once `batches` has ended.
    pub outcome: Arc<Outcome>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("schema", &self.schema).field("outcome", &self.outcome).finish_non_exhaustive()
    }
}

/// What became of an answer.
#[derive(Debug, Default)]
pub struct Outcome {
    rows: AtomicU64,
    truncated: AtomicBool,
    /// The row that the next page begins after.
    next: Option<u64>,
    /// Whether it was kept from before.
    kept: bool,
}

impl Outcome {
    /// Rows given out so far.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Acquire)
    }

    /// Of a page that was there already.
    pub(crate) fn of_page(rows: u64, truncated: bool, next: Option<u64>) -> Self {
        Self { rows: rows.into(), truncated: truncated.into(), next, kept: false }
    }

    /// Of a small answer that was there already.
    pub(crate) fn of_kept(rows: u64, truncated: bool) -> Self {
        Self { rows: rows.into(), truncated: truncated.into(), next: None, kept: true }
    }

    /// Whether the answer was kept from an equal question: its rows are few, and all here.
    pub fn from_cache(&self) -> bool {
        self.kept
    }

    /// Rows that come before the next page, when the answer is a page and not the last one.
    pub fn next(&self) -> Option<u64> {
        self.next
    }

    /// Whether rows were left out at the row limit.
    pub fn truncated(&self) -> bool {
        self.truncated.load(Ordering::Acquire)
    }
}

/// What bounds one query.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) ends: Instant,
    pub(crate) deadline: Duration,
    pub(crate) max_rows: u64,
    pub(crate) place: Place,
    pub(crate) watch: Arc<Watch>,
}

enum Message {
    Batch(RecordBatch),
    Failed(QueryError),
    End,
}

/// Ends the task when the answer is dropped.
struct Leave {
    task: AbortHandle,
    watch: Arc<Watch>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.watch.leave();
        self.task.abort();
    }
}

/// Runs `plan` and what it yields. The first batch is awaited, so that what fails at once fails before an answer begins.
pub(crate) async fn start(
    cpu: &Handle,
    bounds: Bounds,
    plan: impl Future<Output = Result<SendableRecordBatchStream, QueryError>> + Send + 'static,
) -> Result<Answer, QueryError> {
    let Bounds { ends, deadline, max_rows, place, watch } = bounds;
    let ends = tokio::time::Instant::from_std(ends);
    let late = move || QueryError::Timeout { deadline };
    let gone = move || if tokio::time::Instant::now() >= ends { late() } else { died() };
    let outcome = Arc::new(Outcome::default());
    let (planned, plan_ready) = oneshot::channel();
    let (rows, mut arriving) = mpsc::channel(CHANNEL_BATCHES);
    let span = tracing::info_span!("query.run", rows = tracing::field::Empty);
    let task = cpu.spawn({
        let outcome = Arc::clone(&outcome);
        let work = async move {
            let _place = place;
            let work = async {
                match plan.instrument(tracing::info_span!("query.plan")).await {
                    Err(error) => drop(planned.send(Err(error))),
                    Ok(stream) => {
                        if planned.send(Ok(stream.schema())).is_ok() {
                            pump(stream, rows, max_rows, &outcome).await;
                        }
                    }
                }
            };
            // A caller who holds the answer and does not read it would else keep the place.
            let _ = timeout_at(ends, work).await;
            tracing::Span::current().record("rows", outcome.rows());
        };
        work.instrument(span)
    });
    let leave = Leave { task: task.abort_handle(), watch };

    let schema = match timeout_at(ends, plan_ready).await {
        Err(_) => return Err(late()),
        Ok(Err(_)) => return Err(gone()),
        Ok(Ok(planned)) => planned?,
    };
    let first = match timeout_at(ends, arriving.recv()).await {
        Err(_) => return Err(late()),
        Ok(None) => return Err(gone()),
        Ok(Some(Message::Failed(error))) => return Err(error),
        Ok(Some(message)) => message,
    };
    let state = (Some(first), arriving, leave, false);
    let batches = stream::unfold(state, move |(first, mut arriving, leave, ended)| async move {
        if ended {
            return None;
        }
        let message = match first {
            Some(message) => Ok(Some(message)),
            None => timeout_at(ends, arriving.recv()).await,
        };
        let (item, ended) = match message {
            Ok(Some(Message::Batch(batch))) => (Ok(batch), false),
            Ok(Some(Message::End)) => return None,
            Ok(Some(Message::Failed(error))) => (Err(error), true),
            Ok(None) => (Err(gone()), true),
            Err(_) => (Err(late()), true),
        };
        Some((item, (None, arriving, leave, ended)))
    });
    Ok(Answer { schema, batches: batches.fuse().boxed(), outcome })
}

/// The task ended without a word: it panicked, which the log has told.
fn died() -> QueryError {
    QueryError::Internal { detail: "the query's task ended early".into() }
}

async fn pump(mut stream: SendableRecordBatchStream, rows: mpsc::Sender<Message>, max_rows: u64, outcome: &Outcome) {
    let mut left = max_rows;
    while let Some(batch) = stream.next().await {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                let _ = rows.send(Message::Failed(QueryError::execution(&error))).await;
                return;
            }
        };
        let count = batch.num_rows() as u64;
        if count == 0 {
            continue;
        }
        let (batch, cut) = match usize::try_from(left) {
            Ok(fits) if count > left => (batch.slice(0, fits), true),
            _ => (batch, false),
        };
        let count = batch.num_rows() as u64;
        left -= count;
        outcome.rows.fetch_add(count, Ordering::AcqRel);
        if cut {
            outcome.truncated.store(true, Ordering::Release);
        }
        if count > 0 && rows.send(Message::Batch(batch)).await.is_err() {
            return;
        }
        if cut {
            break;
        }
    }
    drop(stream);
    let _ = rows.send(Message::End).await;
}

#[cfg(test)]
mod tests;
