//! A row filter: one boolean expression over the columns of a base, written by an admin.
//!
//! **Invariant**: it parses as one expression to its last character, names only columns of the base, and gives the same answer for
//! the same row: no subqueries, parameters, aggregates, window functions or volatile functions. A row on which it fails is a row that
//! it does not keep, whatever is asked. Names of columns may be written in any case, as in a statement.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ToDFSchema};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, ExprSchemable, expr_rewriter::FunctionRewrite, simplify::SimplifyContext};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use crate::{error::QueryError, functions::CheckedArithmetic, guard, idents};

/// A filter that was parsed, typed and checked against its base.
#[derive(Debug, Clone)]
pub(crate) struct RowFilter {
    pub(super) expr: Expr,
    /// Names of the base's columns that it reads.
    pub(super) columns: BTreeSet<String>,
}

/// Why a text is no row filter; the words are for whoever wrote it.
#[derive(Debug)]
pub(crate) struct NoFilter(pub(crate) String);

impl RowFilter {
    /// Parses `text` over the columns of `base`.
    pub(crate) fn parse(text: &str, base: &SchemaRef, session: &SessionState) -> Result<Self, NoFilter> {
        let mut sql_expr = guard::admit_expression(text).map_err(|error| NoFilter(lakehouse_types::Fault::public(&error)))?;
        idents::restore_case_of(&mut sql_expr.expr, base.fields().iter().map(|field| field.name().clone()).collect());
        let schema = Arc::clone(base).to_dfschema().map_err(|error| planning(&error))?;
        let expr = session.create_logical_expr_from_sql_expr(sql_expr, &schema).map_err(|error| planning(&error))?;
        check(&expr)?;

        let simplifier = ExprSimplifier::new(
            SimplifyContext::builder()
                .with_schema(Arc::new(schema.clone()))
                .with_config_options(Arc::clone(session.config_options()))
                .build(),
        );
        let expr = simplifier.coerce(expr, &schema).map_err(|error| planning(&error))?;
        let expr = expr.transform_up(|part| CheckedArithmetic.rewrite(part, &schema, session.config_options()));
        let expr = expr.map(|done| done.data).map_err(|error| planning(&error))?;
        let expr = simplifier.simplify(expr).map_err(|error| planning(&error))?;
        let expr = unqualified(expr).map_err(|error| planning(&error))?;
        match type_of(&expr, &schema)? {
            DataType::Boolean | DataType::Null => {}
            other => return Err(NoFilter(format!("the row filter has the type {other}, it must be a condition"))),
        }
        let columns = expr.column_refs().into_iter().map(|column| column.name.clone()).collect();
        Ok(Self { expr, columns })
    }
}

impl RowFilter {
    /// Keeps the rows that both keep: one on which either fails is kept by neither order.
    pub(super) fn and(self, other: Self) -> Self {
        Self { expr: self.expr.and(other.expr), columns: self.columns.into_iter().chain(other.columns).collect() }
    }
}

fn type_of(expr: &Expr, schema: &DFSchema) -> Result<DataType, NoFilter> {
    expr.get_type(schema).map_err(|error| planning(&error))
}

fn planning(error: &datafusion::error::DataFusionError) -> NoFilter {
    NoFilter(lakehouse_types::Fault::public(&QueryError::planning(error)))
}

fn unqualified(expr: Expr) -> datafusion::common::Result<Expr> {
    use datafusion::common::tree_node::Transformed;
    expr.transform(|expr| {
        Ok(match expr {
            Expr::Column(column) if column.relation.is_some() => {
                Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))
            }
            other => Transformed::no(other),
        })
    })
    .map(|done| done.data)
}

fn check(expr: &Expr) -> Result<(), NoFilter> {
    let mut refused = None;
    let walked = expr.apply(|part| {
        refused = match part {
            Expr::Exists(_)
            | Expr::InSubquery(_)
            | Expr::ScalarSubquery(_)
            | Expr::SetComparison(_)
            | Expr::OuterReferenceColumn(..) => Some("a subquery".to_owned()),
            Expr::AggregateFunction(_) => Some("an aggregate".to_owned()),
            Expr::WindowFunction(_) => Some("a window function".to_owned()),
            Expr::Placeholder(_) => Some("a parameter".to_owned()),
            #[expect(deprecated, reason = "refused, whatever it meant")]
            Expr::Wildcard { .. } => Some("a wildcard".to_owned()),
            Expr::ScalarFunction(call) if call.func.signature().volatility != datafusion::logical_expr::Volatility::Immutable => {
                Some(format!("{}(), which gives another answer each time,", call.func.name()))
            }
            _ => None,
        };
        Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    match (walked, refused) {
        (_, Some(what)) => {
            Err(NoFilter(format!("the row filter contains {what}; it may use columns, literals and plain functions")))
        }
        (Err(error), None) => Err(planning(&error)),
        (Ok(_), None) => Ok(()),
    }
}
