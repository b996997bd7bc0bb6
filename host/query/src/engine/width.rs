//! How large the words of a statement alone make a row: the types that it names, and its literals.
//!
//! **Invariant**: no type that is converted to takes more than [`MAX_FIXED_BYTES`] for a NULL, which is known before a constant is
//! folded; and the literals of a plan, each as often as it is used, take no more for a whole batch than all calls may build.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Cast, Expr, LogicalPlan, TryCast};

use crate::{
    error::QueryError,
    functions::{MAX_BATCH_BYTES, scalar_bytes},
    session::BATCH_ROWS,
};

/// Bytes that a type may take for each row, whatever the row holds.
const MAX_FIXED_BYTES: u64 = 64 * 1024;
/// Bytes of literals that a row may get copies of.
const MAX_LITERAL_BYTES: u64 = MAX_BATCH_BYTES / BATCH_ROWS as u64;
/// A value whose bytes are elsewhere: views share them.
const VIEW_BYTES: u64 = 16;

/// Refuses a plan that converts to a type of great fixed length.
///
/// # Errors
/// Names the limit.
pub(super) fn check_types(plan: &LogicalPlan) -> Result<(), QueryError> {
    let mut widest = 0u64;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::Cast(Cast { field, .. }) | Expr::TryCast(TryCast { field, .. }) = part {
                    widest = widest.max(fixed_bytes(field.data_type()));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map_err(|error| QueryError::planning(&error))?;
    within(widest, MAX_FIXED_BYTES, "bytes of fixed length in one type")
}

/// Refuses a plan whose literals would fill a batch.
///
/// # Errors
/// Names the limit.
pub(super) fn check_literals(plan: &LogicalPlan) -> Result<(), QueryError> {
    let mut bytes = 0u64;
    plan.apply_with_subqueries(|node| {
        if !is_one_row(node) {
            node.apply_expressions(|expr| {
                bytes = bytes.saturating_add(copied_bytes(expr));
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(|error| QueryError::planning(&error))?;
    within(bytes, MAX_LITERAL_BYTES, "bytes of literals that each row would get a copy of")
}

fn within(bytes: u64, limit: u64, what: &'static str) -> Result<(), QueryError> {
    if bytes > limit {
        return Err(QueryError::TooComplex { what, limit: usize::try_from(limit).unwrap_or(usize::MAX) });
    }
    Ok(())
}

/// Whether a step makes its rows once: VALUES, and SELECT without FROM.
fn is_one_row(node: &LogicalPlan) -> bool {
    match node {
        LogicalPlan::Values(_) => true,
        LogicalPlan::Projection(projection) => matches!(projection.input.as_ref(), LogicalPlan::EmptyRelation(_)),
        _ => false,
    }
}

/// Bytes that an Arrow array of this type has for a NULL.
fn fixed_bytes(data_type: &DataType) -> u64 {
    match data_type {
        DataType::FixedSizeBinary(length) => u64::try_from(*length).unwrap_or(0),
        DataType::FixedSizeList(field, length) => {
            u64::try_from(*length).unwrap_or(0).saturating_mul(fixed_bytes(field.data_type()).max(1))
        }
        DataType::Struct(fields) => fields.iter().map(|field| fixed_bytes(field.data_type())).fold(0u64, u64::saturating_add),
        // Of a NULL they hold nothing, of other values elements of this type.
        DataType::List(field) | DataType::LargeList(field) | DataType::ListView(field) | DataType::LargeListView(field) => {
            fixed_bytes(field.data_type())
        }
        DataType::Map(field, _) => fixed_bytes(field.data_type()),
        DataType::Union(fields, _) => {
            fields.iter().map(|(_, field)| fixed_bytes(field.data_type())).fold(0u64, u64::saturating_add)
        }
        DataType::Dictionary(_, value) => fixed_bytes(value),
        other => other.primitive_width().map_or(VIEW_BYTES, |width| width as u64),
    }
}

/// Bytes of the largest literal that evaluating `expr` may repeat for each row. What is compared with is not repeated.
fn copied_bytes(expr: &Expr) -> u64 {
    match expr {
        Expr::Literal(value, _) => literal_bytes(value),
        Expr::BinaryExpr(_) | Expr::Like(_) | Expr::SimilarTo(_) | Expr::Between(_) | Expr::InList(_) => {
            largest(expr, |part| if matches!(part, Expr::Literal(..)) { 0 } else { copied_bytes(part) })
        }
        _ => largest(expr, copied_bytes),
    }
}

fn largest(expr: &Expr, bytes: impl Fn(&Expr) -> u64) -> u64 {
    let mut largest = 0u64;
    // The closure never fails.
    let _ = expr.apply_children(|part| {
        largest = largest.max(bytes(part));
        Ok(TreeNodeRecursion::Continue)
    });
    largest
}

fn literal_bytes(value: &ScalarValue) -> u64 {
    match value {
        ScalarValue::Utf8View(_) | ScalarValue::BinaryView(_) => VIEW_BYTES,
        null if null.is_null() => fixed_bytes(&null.data_type()),
        other => match other.data_type().primitive_width() {
            Some(width) => width as u64,
            None => scalar_bytes(other),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field};
    use datafusion::logical_expr::{LogicalPlanBuilder, cast, lit, try_cast};
    use datafusion::prelude::Expr;

    use super::{check_literals, check_types};

    fn fixed(inner: DataType, length: i32) -> DataType {
        DataType::FixedSizeList(Arc::new(Field::new("item", inner, true)), length)
    }

    fn within(name: &str, data_type: DataType) -> DataType {
        DataType::Struct(vec![Field::new(name, data_type, true)].into())
    }

    fn list(data_type: DataType) -> DataType {
        DataType::List(Arc::new(Field::new("item", data_type, true)))
    }

    #[test]
    fn a_great_fixed_length_is_seen_at_any_depth() {
        let allowed = |data_type: DataType| {
            [cast(lit(1i64), data_type.clone()), try_cast(lit(1i64), data_type)].into_iter().all(|expr| {
                let nested = expr.is_null().or(lit(true));
                let plan = LogicalPlanBuilder::empty(true).project([nested]).unwrap().build().unwrap();
                check_types(&plan).is_ok()
            })
        };
        for data_type in [
            fixed(DataType::Int32, 2_000_000_000),
            fixed(fixed(DataType::Int32, 1_000_000), 1_000_000),
            within("a", fixed(fixed(DataType::Int32, 1_000), 1_000)),
            list(within("a", list(fixed(DataType::Boolean, 1_000_000)))),
            DataType::FixedSizeBinary(2_000_000_000),
            within("a", DataType::FixedSizeBinary(1_000_000)),
        ] {
            assert!(!allowed(data_type.clone()), "{data_type}");
        }
        for data_type in [fixed(DataType::Float32, 1_536), DataType::FixedSizeBinary(16), within("a", list(DataType::Utf8))] {
            assert!(allowed(data_type.clone()), "{data_type}");
        }
    }

    #[test]
    fn literals_count_as_often_as_rows_get_them() {
        let text = lit("x".repeat(20_000));
        let named = |n: usize| text.clone().alias(format!("a{n}"));
        let project = |exprs: Vec<Expr>| {
            let rows = LogicalPlanBuilder::values(vec![vec![lit(1i64)]]).unwrap();
            let plan = rows.project(exprs).unwrap().build().unwrap();
            check_literals(&plan).is_ok()
        };
        assert!(project((0..6).map(named).collect()));
        assert!(!project((0..7).map(named).collect()));
        let compared = |n: usize| cast(lit(n as i64), DataType::Utf8).eq(text.clone()).alias(format!("a{n}"));
        assert!(project((0..100).map(compared).collect()), "what is compared with is not copied");
    }
}
