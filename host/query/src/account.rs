//! Memory that DataFusion does not count: what windows keep, what unnesting and joins multiply, what components allocate.
//!
//! **Invariant**: it is taken from the pool that all queries share before it is used, and given back when the query ends; a query
//! that gets no more ends with the memory problem.
//!
//! Read in DataFusion 55: `WindowAggStream` keeps all rows until the last, `BoundedWindowAggStream` those of a partition where a
//! frame reaches back without end, `UnnestStream` builds at least one whole row of input at a time, joins copy a row into each of
//! the rows of a batch. None of them reserves anything.

mod repeated;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::window::{StandardWindowExpr, WindowExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::unnest::{ListUnnest, UnnestExec};
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, InputOrderMode, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::{Stream, StreamExt};
use lakehouse_plugins::MemoryMeter;

use crate::{functions::array_bytes, oversight::Oversight};

/// Bytes that unnesting may make of several rows of input at once; beyond it they are taken apart, down to single rows.
const UNNEST_BYTES: u64 = 32 * 1024 * 1024;
/// Rows before or after the current one that a frame may reach without being counted.
const NEAR_ROWS: u64 = 100_000;
/// What a window holds for each row and expression while it computes: one value.
const VALUE_BYTES: u64 = size_of::<ScalarValue>() as u64;

/// A reservation of nothing yet.
fn reservation(name: &str, pool: &Arc<dyn MemoryPool>) -> MemoryReservation {
    MemoryConsumer::new(name).register(pool)
}

fn bytes_of(batch: &RecordBatch) -> u64 {
    batch.columns().iter().map(array_bytes).fold(0, u64::saturating_add)
}

fn take(reservation: &MemoryReservation, bytes: u64) -> Result<()> {
    reservation.try_grow(usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// What the components of one query allocate.
pub(crate) struct ComponentMemory(MemoryReservation);

impl ComponentMemory {
    pub(crate) fn of(pool: &Arc<dyn MemoryPool>) -> Arc<Self> {
        Arc::new(Self(reservation("components", pool)))
    }
}

impl MemoryMeter for ComponentMemory {
    fn try_grow(&self, bytes: usize) -> bool {
        self.0.try_grow(bytes).is_ok()
    }

    fn shrink(&self, bytes: usize) {
        self.0.shrink(bytes);
    }
}

/// Puts an [`AccountedExec`] below what buffers without counting.
#[derive(Debug)]
pub(crate) struct AccountedBuffers;

impl PhysicalOptimizerRule for AccountedBuffers {
    fn name(&self) -> &'static str {
        "AccountedBuffers"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _options: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let inputs: Vec<_> = node.children().into_iter().map(|input| (Arc::clone(input), Buffer::of(&node, input))).collect();
            if inputs.iter().all(|(_, buffer)| buffer.is_none()) {
                return Ok(Transformed::no(node));
            }
            let inputs = inputs.into_iter().map(|(input, buffer)| match buffer {
                Some(buffer) => Arc::new(AccountedExec::new(input, buffer)) as Arc<dyn ExecutionPlan>,
                None => input,
            });
            let kept = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
            node.replace_children(inputs.collect(), kept).map(Transformed::yes)
        })
        .map(|done| done.data)
    }
}

/// How the node above buffers.
#[derive(Debug, Clone)]
enum Buffer {
    /// It keeps the rows, until the keys change if there are any.
    Rows { expressions: u64, keys: Vec<Arc<dyn PhysicalExpr>> },
    /// It repeats each row for the elements of its lists.
    Lists(Arc<[ListUnnest]>),
    /// It may repeat a row for all rows of a batch.
    Pairs,
}

impl Buffer {
    /// Of one of the inputs of a node.
    fn of(node: &Arc<dyn ExecutionPlan>, input: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        if let Some(window) = node.downcast_ref::<WindowAggExec>() {
            return Some(Self::Rows { expressions: window.window_expr().len() as u64, keys: Vec::new() });
        }
        if let Some(window) = node.downcast_ref::<BoundedWindowAggExec>() {
            let expressions = window.window_expr();
            if !expressions.iter().any(|expr| keeps_rows(expr.as_ref())) {
                return None;
            }
            let keys = match window.input_order_mode {
                InputOrderMode::Sorted => expressions.first().map(|expr| expr.partition_by().to_vec()).unwrap_or_default(),
                InputOrderMode::Linear | InputOrderMode::PartiallySorted(_) => Vec::new(),
            };
            return Some(Self::Rows { expressions: expressions.len() as u64, keys });
        }
        if is_join(node.as_ref()) {
            let read_twice = node.downcast_ref::<NestedLoopJoinExec>().is_some_and(|join| Arc::ptr_eq(join.left(), input));
            return (read_twice || repeated::copies(&input.schema())).then_some(Self::Pairs);
        }
        let unnest = node.downcast_ref::<UnnestExec>()?;
        (!unnest.list_column_indices().is_empty()).then(|| Self::Lists(unnest.list_column_indices().into()))
    }
}

