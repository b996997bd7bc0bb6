//! Small answers, given again as long as nothing that they were made of has changed.
//!
//! **Invariant**: an answer is given again to the key and profile that it was made for and to nobody else; each time, every relation that it
//! was made of is looked up anew under the grants of that moment, and must be governed as it was and in the very state that it was in.
//! What is kept is counted in the memory of all queries, and ends [`KEPT_FOR`] after it was last read, with the state that it was made of,
//! at an erasure, or when the server stops.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility, expr::WindowFunctionDefinition};
use futures::{StreamExt, stream};
use lakehouse_access::Caller;
use lakehouse_tables::DatasetState;
use lakehouse_types::{Digest, KeyId, ProfileId};
use lru::LruCache;
use parking_lot::Mutex;

use crate::{
    engine::Governance,
    pages::KEPT_FOR,
    params::Params,
    run::{Answer, Outcome},
};

/// Rows and bytes of an answer that is worth keeping: more are seldom asked for twice, and take longer to write than to find.
const MAX_ROWS: u64 = 1_000;
const MAX_BYTES: usize = 256 << 10;

/// What was asked, by whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    key: KeyId,
    profile: ProfileId,
    sql: String,
    /// As JSON.
    params: String,
    max_rows: u64,
}

impl Question {
    /// `None` of what is not worth keeping apart.
    pub(crate) fn new(caller: &Caller, sql: &str, params: &Params, max_rows: u64) -> Option<Self> {
        let params = match params {
            Params::Json(values) if values.is_empty() => String::new(),
            Params::Json(values) => serde_json::to_string(values).ok()?,
            Params::Row(_) => return None,
        };
        if sql.len() + params.len() > MAX_BYTES / 4 {
            return None;
        }
        let (key, profile) = (caller.principal.key_id.clone(), caller.profile.clone());
        Some(Self { key, profile, sql: sql.to_owned(), params, max_rows })
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.sql.len() + self.params.len()
    }
}

/// A relation as it was when it was read.
#[derive(Debug)]
struct Basis {
    name: String,
    digest: Digest,
    /// Keeps the state's address from being used again, and not the state.
    state: Weak<DatasetState>,
}

/// An answer, with what it was made of.
pub(crate) struct Kept {
    /// As it is shown, without literals.
    pub(crate) statement: Option<Arc<str>>,
    basis: Vec<Basis>,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    rows: u64,
    truncated: bool,
    bytes: usize,
    read: Mutex<Instant>,
    _memory: MemoryReservation,
}

impl Kept {
    /// Whether `now`, of each relation that it was made of, says what was said when it was made.
    pub(crate) fn holds(&self, now: impl Fn(&str) -> Option<Governance>) -> bool {
        self.basis.iter().all(|then| {
            now(&then.name).is_some_and(|now| now.digest == then.digest && then.state.as_ptr() == Arc::as_ptr(&now.state))
        })
    }

    pub(crate) fn answer(&self) -> Answer {
        *self.read.lock() = Instant::now();
        let batches: Vec<_> = self.batches.iter().cloned().map(Ok).collect();
        let outcome = Outcome::of_kept(self.rows, self.truncated);
        Answer { schema: Arc::clone(&self.schema), batches: stream::iter(batches).boxed(), outcome: Arc::new(outcome) }
    }

    /// Whether nobody has read it for long, or nobody can: a state that is gone does not come back.
    fn is_over(&self) -> bool {
        self.read.lock().elapsed() >= KEPT_FOR || self.basis.iter().any(|basis| basis.state.strong_count() == 0)
    }
}

/// How the cache does.
#[derive(Debug, Clone, Copy, Default)]
pub struct CacheCounts {
    /// Answers that were given again.
    pub hits: u64,
    /// Statements that were answered anew and could have been kept.
    pub misses: u64,
    pub entries: usize,
    pub bytes: usize,
}

/// The kept answers.
pub(crate) struct ResultCache {
    memory: Arc<dyn MemoryPool>,
    max_bytes: usize,
    kept: Mutex<Shelf>,
    hits: AtomicU64,
    misses: AtomicU64,
}

struct Shelf {
    entries: LruCache<Question, Arc<Kept>>,
    bytes: usize,
    /// How often all was let go of. An answer that was begun before the last time is not kept.
    cleared: u64,
}

impl Shelf {
    fn remove(&mut self, question: &Question) {
        if let Some(kept) = self.entries.pop(question) {
            self.bytes -= kept.bytes;
        }
    }
}

