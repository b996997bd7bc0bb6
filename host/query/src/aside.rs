//! Joins on threads of their own: one that matches nothing goes on for long without giving its thread back.
//!
//! **Invariant**: what may hold a thread holds none of those that all queries share, as long as [`MAX_ASIDE`] is not reached; beyond
//! it, a join runs where its query runs, and nobody waits for a place.

use std::{fmt, sync::Arc};

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// Partitions of joins that run aside at once, over all queries: the system shares the cores among them and the others.
pub(crate) const MAX_ASIDE: usize = 64;
/// Batches that wait for whoever reads them.
const AHEAD: usize = 2;

/// Runs each partition of its input on a thread of its own.
#[derive(Debug)]
pub(crate) struct AsideExec {
    input: Arc<dyn ExecutionPlan>,
    places: Arc<Semaphore>,
}

impl AsideExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, places: Arc<Semaphore>) -> Self {
        Self { input, places }
    }
}

impl DisplayAs for AsideExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsideExec")
    }
}

impl ExecutionPlan for AsideExec {
    fn name(&self) -> &'static str {
        "AsideExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self::new(input, Arc::clone(&self.places)))),
            Err(_) => internal_err!("AsideExec has one input"),
        }
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut batches = self.input.execute(partition, context)?;
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return Ok(batches) };
        let mut aside = RecordBatchReceiverStream::builder(batches.schema(), AHEAD);
        let (given, runtime) = (aside.tx(), Handle::current());
        aside.spawn_blocking(move || {
            let _place = place;
            runtime.block_on(async move {
                while let Some(batch) = batches.next().await {
                    if given.send(batch).await.is_err() {
                        break;
                    }
                }
            });
            Ok(())
        });
        Ok(aside.build())
    }
}