fn is_join(node: &dyn ExecutionPlan) -> bool {
    node.is::<HashJoinExec>() || node.is::<CrossJoinExec>() || node.is::<NestedLoopJoinExec>() || node.is::<SortMergeJoinExec>()
}

/// Whether an expression needs more than rows near the current one. Ranks and row numbers do not look at their frame.
fn keeps_rows(expr: &dyn WindowExpr) -> bool {
    let counts = expr.as_any().is::<StandardWindowExpr>()
        && !["first_value", "last_value", "nth_value"].iter().any(|name| expr.name().starts_with(name))
        && !expr.expressions().iter().any(looks_far);
    !counts && !is_near(expr.get_window_frame())
}

/// The offset of LAG and LEAD.
fn looks_far(argument: &Arc<dyn PhysicalExpr>) -> bool {
    let literal = argument.downcast_ref::<Literal>().map(Literal::value);
    matches!(literal, Some(ScalarValue::Int64(Some(rows))) if rows.unsigned_abs() > NEAR_ROWS)
}

fn is_near(frame: &WindowFrame) -> bool {
    let near = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::CurrentRow => true,
        WindowFrameBound::Preceding(rows) | WindowFrameBound::Following(rows) => {
            matches!(rows, ScalarValue::UInt64(Some(rows)) if *rows <= NEAR_ROWS)
        }
    };
    frame.units == WindowFrameUnits::Rows && near(&frame.start_bound) && near(&frame.end_bound)
}

/// Gives out its input, and reserves what the node above makes of it. What has a single partition may be read again: a nested loop
/// join that has no memory for its left side executes it a second time, to spill it, and most nodes cannot be.
struct AccountedExec {
    input: Arc<dyn ExecutionPlan>,
    buffer: Buffer,
    read: AtomicBool,
}

impl AccountedExec {
    fn new(input: Arc<dyn ExecutionPlan>, buffer: Buffer) -> Self {
        Self { input, buffer, read: AtomicBool::new(false) }
    }

    /// The input as if never executed.
    fn unread(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let single = self.input.output_partitioning().partition_count() == 1;
        if single && self.read.swap(true, Ordering::AcqRel) {
            return reset_plan_states(Arc::clone(&self.input));
        }
        Ok(Arc::clone(&self.input))
    }
}

impl fmt::Debug for AccountedExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountedExec").field("buffer", &self.buffer).finish_non_exhaustive()
    }
}

impl DisplayAs for AccountedExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountedExec")
    }
}

impl ExecutionPlan for AccountedExec {
    fn name(&self) -> &'static str {
        "AccountedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next().unwrap_or_else(|| Arc::clone(&self.input));
        Ok(Arc::new(Self::new(input, self.buffer.clone())))
    }

    fn gather_filters_for_pushdown(
        &self,
        _phase: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(parent_filters, &self.children())
    }

    fn handle_child_pushdown_result(
        &self,
        _phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(result))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.unread()?.execute(partition, Arc::clone(&context))?;
        let schema = input.schema();
        // A window drops its input before it computes: what is reserved is held until the query ends.
        let held = |name| {
            let reservation = Arc::new(reservation(name, context.memory_pool()));
            if let Some(oversight) = Oversight::of(context.session_config().options()) {
                oversight.watch().hold(Arc::clone(&reservation));
            }
            reservation
        };
        Ok(match &self.buffer {
            Buffer::Rows { expressions, keys } => {
                let rows = rows(input, held("window"), *expressions, keys.clone());
                Box::pin(RecordBatchStreamAdapter::new(schema, Box::pin(rows)))
            }
            Buffer::Pairs => {
                let rows = repeated::repeatable(input, held("join"), context.session_config().batch_size());
                Box::pin(RecordBatchStreamAdapter::new(schema, Box::pin(rows)))
            }
            Buffer::Lists(lists) => {
                let rows = unnestable(input, held("unnest"), Arc::clone(lists));
                Box::pin(RecordBatchStreamAdapter::new(schema, Box::pin(rows)))
            }
        })
    }
}