impl ResultCache {
    /// Keeps up to `max_bytes`; nothing, when that is 0.
    pub(crate) fn new(memory: Arc<dyn MemoryPool>, max_bytes: usize) -> Self {
        let kept = Mutex::new(Shelf { entries: LruCache::unbounded(), bytes: 0, cleared: 0 });
        Self { memory, max_bytes, kept, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// To be asked before anything is read for an answer that may be kept.
    pub(crate) fn cleared(&self) -> u64 {
        self.kept.lock().cleared
    }

    pub(crate) fn is_off(&self) -> bool {
        self.max_bytes == 0
    }

    /// What is kept for this question, if it still `holds`.
    pub(crate) fn get(&self, question: &Question, holds: impl FnOnce(&Kept) -> bool) -> Option<Arc<Kept>> {
        let found = self.kept.lock().entries.get(question).map(Arc::clone)?;
        if holds(&found) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Some(found);
        }
        self.kept.lock().remove(question);
        None
    }

    /// The same answer, which is kept when it has been read to its end and is small. `made_of` is what it was made of; `cleared` was said
    /// before it was read.
    pub(crate) fn watch(
        self: &Arc<Self>,
        question: Question,
        made_of: Vec<(String, Governance)>,
        statement: Option<Arc<str>>,
        cleared: u64,
        answer: Answer,
    ) -> Answer {
        self.misses.fetch_add(1, Ordering::Relaxed);
        let Answer { schema, batches, outcome } = answer;
        let basis = made_of.into_iter().map(|(name, governance)| Basis {
            name,
            digest: governance.digest,
            state: Arc::downgrade(&governance.state),
        });
        let gathering = Gathering {
            cache: Arc::clone(self),
            question,
            basis: basis.collect(),
            statement,
            cleared,
            schema: Arc::clone(&schema),
            outcome: Arc::clone(&outcome),
            batches: Vec::new(),
            bytes: 0,
            rows: 0,
        };
        let batches = stream::unfold((Some(gathering), batches), |(gathering, mut batches)| async move {
            let batch = batches.next().await;
            let gathering = match (gathering, &batch) {
                (Some(gathering), Some(Ok(batch))) => gathering.with(batch),
                (Some(gathering), None) => {
                    gathering.keep();
                    None
                }
                _ => None,
            };
            Some((batch?, (gathering, batches)))
        });
        Answer { schema, batches: batches.fuse().boxed(), outcome }
    }

    fn keep(&self, question: Question, kept: Kept, cleared: u64) {
        let mut shelf = self.kept.lock();
        if shelf.cleared != cleared {
            return;
        }
        shelf.remove(&question);
        shelf.bytes += kept.bytes;
        shelf.entries.put(question, Arc::new(kept));
        while shelf.bytes > self.max_bytes
            && let Some((_, oldest)) = shelf.entries.pop_lru()
        {
            shelf.bytes -= oldest.bytes;
        }
    }

    /// Lets go of all: what was erased must not be in them.
    pub(crate) fn forget_all(&self) {
        let mut shelf = self.kept.lock();
        shelf.entries.clear();
        shelf.bytes = 0;
        shelf.cleared += 1;
    }

    /// Lets go of what nobody has read for long, or nobody can read any more.
    pub(crate) fn forget_old(&self) {
        let mut shelf = self.kept.lock();
        let over: Vec<Question> =
            shelf.entries.iter().filter(|(_, kept)| kept.is_over()).map(|(question, _)| question.clone()).collect();
        for question in over {
            shelf.remove(&question);
        }
    }

    pub(crate) fn counts(&self) -> CacheCounts {
        let shelf = self.kept.lock();
        CacheCounts {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            entries: shelf.entries.len(),
            bytes: shelf.bytes,
        }
    }
}

/// The rows of an answer that may come to be kept.
struct Gathering {
    cache: Arc<ResultCache>,
    question: Question,
    basis: Vec<Basis>,
    statement: Option<Arc<str>>,
    cleared: u64,
    schema: SchemaRef,
    outcome: Arc<Outcome>,
    batches: Vec<RecordBatch>,
    bytes: usize,
    rows: u64,
}

impl Gathering {
    /// With some rows more; `None` when they are too many.
    fn with(mut self, batch: &RecordBatch) -> Option<Self> {
        self.rows += batch.num_rows() as u64;
        if self.rows > MAX_ROWS {
            return None;
        }
        let own = of_its_own(batch)?;
        self.bytes += own.get_array_memory_size();
        self.batches.push(own);
        (self.bytes <= MAX_BYTES).then_some(self)
    }

    fn keep(self) {
        let bytes = self.bytes + self.question.bytes() + size_of::<Kept>();
        let memory = MemoryConsumer::new("result cache").register(&self.cache.memory);
        // Queries need it more.
        if memory.try_grow(bytes).is_err() {
            return;
        }
        let kept = Kept {
            statement: self.statement,
            basis: self.basis,
            schema: self.schema,
            batches: self.batches,
            rows: self.rows,
            truncated: self.outcome.truncated(),
            bytes,
            read: Mutex::new(Instant::now()),
            _memory: memory,
        };
        self.cache.keep(self.question, kept, self.cleared);
    }
}

/// The rows in buffers of their own: a few rows of a large batch, or texts of a large page, would else keep all of it.
fn of_its_own(batch: &RecordBatch) -> Option<RecordBatch> {
    let all = UInt32Array::from_iter_values(0..u32::try_from(batch.num_rows()).ok()?);
    let own = |column: &ArrayRef| -> Option<ArrayRef> {
        let own = take(column, &all, None).ok()?;
        Some(match own.data_type() {
            DataType::Utf8View => Arc::new(own.as_string_view().gc()),
            DataType::BinaryView => Arc::new(own.as_binary_view().gc()),
            _ => own,
        })
    };
    let columns = batch.columns().iter().map(own).collect::<Option<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns, &options).ok()
}

/// Whether a statement answers the same as long as its relations stay the same: nothing in it looks at the time or at chance.
pub(crate) fn is_repeatable(plan: &LogicalPlan) -> bool {
    let mut repeatable = true;
    let seen = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                repeatable &= is_immutable(expr);
                Ok(if repeatable { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
            })
        })
    });
    seen.is_ok() && repeatable
}

fn is_immutable(expr: &Expr) -> bool {
    let volatility = match expr {
        Expr::ScalarFunction(call) => call.func.signature().volatility,
        Expr::AggregateFunction(call) => call.func.signature().volatility,
        Expr::WindowFunction(call) => match &call.fun {
            WindowFunctionDefinition::AggregateUDF(function) => function.signature().volatility,
            WindowFunctionDefinition::WindowUDF(function) => function.signature().volatility,
        },
        Expr::HigherOrderFunction(call) => call.func.signature().volatility,
        Expr::ScalarVariable(..) => Volatility::Volatile,
        _ => Volatility::Immutable,
    };
    volatility == Volatility::Immutable
}
