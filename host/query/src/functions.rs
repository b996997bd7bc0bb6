//! The functions that statements may call.
//!
//! **Invariant**: nothing here reads a file, the environment or the configuration, and no query can build more than
//! [`MAX_BATCH_BYTES`] for one batch of rows from a few words: what multiplies its input is wrapped, under every name and operator
//! that reaches it; what copies it is counted, and taken from the memory of all queries where there is much of it.

mod allowed;
mod bounded;
mod checked;
mod concat;
mod cost;
mod measured;
mod pattern;
mod planner;
mod series;
mod string_agg;
mod sum;

use std::sync::Arc;

use datafusion::catalog::TableFunction;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{AggregateUDF, Expr, LogicalPlan, ScalarUDF, WindowUDF, planner::ExprPlanner};

use self::{
    bounded::Bounded,
    concat::ConcatOperator,
    cost::Cost,
    measured::Measured,
    planner::BoundedPlanner,
    string_agg::{STRING_AGG, StringAgg},
    sum::{SUM, Sum},
};
pub(crate) use self::{
    checked::CheckedArithmetic,
    cost::{array_bytes, longest, scalar_bytes},
    measured::measured,
};
use crate::session::BATCH_ROWS;

/// Bytes that one call may build for one batch of rows.
pub(crate) const MAX_CALL_BYTES: u64 = 128 * 1024 * 1024;
/// Bytes that all calls of a query may build for one batch of rows; where there are many, each has its share of this.
pub(crate) const MAX_BATCH_BYTES: u64 = 1024 * 1024 * 1024;
/// Bytes of one value that a call may build: whatever follows may copy it many times.
pub(crate) const MAX_VALUE_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of a call that planning makes a constant: each row of a batch may get a copy. Larger ones, among them no vector that is
/// written out, are called for each batch.
pub(crate) const MAX_FOLDED_BYTES: u64 = 64 * 1024;
/// Bytes that a call may seem to build before planning tries it: estimates are loose.
pub(crate) const MAX_FOLDING_BYTES: u64 = 16 * MAX_FOLDED_BYTES;
/// Bytes of all such constants of a query.
pub(crate) const MAX_ALL_FOLDED_BYTES: u64 = MAX_BATCH_BYTES / BATCH_ROWS as u64;
/// Rows or elements that `range` and `generate_series` may make.
pub(crate) const MAX_SERIES: u64 = 10_000_000;
/// Steps of functions whose work grows with the product of their inputs: about a second of one thread.
pub(crate) const MAX_STEPS: u64 = 1_000_000_000;

/// Every function of a session.
#[derive(Debug)]
pub(crate) struct Functions {
    pub(crate) scalar: Vec<Arc<ScalarUDF>>,
    pub(crate) aggregate: Vec<Arc<AggregateUDF>>,
    pub(crate) window: Vec<Arc<WindowUDF>>,
    pub(crate) table: Vec<Arc<TableFunction>>,
    pub(crate) planners: Vec<Arc<dyn ExprPlanner>>,
}

impl Functions {
    pub(crate) fn allowed() -> Self {
        let scalar: Vec<Arc<ScalarUDF>> = SessionStateDefaults::default_scalar_functions()
            .into_iter()
            .filter(|udf| allowed::SCALAR.contains(&udf.name()))
            .map(|udf| match cost::of(udf.name()) {
                None => udf,
                Some(costs) => Bounded::udf(udf, costs),
            })
            .collect();
        let concat = Bounded::udf(ConcatOperator::udf(), &[Cost::Sum]);
        let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(BoundedPlanner::new(&scalar, concat))];
        planners.extend(SessionStateDefaults::default_expr_planners());
        let aggregate = SessionStateDefaults::default_aggregate_functions()
            .into_iter()
            .filter(|function| allowed::AGGREGATE.contains(&function.name()))
            .map(|function| match function.name() {
                STRING_AGG => StringAgg::udaf(function),
                SUM => Sum::udaf(function),
                _ => function,
            })
            .collect();
        let mut window = SessionStateDefaults::default_window_functions();
        window.retain(|function| allowed::WINDOW.contains(&function.name()));
        Self { scalar, aggregate, window, table: series::table_functions(), planners }
    }
}

/// The calls of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Calls {
    /// Those that share [`MAX_BATCH_BYTES`].
    pub(crate) multiplying: u64,
    /// These and all others that are counted.
    pub(crate) building: u64,
}

impl Calls {
    pub(crate) fn of(plan: &LogicalPlan) -> Result<Self> {
        let mut calls = Self::default();
        plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                expr.apply(|part| {
                    if let Expr::ScalarFunction(call) = part {
                        let bounded = call.func.inner().downcast_ref::<Bounded>();
                        calls.multiplying += u64::from(bounded.is_some_and(Bounded::multiplies));
                        calls.building += u64::from(bounded.is_some() || call.func.inner().is::<Measured>());
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })?;
        Ok(calls)
    }
}

#[cfg(test)]
mod tests;
