//! `a || b` as a function, so that it can be bounded: NULL when either side is NULL, and types as the operator has them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::kernels::concat_elements::concat_elements_dyn;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    type_coercion::binary::BinaryTypeCoercer,
};

use crate::error::QueryError;

const CONCAT: &str = "||";

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ConcatOperator {
    signature: Signature,
}

impl ConcatOperator {
    pub(super) fn udf() -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::new_from_impl(Self { signature: Signature::user_defined(Volatility::Immutable) }))
    }
}

fn sides<T>(args: &[T]) -> Result<(&T, &T)> {
    match args {
        [left, right] => Ok((left, right)),
        _ => Err(QueryError::Plan { message: "|| takes two sides".into() }.into()),
    }
}

/// `a || b || c` of nested calls, each operand named once: a name for each level would make long chains slow to plan.
fn joined(args: &[Expr]) -> String {
    let name = |expr: &Expr| expr.schema_name().to_string();
    let (mut args, mut names) = (args, Vec::new());
    while let [left, right] = args {
        names.push(name(right));
        match left {
            Expr::ScalarFunction(call) if call.name() == CONCAT => args = &call.args,
            other => {
                names.push(name(other));
                break;
            }
        }
    }
    names.reverse();
    names.join(" || ")
}

impl ScalarUDFImpl for ConcatOperator {
    fn name(&self) -> &'static str {
        CONCAT
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(joined(args))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// As the operator, and two sides that are no texts become texts.
    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let (left, right) = sides(arg_types)?;
        let coerced = BinaryTypeCoercer::new(left, &Operator::StringConcat, right).get_input_types();
        Ok(coerced.map_or_else(|_| vec![DataType::Utf8; 2], |(left, right)| vec![left, right]))
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let (left, right) = sides(arg_types)?;
        BinaryTypeCoercer::new(left, &Operator::StringConcat, right).get_result_type()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let arrays: Vec<ArrayRef> = args.args.into_iter().map(|arg| arg.into_array(rows)).collect::<Result<_>>()?;
        let (left, right) = sides(&arrays)?;
        let joined = concat_elements_dyn(left.as_ref() as &dyn Array, right.as_ref() as &dyn Array)?;
        Ok(if scalar { ColumnarValue::Scalar(ScalarValue::try_from_array(&joined, 0)?) } else { ColumnarValue::Array(joined) })
    }
}
