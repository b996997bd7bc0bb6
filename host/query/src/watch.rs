//! Ends queries from within: long loops of DataFusion neither yield nor ask whether anybody still waits.
//!
//! **Invariant**: every join of a session gives its thread back between batches of output, and asks before each batch of pairs that
//! it tries whether the query is over; planning asks between any two rules.
//!
//! Read in DataFusion 55: `NestedLoopJoinStream::poll_next` goes through all rows of its left side for one batch of the right without
//! leaving its loop when nothing matches; so does `HashJoinStream::poll_next` through all rows of one key when its filter, or a semi
//! join, gives nothing out. `EnsureCooperative` wraps leaves and exchanges only.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::config::ConfigOptions;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::{ColumnarValue, LogicalPlan};
use datafusion::optimizer::analyzer::{Analyzer, AnalyzerRule, function_rewrite::ApplyFunctionRewrites};
use datafusion::optimizer::optimizer::{Optimizer, OptimizerConfig, OptimizerRule};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::lit;
use datafusion::physical_optimizer::{PhysicalOptimizerRule, optimizer::PhysicalOptimizer};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec, utils::JoinFilter};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::{
    account::AccountedBuffers,
    aside::{AsideExec, MAX_ASIDE},
    error::QueryError,
    functions::CheckedArithmetic,
    late::LateDecoding,
    oversight::Oversight,
    steps::DistinctSteps,
};

/// Whether a query may go on.
#[derive(Debug)]
pub(crate) struct Watch {
    ends: Instant,
    deadline: Duration,
    left: AtomicBool,
    held: Mutex<Vec<Arc<MemoryReservation>>>,
}

impl Watch {
    pub(crate) fn until(ends: Instant, deadline: Duration) -> Arc<Self> {
        Arc::new(Self { ends, deadline, left: AtomicBool::new(false), held: Mutex::default() })
    }

    /// Holds a reservation until the query and its answer are gone.
    pub(crate) fn hold(&self, reservation: Arc<MemoryReservation>) {
        self.held.lock().push(reservation);
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    pub(crate) fn check(&self) -> Result<(), QueryError> {
        if self.left.load(Ordering::Relaxed) || Instant::now() >= self.ends {
            return Err(QueryError::Timeout { deadline: self.deadline });
        }
        Ok(())
    }
}

/// DataFusion's analyzer rules, with a way out between them.
pub(crate) fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules = Analyzer::new().rules;
    rules.push(Arc::new(ApplyFunctionRewrites::new(vec![Arc::new(CheckedArithmetic)])));
    rules.into_iter().flat_map(|rule| [Arc::new(WayOut) as Arc<dyn AnalyzerRule + Send + Sync>, rule]).collect()
}

/// DataFusion's optimizer rules, with a way out between them, and equal steps kept apart where one would be lost.
pub(crate) fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = Vec::new();
    for rule in Optimizer::new().rules {
        rules.push(Arc::new(WayOut));
        if rule.name() == "optimize_projections" {
            rules.push(Arc::new(DistinctSteps));
        }
        rules.push(rule);
    }
    rules
}

/// DataFusion's physical rules, with a way out between them, buffers that are accounted for, and joins that yield. What wraps nodes
/// comes before the last filter push-down: later it would cut the dynamic filters that joins and sorts have handed to their scans.
pub(crate) fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let last_push_down = rules.iter().rposition(|rule| rule.name().starts_with("FilterPushdown")).unwrap_or(rules.len());
    rules.insert(last_push_down, Arc::new(WatchedJoins { places: Arc::new(Semaphore::new(MAX_ASIDE)) }));
    rules.insert(last_push_down, Arc::new(AccountedBuffers));
    rules.push(Arc::new(LateDecoding));
    rules.into_iter().flat_map(|rule| [Arc::new(WayOut) as Arc<dyn PhysicalOptimizerRule + Send + Sync>, rule]).collect()
}

/// A rule that changes nothing and fails once the query is over.
#[derive(Debug)]
struct WayOut;

impl WayOut {
    const NAME: &str = "WayOut";

    fn check(options: &ConfigOptions) -> Result<()> {
        Ok(Oversight::of(options).map_or(Ok(()), Oversight::check)?)
    }
}

impl AnalyzerRule for WayOut {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn analyze(&self, plan: LogicalPlan, options: &ConfigOptions) -> Result<LogicalPlan> {
        Self::check(options).map(|()| plan)
    }
}

impl OptimizerRule for WayOut {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        Self::check(&config.options()).map(|()| Transformed::no(plan))
    }
}

impl PhysicalOptimizerRule for WayOut {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, options: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        Self::check(options).map(|()| plan)
    }
}

/// Wraps joins so that they give their thread back between batches of output, and puts the watch into what they evaluate.
#[derive(Debug)]
struct WatchedJoins {
    /// For joins that go on for long; those of all sessions together.
    places: Arc<Semaphore>,
}

