//! The functions that statements may call.
//!
//! **Invariant**: nothing here reads a file, the environment or the configuration, and no query can build more than
//! [`MAX_BATCH_BYTES`] for one batch of rows from a few words: what multiplies its input is wrapped, under every name and operator
//! that reaches it.

mod allowed;
mod bounded;
mod concat;
mod cost;
mod pattern;
mod planner;
mod series;

use std::sync::Arc;

use datafusion::catalog::TableFunction;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, WindowUDF, planner::ExprPlanner};

pub(crate) use self::cost::array_bytes;
use self::{bounded::Bounded, concat::ConcatOperator, cost::Cost, planner::BoundedPlanner};
use crate::session::BATCH_ROWS;

/// Bytes that one call may build for one batch of rows.
pub(crate) const MAX_CALL_BYTES: u64 = 128 * 1024 * 1024;
/// Bytes that all calls of a query may build for one batch of rows; where there are many, each has its share of this.
pub(crate) const MAX_BATCH_BYTES: u64 = 1024 * 1024 * 1024;
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
    pub(crate) higher_order: Vec<Arc<HigherOrderUDF>>,
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
                [] => udf,
                costs => Bounded::udf(udf, costs),
            })
            .collect();
        let concat = Bounded::udf(ConcatOperator::udf(), &[Cost::Sum]);
        let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(BoundedPlanner::new(&scalar, concat))];
        planners.extend(SessionStateDefaults::default_expr_planners());
        let mut higher_order = SessionStateDefaults::default_higher_order_functions();
        higher_order.retain(|function| allowed::HIGHER_ORDER.contains(&function.name()));
        let mut aggregate = SessionStateDefaults::default_aggregate_functions();
        aggregate.retain(|function| allowed::AGGREGATE.contains(&function.name()));
        let mut window = SessionStateDefaults::default_window_functions();
        window.retain(|function| allowed::WINDOW.contains(&function.name()));
        Self { scalar, higher_order, aggregate, window, table: series::table_functions(), planners }
    }
}

/// How many calls of a plan are bounded: those that share [`MAX_BATCH_BYTES`].
pub(crate) fn bounded_calls(plan: &LogicalPlan) -> Result<u64> {
    let mut calls = 0u64;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::ScalarFunction(call) = part
                    && call.func.inner().is::<Bounded>()
                {
                    calls += 1;
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(calls)
}

#[cfg(test)]
mod tests;
