//! Which predicates may be evaluated before governance.

use arrow::datatypes::DataType;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

/// `column op literal` with both of one type, on a column that `given_as_is` says is given out unchanged: such a comparison never
/// fails, and tells nothing that the same comparison on the output does not tell.
pub(super) fn is_harmless(predicate: &Expr, given_as_is: impl Fn(&str) -> Option<DataType>) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = predicate else { return false };
    if !matches!(op, Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq) {
        return false;
    }
    let ((Expr::Column(column), Expr::Literal(literal, _)) | (Expr::Literal(literal, _), Expr::Column(column))) =
        (left.as_ref(), right.as_ref())
    else {
        return false;
    };
    given_as_is(column.name()).is_some_and(|data_type| data_type == literal.data_type() && is_plain(&data_type))
}

/// Types whose comparison is one machine or byte comparison.
fn is_plain(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Float32
                | DataType::Float64
                | DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
                | DataType::Date32
                | DataType::Date64
                | DataType::Timestamp(..)
                | DataType::Decimal128(..)
        )
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use datafusion::logical_expr::{cast, col, lit};

    use super::is_harmless;

    #[test]
    fn only_a_plain_comparison_goes_below() {
        let given = |name: &str| (name == "n").then_some(DataType::Int64);
        assert!(is_harmless(&col("n").eq(lit(1i64)), given));
        assert!(is_harmless(&lit(1i64).lt(col("n")), given));
        assert!(!is_harmless(&col("n").eq(lit(1i32)), given), "another type");
        assert!(!is_harmless(&col("secret").eq(lit(1i64)), given), "a redacted column");
        assert!(!is_harmless(&(col("n") + lit(1i64)).eq(lit(1i64)), given), "arithmetic");
        assert!(!is_harmless(&cast(col("n"), DataType::Utf8).eq(lit("1")), given), "a cast");
        assert!(!is_harmless(&col("n").eq(lit(1i64)).or(col("n").eq(lit(2i64))), given), "a disjunction");
    }
}
