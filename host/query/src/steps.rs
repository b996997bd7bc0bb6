//! Two equal projections in a row stay two steps.
//!
//! **Invariant**: DataFusion's `OptimizeProjections` never sees a projection over an equal one, unless it only names columns.
//!
//! Read in DataFusion 55: `merge_consecutive_projections_one_level` drops a projection whose expressions are those of its input, as if
//! doing something twice were doing it once: `SELECT a + 1 AS a FROM (SELECT a + 1 AS a FROM t)` added one.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};
use datafusion::optimizer::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// Gives the outputs of the lower of two equal projections other names.
#[derive(Debug)]
pub(crate) struct DistinctSteps;

impl OptimizerRule for DistinctSteps {
    fn name(&self) -> &'static str {
        "distinct_steps"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Projection(upper) = &plan else { return Ok(Transformed::no(plan)) };
        let LogicalPlan::Projection(lower) = upper.input.as_ref() else { return Ok(Transformed::no(plan)) };
        if upper.expr != lower.expr || upper.expr.iter().all(|expr| matches!(expr, Expr::Column(_))) {
            return Ok(Transformed::no(plan));
        }
        let prefix = config.alias_generator().next("__step");
        let name = |place: usize| format!("{prefix}_{place}");
        let steps = lower.expr.iter().enumerate().map(|(place, expr)| expr.clone().unalias().alias(name(place))).collect();
        let input = Projection::try_new(steps, Arc::clone(&lower.input))?;
        let renamed = upper.expr.iter().map(|expr| rename(expr, lower, &name)).collect::<Result<_>>()?;
        let projection =
            Projection::try_new_with_schema(renamed, Arc::new(LogicalPlan::Projection(input)), Arc::clone(&upper.schema))?;
        Ok(Transformed::yes(LogicalPlan::Projection(projection)))
    }
}

/// The expression over the new names, with the name that it had.
fn rename(expr: &Expr, lower: &Projection, name: &impl Fn(usize) -> String) -> Result<Expr> {
    let (qualifier, own) = expr.qualified_name();
    let renamed = expr.clone().transform(|part| {
        Ok(match part {
            Expr::Column(column) => {
                Transformed::yes(Expr::Column(Column::new_unqualified(name(lower.schema.index_of_column(&column)?))))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(match renamed.data {
        alias @ Expr::Alias(_) => alias,
        other => other.alias_qualified(qualifier, own),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};

    use crate::harness::{Lake, table};

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_done_twice_counts_twice() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 5]));
        let others: ArrayRef = Arc::new(Int64Array::from(vec![2, 7]));
        let batch = RecordBatch::try_from_iter([("a", numbers), ("b", others)]).unwrap();
        let lake = Lake::default().with("t", table(vec![batch]));
        let nested = |columns: &str, times: usize| {
            (0..times).fold("SELECT a, b FROM t".to_owned(), |sql, _| format!("SELECT {columns} FROM ({sql})"))
        };
        for (columns, times, expected) in [
            ("a + 1 AS a, b", 2, "3 | 2\n7 | 7"),
            ("a + a AS a, b", 4, "16 | 2\n80 | 7"),
            ("b AS a, a AS b", 2, "1 | 2\n5 | 7"),
            ("b AS a, a AS b", 3, "2 | 1\n7 | 5"),
            ("a, b", 3, "1 | 2\n5 | 7"),
            ("a + (SELECT count(*) FROM t) AS a, b", 3, "7 | 2\n11 | 7"),
            ("a || a AS a, b", 3, "11111111 | 2\n55555555 | 7"),
            ("sum(b) OVER () AS b, a", 2, "18 | 1\n18 | 5"),
        ] {
            let sql = format!("SELECT * FROM ({}) ORDER BY 1, 2", nested(columns, times));
            assert_eq!(lake.text(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")), expected, "{sql}");
        }
    }
}
