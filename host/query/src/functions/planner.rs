//! Syntax that calls functions without naming them: `[a, b]`, `{a: b}`, `a || b`, `a ~ b`, OVERLAY, MAP.
//!
//! **Invariant**: it reaches the same bounded functions as their names do; DataFusion's own planners would reach past them.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{
    Expr, ExprSchemable, ScalarUDF,
    expr::ScalarFunction,
    lit, not,
    planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawDictionaryExpr},
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

#[derive(Debug)]
pub(super) struct BoundedPlanner {
    functions: HashMap<&'static str, Arc<ScalarUDF>>,
    concat: Arc<ScalarUDF>,
}

const USED: &[&str] =
    &["make_array", "array_concat", "array_append", "array_prepend", "map", "struct", "named_struct", "overlay", "regexp_like"];

impl BoundedPlanner {
    pub(super) fn new(allowed: &[Arc<ScalarUDF>], concat: Arc<ScalarUDF>) -> Self {
        let functions = USED
            .iter()
            .filter_map(|name| allowed.iter().find(|udf| udf.name() == *name).map(|udf| (*name, Arc::clone(udf))))
            .collect();
        Self { functions, concat }
    }

    fn call(&self, name: &str, args: Vec<Expr>) -> Result<Expr> {
        match self.functions.get(name) {
            Some(udf) => Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(udf), args))),
            None => datafusion::common::plan_err!("{name} is not offered"),
        }
    }

    fn concat(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<Expr> {
        let (left, right) = (expr.left.get_type(schema)?, expr.right.get_type(schema)?);
        let args = vec![expr.left, expr.right];
        if !is_list(&left) && !is_list(&right) {
            return Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&self.concat), args)));
        }
        let name = match depth(&left).cmp(&depth(&right)) {
            Ordering::Equal => "array_concat",
            Ordering::Greater => "array_append",
            Ordering::Less => "array_prepend",
        };
        self.call(name, args)
    }
}

fn is_list(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..))
}

fn depth(data_type: &DataType) -> usize {
    match data_type {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => 1 + depth(field.data_type()),
        _ => 0,
    }
}

impl ExprPlanner for BoundedPlanner {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let (negated, folds_case) = match expr.op {
            BinaryOperator::StringConcat => return self.concat(expr, schema).map(PlannerResult::Planned),
            BinaryOperator::PGRegexMatch => (false, false),
            BinaryOperator::PGRegexIMatch => (false, true),
            BinaryOperator::PGRegexNotMatch => (true, false),
            BinaryOperator::PGRegexNotIMatch => (true, true),
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let mut args = vec![expr.left, expr.right];
        args.extend(folds_case.then(|| lit("i")));
        let matches = self.call("regexp_like", args)?;
        Ok(PlannerResult::Planned(if negated { not(matches) } else { matches }))
    }

    fn plan_array_literal(&self, exprs: Vec<Expr>, _schema: &DFSchema) -> Result<PlannerResult<Vec<Expr>>> {
        self.call("make_array", exprs).map(PlannerResult::Planned)
    }

    fn plan_dictionary_literal(&self, expr: RawDictionaryExpr, _schema: &DFSchema) -> Result<PlannerResult<RawDictionaryExpr>> {
        let args = expr.keys.into_iter().zip(expr.values).flat_map(|(key, value)| [key, value]).collect();
        self.call("named_struct", args).map(PlannerResult::Planned)
    }

    fn plan_struct_literal(&self, args: Vec<Expr>, is_named_struct: bool) -> Result<PlannerResult<Vec<Expr>>> {
        self.call(if is_named_struct { "named_struct" } else { "struct" }, args).map(PlannerResult::Planned)
    }

    fn plan_overlay(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        self.call("overlay", args).map(PlannerResult::Planned)
    }

    fn plan_make_map(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        if !args.len().is_multiple_of(2) {
            return datafusion::common::plan_err!("a map needs as many values as keys");
        }
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (index, arg) in args.into_iter().enumerate() {
            if index % 2 == 0 { keys.push(arg) } else { values.push(arg) }
        }
        let (keys, values) = (self.call("make_array", keys)?, self.call("make_array", values)?);
        self.call("map", vec![keys, values]).map(PlannerResult::Planned)
    }
}
