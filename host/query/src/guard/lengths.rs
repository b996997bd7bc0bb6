//! Types whose values have a fixed length.
//!
//! **Invariant**: none passes, however deep it is named: such a length is allocated for each row, NULLs included, and for constants
//! already while the statement is planned, before any limit can see it.

use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType, Expr};

/// Whether an expression names such a type itself; its parts are looked at on their own.
pub(super) fn names_fixed_length(expr: &Expr) -> bool {
    match expr {
        Expr::Cast { data_type, .. } | Expr::Convert { data_type: Some(data_type), .. } => is_fixed(data_type),
        Expr::TypedString(typed) => is_fixed(&typed.data_type),
        Expr::Struct { fields, .. } => fields.iter().any(|field| is_fixed(&field.field_type)),
        _ => false,
    }
}

fn is_fixed(data_type: &DataType) -> bool {
    match data_type {
        DataType::FixedString(_) => true,
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, length)) => length.is_some() || is_fixed(element),
        DataType::Array(ArrayElemTypeDef::AngleBracket(inner) | ArrayElemTypeDef::Parenthesis(inner))
        | DataType::Nullable(inner)
        | DataType::LowCardinality(inner) => is_fixed(inner),
        DataType::Map(key, value) => is_fixed(key) || is_fixed(value),
        DataType::Struct(fields, _) | DataType::Tuple(fields) => fields.iter().any(|field| is_fixed(&field.field_type)),
        DataType::Union(fields) => fields.iter().any(|field| is_fixed(&field.field_type)),
        DataType::Nested(columns) | DataType::Table(Some(columns)) | DataType::NamedTable { columns, .. } => {
            columns.iter().any(|column| is_fixed(&column.data_type))
        }
        _ => false,
    }
}