impl PhysicalOptimizerRule for WatchedJoins {
    fn name(&self) -> &'static str {
        "WatchedJoins"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, options: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let watch = Oversight::of(options).map(Oversight::watch);
        plan.transform_up(|node| {
            let joins = node.is::<NestedLoopJoinExec>()
                || node.is::<CrossJoinExec>()
                || node.is::<HashJoinExec>()
                || node.is::<SortMergeJoinExec>();
            if !joins {
                return Ok(Transformed::no(node));
            }
            let watched = match watch {
                Some(watch) => watch.within(&node)?,
                None => None,
            };
            Ok(Transformed::yes(match watched {
                Some(join) => Arc::new(AsideExec::new(Arc::new(CooperativeExec::new(join)), Arc::clone(&self.places))),
                None => Arc::new(CooperativeExec::new(node)),
            }))
        })
        .map(|done| done.data)
    }
}

impl Watch {
    /// The join with the watch in its filter, as all three kinds evaluate it for each batch of pairs; none where it needs none.
    fn within(self: &Arc<Self>, node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let watched: Arc<dyn ExecutionPlan> = if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
            let Some(filter) = self.filter_of(join.filter(), *join.join_type()) else { return Ok(None) };
            let projection = join.projection().as_ref().map(|places| places.to_vec());
            let (left, right) = (Arc::clone(join.left()), Arc::clone(join.right()));
            Arc::new(NestedLoopJoinExec::try_new(left, right, Some(filter), join.join_type(), projection)?)
        } else if let Some(join) = node.downcast_ref::<SortMergeJoinExec>() {
            let Some(filter) = join.filter() else { return Ok(None) };
            Arc::new(SortMergeJoinExec::try_new(
                Arc::clone(join.left()),
                Arc::clone(join.right()),
                join.on().to_vec(),
                Some(self.over(filter)),
                join.join_type(),
                join.sort_options().to_vec(),
                join.null_equality(),
            )?)
        } else if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            let Some(filter) = self.filter_of(join.filter(), *join.join_type()) else { return Ok(None) };
            join.builder().with_filter(Some(filter)).build_exec()?
        } else {
            return Ok(None);
        };
        Ok(Some(watched))
    }

    /// The filter with the watch in it; none for joins without a filter that give out each pair that they find.
    fn filter_of(self: &Arc<Self>, filter: Option<&JoinFilter>, join: JoinType) -> Option<JoinFilter> {
        match filter {
            Some(filter) => Some(self.over(filter)),
            None => gives_out_one_side(join).then(|| self.over(&anything())),
        }
    }

    fn over(self: &Arc<Self>, filter: &JoinFilter) -> JoinFilter {
        let watched = Arc::new(Watched { watch: Arc::clone(self), inner: Arc::clone(filter.expression()) });
        JoinFilter::new(watched, filter.column_indices().to_vec(), Arc::clone(filter.schema()))
    }
}

fn gives_out_one_side(join: JoinType) -> bool {
    matches!(
        join,
        JoinType::LeftSemi
            | JoinType::RightSemi
            | JoinType::LeftAnti
            | JoinType::RightAnti
            | JoinType::LeftMark
            | JoinType::RightMark
    )
}

/// A filter that every pair passes.
fn anything() -> JoinFilter {
    JoinFilter::new(lit(true), Vec::new(), Arc::new(Schema::empty()))
}

/// An expression that fails once the query is over.
#[derive(Debug)]
struct Watched {
    watch: Arc<Watch>,
    inner: Arc<dyn PhysicalExpr>,
}

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for Watched {}

impl Hash for Watched {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for Watched {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.inner.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.inner.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.watch.check()?;
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let inner = children.into_iter().next().unwrap_or_else(|| Arc::clone(&self.inner));
        Ok(Arc::new(Self { watch: Arc::clone(&self.watch), inner }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use chrono::{DateTime, Utc};

    use super::Watch;
    use crate::{error::QueryError, harness::template, names::NoNames, oversight::Oversight};

    #[tokio::test]
    async fn planning_ends_between_two_rules() {
        let watch = Watch::until(Instant::now() + Duration::from_secs(60), Duration::from_secs(60));
        let now = DateTime::<Utc>::from_timestamp(0, 0).unwrap();
        let session = template().session(Arc::new(NoNames), now, Oversight::of_query(Arc::clone(&watch), template().memory()));
        let plan = session.create_logical_plan("SELECT 1 + 1").await.unwrap();
        let optimized = session.optimize(&plan).unwrap();
        let planner = session.query_planner();
        assert!(planner.create_physical_plan(&optimized, &session).await.is_ok());
        watch.leave();
        let logical = session.optimize(&plan).unwrap_err();
        let physical = planner.create_physical_plan(&optimized, &session).await.unwrap_err();
        for error in [logical, physical] {
            assert!(matches!(QueryError::planning(&error), QueryError::Timeout { .. }), "{error:?}");
        }
    }
}
