//! Arithmetic of integers that fails where it leaves its type.
//!
//! **Invariant**: `+`, `-`, `*` and the sign of integers are right or an error, in constants, rows and row filters alike; all other
//! types have operators that check already.
//!
//! Read in DataFusion 55: `BinaryExpr` adds with `add_wrapping` unless it was made with `with_fail_on_overflow`, which planning never
//! does; `NegativeExpr` uses `neg_wrapping`.

use std::sync::{Arc, LazyLock};

use arrow::compute::kernels::numeric::{add, mul, sub};
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;

use crate::error::QueryError;

/// Puts a function in the place of each operator, once types are known.
#[derive(Debug)]
pub(crate) struct CheckedArithmetic;

impl FunctionRewrite for CheckedArithmetic {
    fn name(&self) -> &'static str {
        "CheckedArithmetic"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _config: &ConfigOptions) -> Result<Transformed<Expr>> {
        let (operator, left, right) = match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match operator(op) {
                Some(operator) if is_integer(&left, schema) && is_integer(&right, schema) => (operator, *left, *right),
                _ => return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))),
            },
            Expr::Negative(value) if !matches!(*value, Expr::Literal(..)) && is_integer(&value, schema) => {
                let zero = ScalarValue::new_zero(&value.get_type(schema)?)?;
                (&*NEGATE, Expr::Literal(zero, None), *value)
            }
            other => return Ok(Transformed::no(other)),
        };
        Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(operator), vec![left, right]))))
    }
}

static PLUS: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Checked::udf(Operator::Plus, false));
static MINUS: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Checked::udf(Operator::Minus, false));
static MULTIPLY: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Checked::udf(Operator::Multiply, false));
static NEGATE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Checked::udf(Operator::Minus, true));

fn operator(op: Operator) -> Option<&'static Arc<ScalarUDF>> {
    match op {
        Operator::Plus => Some(&PLUS),
        Operator::Minus => Some(&MINUS),
        Operator::Multiply => Some(&MULTIPLY),
        _ => None,
    }
}

fn is_integer(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|data_type| data_type.is_integer())
}

/// One operator.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    op: Operator,
    /// Whether the left side is a zero that nobody wrote.
    is_sign: bool,
    signature: Signature,
}

impl Checked {
    fn udf(op: Operator, is_sign: bool) -> Arc<ScalarUDF> {
        // Both sides have one type by then.
        let signature = Signature::any(2, Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(Self { op, is_sign, signature }))
    }

    fn written(&self, left: &str, right: &str) -> String {
        if self.is_sign { format!("(- {right})") } else { format!("{left} {} {right}", self.op) }
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &'static str {
        match self.op {
            Operator::Plus => "+",
            Operator::Minus => "-",
            _ => "*",
        }
    }

    /// As the operator is shown.
    fn display_name(&self, args: &[Expr]) -> Result<String> {
        let (left, right) = sides(args)?;
        Ok(self.written(&left.to_string(), &right.to_string()))
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let (left, right) = sides(args)?;
        Ok(self.written(&left.schema_name().to_string(), &right.schema_name().to_string()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let (left, right) = sides(arg_types)?;
        let types = datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer::new(left, &self.op, right);
        types.get_result_type()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (left, right) = sides(&args.args)?;
        match self.op {
            Operator::Plus => apply(left, right, add),
            Operator::Minus => apply(left, right, sub),
            _ => apply(left, right, mul),
        }
    }
}

fn sides<T>(args: &[T]) -> Result<(&T, &T)> {
    match args {
        [left, right] => Ok((left, right)),
        _ => Err(QueryError::Plan { message: "an operator takes two sides".into() }.into()),
    }
}
