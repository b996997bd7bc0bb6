//! What the server says of itself: `GetSqlInfo`, `GetXdbcTypeInfo`, `GetTableTypes`.

use std::sync::LazyLock;

use arrow::error::ArrowError;
use arrow_flight::sql::{
    Nullable, Searchable, SqlInfo, SqlSupportedCaseSensitivity, SqlSupportedTransaction, XdbcDataType,
    metadata::{SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder},
};

/// What [`crate::catalog`] calls the kinds of relations.
pub(crate) const TABLE: &str = "TABLE";
pub(crate) const VIEW: &str = "VIEW";
pub(crate) const SYSTEM_TABLE: &str = "SYSTEM TABLE";

pub(crate) static SQL_INFO: LazyLock<Result<SqlInfoData, ArrowError>> = LazyLock::new(|| {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "lakehouse");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    info.append(SqlInfo::FlightSqlServerReadOnly, true);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    info.append(SqlInfo::FlightSqlServerCancel, false);
    info.append(SqlInfo::FlightSqlServerStatementTimeout, 0i32);
    info.append(SqlInfo::FlightSqlServerTransactionTimeout, 0i32);
    info.append(SqlInfo::SqlDdlCatalog, false);
    info.append(SqlInfo::SqlDdlSchema, false);
    info.append(SqlInfo::SqlDdlTable, false);
    info.append(SqlInfo::SqlIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    info.append(SqlInfo::SqlQuotedIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityCaseInsensitive as i32);
    info.append(SqlInfo::SqlAllTablesAreSelectable, true);
    info.build().map_err(|error| ArrowError::ExternalError(Box::new(error)))
});

pub(crate) static TYPES: LazyLock<Result<XdbcTypeInfoData, ArrowError>> = LazyLock::new(|| {
    let mut types = XdbcTypeInfoDataBuilder::new();
    for (name, data_type, size, quoted, signed) in [
        ("BOOLEAN", XdbcDataType::XdbcBit, 1, false, None),
        ("BIGINT", XdbcDataType::XdbcBigint, 19, false, Some(false)),
        ("DOUBLE", XdbcDataType::XdbcDouble, 15, false, Some(false)),
        ("DECIMAL", XdbcDataType::XdbcDecimal, 76, false, Some(false)),
        ("VARCHAR", XdbcDataType::XdbcVarchar, i32::MAX, true, None),
        ("VARBINARY", XdbcDataType::XdbcVarbinary, i32::MAX, true, None),
        ("DATE", XdbcDataType::XdbcDate, 10, true, None),
        ("TIME", XdbcDataType::XdbcTime, 15, true, None),
        ("TIMESTAMP", XdbcDataType::XdbcTimestamp, 29, true, None),
    ] {
        let quote = quoted.then(|| "'".to_owned());
        types.append(XdbcTypeInfo {
            type_name: name.to_owned(),
            data_type,
            column_size: Some(size),
            literal_prefix: quote.clone(),
            literal_suffix: quote,
            nullable: Nullable::NullabilityNullable,
            case_sensitive: name == "VARCHAR",
            searchable: Searchable::Full,
            unsigned_attribute: signed,
            sql_data_type: data_type,
            ..XdbcTypeInfo::default()
        });
    }
    types.build().map_err(|error| ArrowError::ExternalError(Box::new(error)))
});

#[cfg(test)]
mod tests {
    use super::{SQL_INFO, TYPES};

    #[test]
    fn the_server_can_say_what_it_is() {
        let info = SQL_INFO.as_ref().unwrap();
        assert!(info.record_batch([]).unwrap().num_rows() > 10);
        assert_eq!(info.record_batch([0]).unwrap().num_rows(), 1);
        assert_eq!(TYPES.as_ref().unwrap().record_batch(None).unwrap().num_rows(), 9);
    }
}
