//! Long texts of a statement, and of its parameters, as views.
//!
//! **Invariant**: a text of more than [`SHORT_BYTES`] that each row of a batch gets is there once, and each row has the sixteen
//! bytes of a view. As plain text, 300 KB for a batch of rows would be more than Arrow's offsets can count.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

/// Texts up to here stay as they are.
pub(super) const SHORT_BYTES: usize = 256;

/// The plan, in which types are not yet resolved, with its long texts as views. A recursive query is left as it is: the type of the
/// rows that it reads of itself is settled already.
pub(super) fn as_views(plan: LogicalPlan) -> Result<LogicalPlan> {
    let (mut long, mut recursive) = (false, false);
    plan.apply_with_subqueries(|node| {
        recursive |= matches!(node, LogicalPlan::RecursiveQuery(_));
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                long |= long_text(part).is_some();
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    if !long || recursive {
        return Ok(plan);
    }
    plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        let rewritten = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let viewed = expr.transform_up(|part| {
                Ok(match long_text(&part) {
                    Some(text) => Transformed::yes(Expr::Literal(ScalarValue::Utf8View(Some(text.to_owned())), None)),
                    None => Transformed::no(part),
                })
            })?;
            Ok(if viewed.transformed { viewed.update_data(|expr| name.restore(expr)) } else { viewed })
        })?;
        rewritten.map_data(retyped)
    })
    .map(|done| done.data)
}

fn long_text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) if text.len() > SHORT_BYTES => Some(text),
        _ => None,
    }
}

/// The step with the types that its expressions have now.
fn retyped(node: LogicalPlan) -> Result<LogicalPlan> {
    match node {
        LogicalPlan::Values(values) => LogicalPlanBuilder::values(values.values)?.build(),
        other => other.recompute_schema(),
    }
}
