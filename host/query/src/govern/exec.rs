//! The physical node of a governed relation.
//!
//! **Invariant**: it shows no children, no expressions, no statistics, no ordering and no metrics of its inside; EXPLAIN tells its
//! name and the relation's. All partitions are dealt to from one order of the rows that are to be seen, so that neither the sizes of batches nor
//! their order tells of what lies between. Each partition opens its own redactors and drops them with its stream. Nobody else can
//! reach the inner plan, so that what a recursive query asks of all nodes, to be as if never executed, this one does for its inside.

use std::{collections::BTreeSet, fmt, sync::Arc};

use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType, reset_plan_states};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use parking_lot::Mutex;

use super::{Hidden, RowRule, deal::Dealer, stream};

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
    deals: Mutex<Deals>,
    properties: Arc<PlanProperties>,
}

/// One dealer for all partitions. A partition that is executed once more begins anew.
#[derive(Default)]
struct Deals {
    dealer: Option<Arc<Dealer>>,
    executed: BTreeSet<usize>,
}

impl GovernExec {
    /// The partitions of `inner`, one after the other, are the order of storage; `partitions` are given out.
    pub(super) fn new(
        relation: String,
        inner: Arc<dyn ExecutionPlan>,
        slots: Vec<Slot>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        hidden: Option<(usize, Arc<dyn Hidden>)>,
        partitions: usize,
    ) -> Self {
        let schema = Arc::new(Schema::new(slots.iter().map(|slot| Arc::clone(&slot.field)).collect::<Vec<_>>()));
        let rules = stream::Rules { relation: relation.clone(), schema, slots, filter, hidden };
        Self::of(relation, inner, Arc::new(rules), partitions)
    }

    fn of(relation: String, inner: Arc<dyn ExecutionPlan>, rules: Arc<stream::Rules>, partitions: usize) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&rules.schema)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Self { relation, inner, rules, deals: Mutex::default(), properties: Arc::new(properties) }
    }

    /// The same rows as one partition, in the order of storage.
    pub(super) fn in_order(&self) -> Self {
        Self::of(self.relation.clone(), Arc::clone(&self.inner), Arc::clone(&self.rules), 1)
    }

    fn partitions(&self) -> usize {
        self.properties.partitioning.partition_count()
    }

    fn dealer(&self, partition: usize, context: &Arc<TaskContext>) -> Arc<Dealer> {
        let mut deals = self.deals.lock();
        if !deals.executed.insert(partition) {
            *deals = Deals { dealer: None, executed: BTreeSet::from([partition]) };
        }
        let start = || Dealer::start(&self.rules, &self.inner, context, self.partitions());
        let dealer = Arc::clone(deals.dealer.get_or_insert_with(start));
        // Once all have it, it ends with the last of them, and its readers and their memory with it; not with the plan.
        if deals.executed.len() == self.partitions() {
            deals.dealer = None;
        }
        dealer
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
        let inner = reset_plan_states(Arc::clone(&self.inner))?;
        let (relation, rules) = (self.relation.clone(), Arc::clone(&self.rules));
        Ok(Arc::new(Self::of(relation, inner, rules, self.partitions())))
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = context.session_config().batch_size();
        let schema = Arc::clone(&self.rules.schema);
        let dealer = self.dealer(partition, &context);
        let governed = stream::govern(Arc::clone(&self.rules), dealer, &self.inner.schema(), rows)?;
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(schema, governed))))
    }
}
