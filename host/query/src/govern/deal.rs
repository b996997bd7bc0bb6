//! The rows of a governed relation in the order of storage, dealt out in batches of equal size.
//!
//! **Invariant**: what a batch holds depends on nothing but the rows that are to be seen: the n-th batch has the n-th so many of them, however
//! many hidden rows lie between, and into whatever pieces the storage is cut. Which partition gets a batch is left to chance. A piece is read
//! ahead of its turn within [`AHEAD_BYTES`], counted in the memory of the query; when one fails, everybody hears of it.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::Buffer;
use arrow::datatypes::DataType;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{stream::Rules, visible::Visible};
use crate::{error::QueryError, functions::array_bytes};

/// What one reader may have read that nobody has asked for yet. Also what it may have of it in pieces after the one whose turn it is.
const AHEAD_BYTES: usize = 16 << 20;
/// Readers for each partition that is given out: while one opens a file, another reads.
const READERS_PER_PARTITION: usize = 2;
/// What a permit to read ahead stands for.
const PERMIT_BYTES: usize = 1 << 10;

/// Rows that are to be seen, in raw columns of the output.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) rows: Visible,
    held: Arc<Held>,
}

/// The memory of a batch that was read ahead.
#[derive(Debug)]
struct Held {
    _permit: Option<OwnedSemaphorePermit>,
    _memory: MemoryReservation,
}

impl Segment {
    /// The first `rows` of more, and the others.
    fn split(self, rows: usize) -> (Self, Self) {
        let (first, others) = self.rows.split(rows);
        (Self { rows: first, held: Arc::clone(&self.held) }, Self { rows: others, held: self.held })
    }
}

/// What a reader says of its piece. A piece that ends without [`Said::End`] was not read to its end.
enum Said {
    Rows(Segment),
    Failed(QueryError),
    End,
}

/// A piece that waits for a reader.
struct Piece {
    partition: usize,
    says: mpsc::UnboundedSender<Said>,
}

/// The readers, and the order of what they read.
pub(super) struct Dealer {
    turn: tokio::sync::Mutex<Turn>,
    _readers: Vec<SpawnedTask<()>>,
}

struct Turn {
    /// In the order of storage; the first is the one that is dealt.
    pieces: VecDeque<mpsc::UnboundedReceiver<Said>>,
    /// What was taken for the next batch.
    taken: Vec<Segment>,
    taken_rows: usize,
    failed: Option<QueryError>,
}

impl Dealer {
    /// Sets readers to work on the partitions of `inner`, in their order, for so many partitions that are given out.
    pub(super) fn start(
        rules: &Arc<Rules>,
        inner: &Arc<dyn ExecutionPlan>,
        context: &Arc<TaskContext>,
        partitions: usize,
    ) -> Arc<Self> {
        let count = inner.output_partitioning().partition_count();
        let (says, pieces): (Vec<_>, VecDeque<_>) = (0..count).map(|_| mpsc::unbounded_channel()).unzip();
        let waiting: VecDeque<Piece> = says.into_iter().enumerate().map(|(partition, says)| Piece { partition, says }).collect();
        let waiting = Arc::new(Mutex::new(waiting));
        let readers = (0..count.min(partitions * READERS_PER_PARTITION)).map(|_| {
            let reader = Reader {
                rules: Arc::clone(rules),
                inner: Arc::clone(inner),
                context: Arc::clone(context),
                ahead: Arc::new(Semaphore::new(AHEAD_BYTES / PERMIT_BYTES)),
            };
            SpawnedTask::spawn(reader.work(Arc::clone(&waiting)))
        });
        let turn = Turn { pieces, taken: Vec::new(), taken_rows: 0, failed: None };
        Arc::new(Self { turn: tokio::sync::Mutex::new(turn), _readers: readers.collect() })
    }

    /// The next `rows` rows that are to be seen; fewer at the end, and then none. What was taken stays if the caller leaves meanwhile.
    pub(super) async fn next(&self, rows: usize) -> Result<Vec<Segment>, QueryError> {
        self.turn.lock().await.next(rows).await
    }
}

