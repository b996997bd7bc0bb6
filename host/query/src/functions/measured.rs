//! Conversions and choices that give texts, lists and the like, measured as the results of functions are.
//!
//! **Invariant**: `CAST`, `TRY_CAST`, `CASE` and scalar subqueries of an optimized plan are counted where their results live on: as
//! columns, and as arguments of functions and aggregates. Names and types are as without.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, Result};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, expr::ScalarFunction,
};

use super::{bounded::Share, cost::scalar_bytes};
use crate::{
    built::{is_small, is_view},
    error::QueryError,
};

const MEASURED: &str = "measured";

/// Gives out its argument.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Measured(Signature);

/// The plan with all that it converts, chooses or looks up once being measured.
pub(crate) fn measured(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        if keeps_results(node) {
            node.apply_expressions(|expr| {
                expr.apply(|part| {
                    found |= builds(part);
                    Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
                })
            })?;
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !found {
        return Ok(plan);
    }
    let udf = Arc::new(ScalarUDF::new_from_impl(Measured(Signature::any(1, Volatility::Immutable))));
    plan.transform_up_with_subqueries(|node| {
        let Some(schema) = node.inputs().first().filter(|_| keeps_results(&node)).map(|input| Arc::clone(input.schema())) else {
            return Ok(Transformed::no(node));
        };
        node.map_expressions(|expr| within(expr, &schema, &udf)?.transform_data(|expr| wrapped(expr, &schema, &udf)))
    })
    .map(|done| done.data)
}

/// What the others evaluate is gone once they have compared it.
fn keeps_results(node: &LogicalPlan) -> bool {
    matches!(node, LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) | LogicalPlan::Sort(_))
}

fn builds(expr: &Expr) -> bool {
    match expr {
        Expr::Cast(cast) => !is_small(cast.field.data_type()),
        Expr::TryCast(cast) => !is_small(cast.field.data_type()),
        Expr::Case(_) | Expr::ScalarSubquery(_) => true,
        _ => false,
    }
}

/// The expression with its parts wrapped, but for those that it only compares.
fn within(expr: Expr, schema: &DFSchemaRef, udf: &Arc<ScalarUDF>) -> Result<Transformed<Expr>> {
    let keeps = matches!(
        expr,
        Expr::ScalarFunction(_) | Expr::AggregateFunction(_) | Expr::WindowFunction(_) | Expr::Alias(_) | Expr::Unnest(_)
    );
    expr.map_children(|part| {
        let part = within(part, schema, udf)?;
        if keeps { part.transform_data(|part| wrapped(part, schema, udf)) } else { Ok(part) }
    })
}

fn wrapped(expr: Expr, schema: &DFSchemaRef, udf: &Arc<ScalarUDF>) -> Result<Transformed<Expr>> {
    if !builds(&expr) || expr.get_type(schema.as_ref()).is_ok_and(|data_type| is_small(&data_type)) {
        return Ok(Transformed::no(expr));
    }
    Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(udf), vec![expr]))))
}

impl ScalarUDFImpl for Measured {
    fn name(&self) -> &'static str {
        MEASURED
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.iter().map(|arg| arg.schema_name().to_string()).collect())
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        args.arg_fields.first().map(Arc::clone).ok_or_else(|| QueryError::Plan { message: "nothing is measured".into() }.into())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let share = Share::of(&args.config_options);
        share.check()?;
        let rows = args.number_rows.max(1) as u64;
        let value = args.args.into_iter().next().ok_or(QueryError::Plan { message: "nothing is measured".into() })?;
        match &value {
            ColumnarValue::Array(array) => share.count(array)?,
            // Whoever uses it may copy it to each row; a view is not copied.
            ColumnarValue::Scalar(scalar) if is_view(&scalar.data_type()) => {}
            ColumnarValue::Scalar(scalar) => {
                if scalar_bytes(scalar).saturating_mul(rows) > share.bytes {
                    let function = "a value that is the same for all rows".to_owned();
                    return Err(QueryError::TooCostly { function, limit: share.bytes, unit: "bytes" }.into());
                }
            }
        }
        Ok(value)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        Ok(inputs.first().map_or(SortProperties::Unordered, |input| input.sort_properties))
    }
}