/// The input, with two copies of each row reserved, which is what a window has while it puts its batches together.
fn rows(
    mut input: SendableRecordBatchStream,
    held: Arc<MemoryReservation>,
    expressions: u64,
    keys: Vec<Arc<dyn PhysicalExpr>>,
) -> impl Stream<Item = Result<RecordBatch>> + Send {
    async_stream::try_stream! {
        let mut last = Vec::new();
        while let Some(batch) = input.next().await {
            let batch = batch?;
            if batch.num_rows() == 0 {
                continue;
            }
            if !keys.is_empty() {
                let (first, now) = (key(&keys, &batch, 0)?, key(&keys, &batch, batch.num_rows() - 1)?);
                // The partitions of the batches before this one have ended, or will with it.
                if first != last || first != now {
                    held.free();
                }
                last = now;
            }
            let values = (batch.num_rows() as u64).saturating_mul(expressions).saturating_mul(VALUE_BYTES);
            take(&held, bytes_of(&batch).saturating_mul(2).saturating_add(values))?;
            yield batch;
        }
    }
}

fn key(keys: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch, row: usize) -> Result<Vec<ScalarValue>> {
    let row = batch.slice(row, 1);
    keys.iter().map(|key| ScalarValue::try_from_array(&key.evaluate(&row)?.into_array(1)?, 0)).collect()
}

/// The input in pieces whose unnested size is reserved while the piece is worked on.
fn unnestable(
    mut input: SendableRecordBatchStream,
    held: Arc<MemoryReservation>,
    lists: Arc<[ListUnnest]>,
) -> impl Stream<Item = Result<RecordBatch>> + Send {
    async_stream::try_stream! {
        while let Some(batch) = input.next().await {
            let batch = batch?;
            let mut waiting = vec![batch];
            while let Some(piece) = waiting.pop() {
                let bytes = unnested_bytes(&piece, &lists);
                if bytes > UNNEST_BYTES && piece.num_rows() > 1 {
                    let half = piece.num_rows() / 2;
                    waiting.extend([piece.slice(half, piece.num_rows() - half), piece.slice(0, half)]);
                    continue;
                }
                held.try_resize(usize::try_from(bytes).unwrap_or(usize::MAX))?;
                yield piece;
            }
        }
    }
}

/// An upper bound of what unnesting makes of a batch: every other column once for each element of the longest lists, level by level.
fn unnested_bytes(batch: &RecordBatch, lists: &[ListUnnest]) -> u64 {
    /// Of an element that is missing because another list is longer.
    const MISSING_BYTES: u64 = 17;
    let deepest = lists.iter().map(|list| list.depth).max().unwrap_or(0);
    let longest_at = |level: usize| {
        let at_level = lists.iter().filter(|list| list.depth >= level);
        at_level.map(|list| longest(batch.column(list.index_in_input_schema), list.depth - level)).max().unwrap_or(1).max(1)
    };
    // The outermost lists are taken apart at their depth, from the deepest on; until then a column is repeated.
    let copies_above = |depth: usize| (depth + 1..=deepest).map(longest_at).fold(1u64, u64::saturating_mul);
    let columns = batch.columns().iter().enumerate().map(|(at, column)| {
        let depth = lists.iter().filter(|list| list.index_in_input_schema == at).map(|list| list.depth).min().unwrap_or(0);
        array_bytes(column).saturating_mul(copies_above(depth))
    });
    let missing = (batch.num_rows() as u64).saturating_mul(MISSING_BYTES * lists.len() as u64).saturating_mul(copies_above(0));
    columns.fold(missing, u64::saturating_add)
}

/// The longest of the lists that are `within` so many others.
fn longest(array: &ArrayRef, within: usize) -> u64 {
    let (values, longest) = match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            (list.values(), list.offsets().lengths().max().unwrap_or(0))
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            (list.values(), list.offsets().lengths().max().unwrap_or(0))
        }
        DataType::FixedSizeList(_, length) => {
            let list = array.as_fixed_size_list();
            (list.values(), usize::try_from(*length).unwrap_or(0))
        }
        // Of other kinds of list the length is not known; all of its elements are no fewer.
        _ => return array_bytes(array),
    };
    if within == 0 { longest as u64 } else { self::longest(values, within - 1) }
}