impl Turn {
    async fn next(&mut self, rows: usize) -> Result<Vec<Segment>, QueryError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        while self.taken_rows < rows
            && let Some(piece) = self.pieces.front_mut()
        {
            match piece.recv().await {
                Some(Said::Rows(segment)) => {
                    self.taken_rows += segment.rows.rows();
                    self.taken.push(segment);
                }
                Some(Said::End) => drop(self.pieces.pop_front()),
                said => {
                    let error = match said {
                        Some(Said::Failed(error)) => error,
                        _ => QueryError::Internal { detail: "a part of a relation was not read to its end".into() },
                    };
                    self.pieces.clear();
                    self.failed = Some(error.clone());
                    return Err(error);
                }
            }
        }
        let over = self.taken_rows.saturating_sub(rows);
        self.taken_rows = over;
        let mut rest = Vec::new();
        if over > 0
            && let Some(last) = self.taken.pop()
        {
            let (fits, left) = {
                let fit = last.rows.rows() - over;
                last.split(fit)
            };
            self.taken.push(fits);
            rest.push(left);
        }
        Ok(std::mem::replace(&mut self.taken, rest))
    }
}

/// Reads one piece after the other, each to its end.
struct Reader {
    rules: Arc<Rules>,
    inner: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    /// What this reader may have read ahead. All that it has ahead is of pieces up to the one that it reads, so that the reader of the piece
    /// whose turn it is never waits for anything but to be read.
    ahead: Arc<Semaphore>,
}

impl Reader {
    async fn work(self, waiting: Arc<Mutex<VecDeque<Piece>>>) {
        loop {
            let Some(Piece { partition, says }) = waiting.lock().pop_front() else { return };
            let last = match self.read(partition, &says).await {
                Ok(()) => Said::End,
                Err(error) => Said::Failed(error),
            };
            if says.send(last).is_err() {
                return;
            }
        }
    }

    async fn read(&self, partition: usize, says: &mpsc::UnboundedSender<Said>) -> Result<(), QueryError> {
        // What failed below may quote a row.
        let failed = |error| QueryError::execution(&error);
        let mut input = make_cooperative(self.inner.execute(partition, Arc::clone(&self.context)).map_err(failed)?);
        while let Some(batch) = input.next().await {
            let rows = self.rules.visible(batch.map_err(failed)?).map_err(failed)?;
            if rows.rows() == 0 {
                continue;
            }
            let held = Arc::new(self.hold(&rows).await?);
            if says.send(Said::Rows(Segment { rows, held })).is_err() {
                // Nobody wants them any more.
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits until there is room for rows.
    async fn hold(&self, rows: &Visible) -> Result<Held, QueryError> {
        let bytes = rows.columns().iter().map(bytes_ahead).fold(0, u64::saturating_add);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let permits = u32::try_from((bytes / PERMIT_BYTES + 1).min(AHEAD_BYTES / PERMIT_BYTES)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.ahead).acquire_many_owned(permits).await.ok();
        let memory = MemoryConsumer::new("governed rows").register(self.context.memory_pool());
        memory.try_grow(bytes).map_err(|_| QueryError::Memory)?;
        Ok(Held { _permit: permit, _memory: memory })
    }
}

/// Bytes of a column. Texts are looked at one by one only where their buffers could hold much: they are shared with other batches.
fn bytes_ahead(column: &ArrayRef) -> u64 {
    const SHORT: usize = 64;
    let shared = match column.data_type() {
        DataType::Utf8View => column.as_string_view().data_buffers().iter().map(Buffer::len).sum(),
        DataType::BinaryView => column.as_binary_view().data_buffers().iter().map(Buffer::len).sum(),
        _ => usize::MAX,
    };
    if shared <= SHORT * column.len() { (shared + 16 * column.len()) as u64 } else { array_bytes(column) }
}
