//! How large a plan may become.
//!
//! **Invariant**: what the optimizer is given stays of ordinary size and depth when the name of every column is written out as the
//! expression that it stands for. DataFusion does so when it moves a filter below a projection: `x + x AS x` thirty times over
//! would be a billion terms, and a hundred sums of four hundred terms a tree that no stack can walk.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::error::QueryError;

/// Steps of a plan, those of subqueries included.
const MAX_STEPS: usize = 5_000;
/// Terms of one expression, written out.
const MAX_TERMS: usize = 200_000;
/// Terms within each other, written out.
const MAX_DEPTH: usize = 1_000;

/// An expression without names.
#[derive(Debug, Clone, Copy)]
struct Written {
    terms: usize,
    depth: usize,
}

const LEAF: Written = Written { terms: 1, depth: 1 };

impl Written {
    fn wider(self, other: Self) -> Self {
        Self { terms: self.terms.max(other.terms), depth: self.depth.max(other.depth) }
    }
}

/// Refuses a plan that would outgrow its limits.
///
/// # Errors
/// Names the limit.
pub(super) fn check(plan: &LogicalPlan) -> Result<(), QueryError> {
    let planning = |error| QueryError::planning(&error);
    let mut steps = 0usize;
    plan.apply_with_subqueries(|_| {
        steps += 1;
        Ok(if steps > MAX_STEPS { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })
    .map_err(planning)?;
    if steps > MAX_STEPS {
        return Err(QueryError::TooComplex { what: "steps in its plan", limit: MAX_STEPS });
    }
    let mut widest = LEAF;
    outputs(plan, &mut widest);
    plan.apply_with_subqueries(|node| {
        node.apply_subqueries(|subquery| {
            outputs(subquery, &mut widest);
            Ok(TreeNodeRecursion::Continue)
        })
        .map(|_| TreeNodeRecursion::Continue)
    })
    .map_err(planning)?;
    if widest.terms > MAX_TERMS {
        return Err(QueryError::TooComplex { what: "terms in one expression, once names are written out", limit: MAX_TERMS });
    }
    if widest.depth > MAX_DEPTH {
        return Err(QueryError::TooComplex { what: "levels in one expression, once names are written out", limit: MAX_DEPTH });
    }
    Ok(())
}

/// What the columns of `plan` stand for; `widest` grows with every expression on the way.
fn outputs(plan: &LogicalPlan, widest: &mut Written) -> Vec<Written> {
    let inputs: Vec<(&LogicalPlan, Vec<Written>)> =
        plan.inputs().into_iter().map(|input| (input, outputs(input, widest))).collect();
    let mut expressions = Vec::new();
    // The closure never fails.
    let _ = plan.apply_expressions(|expr| {
        expressions.push(written(expr, &inputs));
        Ok(TreeNodeRecursion::Continue)
    });
    *widest = expressions.iter().fold(*widest, |widest, one| widest.wider(*one));
    let mut columns: Vec<Written> = match plan {
        LogicalPlan::Projection(_) => expressions,
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.iter().map(|expr| written(expr, &inputs)).collect(),
        LogicalPlan::Union(_) => inputs
            .into_iter()
            .map(|(_, columns)| columns)
            .reduce(|a, b| a.into_iter().zip(b).map(|(a, b)| a.wider(b)).collect())
            .unwrap_or_default(),
        _ => inputs.into_iter().flat_map(|(_, columns)| columns).collect(),
    };
    columns.resize(plan.schema().fields().len(), LEAF);
    columns
}

fn written(expr: &Expr, inputs: &[(&LogicalPlan, Vec<Written>)]) -> Written {
    if let Expr::Column(column) = expr {
        let known = inputs.iter().find_map(|(input, columns)| columns.get(input.schema().maybe_index_of_column(column)?));
        return known.copied().unwrap_or(LEAF);
    }
    let mut whole = Written { terms: 1, depth: 0 };
    // The closure never fails.
    let _ = expr.apply_children(|part| {
        let part = written(part, inputs);
        whole = Written { terms: whole.terms.saturating_add(part.terms), depth: whole.depth.max(part.depth) };
        Ok(TreeNodeRecursion::Continue)
    });
    Written { depth: whole.depth + 1, ..whole }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use lakehouse_types::{Code, Fault};

    use crate::harness::{Lake, table};

    /// `levels` names of WITH, each giving `term` of the one before, and a filter that is pushed below them all.
    fn chain(levels: usize, term: &str) -> String {
        let names: Vec<String> = (1..=levels).map(|n| format!("a{n} AS (SELECT {term} AS x FROM a{})", n - 1)).collect();
        format!("WITH a0 AS (SELECT n AS x FROM t), {} SELECT count(*) FROM a{levels} WHERE x > 3", names.join(", "))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_names_hide_is_counted() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10));
        let lake = Lake::default().with("t", table(vec![RecordBatch::try_from_iter([("n", numbers)]).unwrap()]));
        assert_eq!(lake.text(&chain(3, "x + x")).await.unwrap(), "9");
        assert_eq!(lake.text(&chain(40, "x + 1")).await.unwrap(), "10");
        let deep = format!("x{}", " + 1".repeat(300));
        let inner = format!("SELECT n FROM t WHERE n IN ({})", chain(30, "x + x").replace("count(*)", "x"));
        for sql in [chain(30, "x + x"), chain(60, &deep), inner] {
            let started = Instant::now();
            let error = lake.text(&sql).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidSql, "{}…: {error:?}", &sql[..60]);
            assert!(started.elapsed() < Duration::from_secs(5), "{}…: {:?}", &sql[..60], started.elapsed());
        }
    }
}
