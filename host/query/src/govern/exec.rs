//! The physical node of a governed relation.
//!
//! **Invariant**: it shows no children, no expressions, no statistics, no ordering and no metrics of its inside; EXPLAIN tells its
//! name and the relation's. Each partition opens its own redactors and drops them with its stream. Nobody else can reach the inner
//! plan, so that what a recursive query asks of all nodes, to be as if never executed, this one does for its inside.

use std::{fmt, sync::Arc};

use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType, reset_plan_states};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
};

use super::{Hidden, RowRule, stream};

/// A column of the output: where it is read, what it is called, what redacts it.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) place: usize,
    pub(super) field: FieldRef,
    pub(super) rule: Option<Arc<dyn RowRule>>,
}

/// Tombstones, row filter and redactions over a plan of its own.
pub(crate) struct GovernExec {
    relation: String,
    inner: Arc<dyn ExecutionPlan>,
    rules: Arc<stream::Rules>,
    properties: Arc<PlanProperties>,
}

impl GovernExec {
    pub(super) fn new(
        relation: String,
        inner: Arc<dyn ExecutionPlan>,
        slots: Vec<Slot>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        hidden: Option<(usize, Arc<dyn Hidden>)>,
    ) -> Self {
        let schema = Arc::new(Schema::new(slots.iter().map(|slot| Arc::clone(&slot.field)).collect::<Vec<_>>()));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(inner.output_partitioning().partition_count()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        let rules = stream::Rules { relation: relation.clone(), schema, slots, filter, hidden };
        Self { relation, inner, rules: Arc::new(rules), properties: Arc::new(properties) }
    }
}

impl fmt::Debug for GovernExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GovernExec").field("relation", &self.relation).finish_non_exhaustive()
    }
}

impl DisplayAs for GovernExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GovernExec: relation={}", self.relation)
    }
}

impl ExecutionPlan for GovernExec {
    fn name(&self) -> &'static str {
        "GovernExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self {
            relation: self.relation.clone(),
            inner: reset_plan_states(Arc::clone(&self.inner))?,
            rules: Arc::clone(&self.rules),
            properties: Arc::clone(&self.properties),
        }))
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = context.session_config().batch_size();
        let input = make_cooperative(self.inner.execute(partition, context)?);
        let schema = Arc::clone(&self.rules.schema);
        let governed = stream::govern(Arc::clone(&self.rules), input, rows);
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(schema, Box::pin(governed)))))
    }
}
