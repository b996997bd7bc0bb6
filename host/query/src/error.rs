//! What can go wrong with a query, and what its caller is told.
//!
//! **Invariant**: no variant carries a value from a row. DataFusion's run-time messages quote the value that they choke on, so
//! they are dropped here and replaced by the name of the operation; its planning messages quote only the statement's own text.

use std::{collections::HashSet, error::Error, sync::Arc, time::Duration};

use arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use lakehouse_storage::is_damage;
use lakehouse_types::{Code, Fault, Members, QueryId};
use serde_json::json;

use crate::{
    places::{Operation, Place, places},
    similar::{closest, listing},
};

/// A failure of a query or of a view definition.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueryError {
    #[error("statement of {bytes} bytes exceeds the limit of {limit}")]
    StatementTooLarge { bytes: usize, limit: usize },
    #[error("statement does not parse: {message}")]
    Syntax { message: String },
    #[error("statement refused: {what}")]
    Refused { what: String },
    #[error("statement exceeds the limit of {limit} {what}")]
    TooComplex { what: &'static str, limit: usize },
    #[error("unknown table `{name}`")]
    UnknownTable { name: String, similar: Vec<String> },
    #[error("the bucket of `{relation}` is not declared")]
    BucketMissing { relation: String },
    /// Its table could not be read when the server started.
    #[error("`{relation}` could not be read when the server started")]
    Unreadable { relation: String },
    #[error("unknown column `{column}`")]
    UnknownColumn { column: String, known: Vec<String> },
    #[error("output column `{column}` appears twice")]
    DuplicateColumn { column: String },
    #[error("statement cannot be planned: {message}")]
    Plan { message: String },
    #[error("parameters do not fit the statement: {message}")]
    Parameters { message: String },
    #[error("query failed: {operation}")]
    Failed { operation: &'static str },
    /// At one of these places of the statement.
    #[error("query failed: {operation}")]
    FailedAt { operation: &'static str, at: Vec<Place> },
    #[error("`{function}` would build more than {limit} {unit}")]
    TooCostly { function: String, limit: u64, unit: &'static str },
    #[error("result exceeds the limit of {limit} rows")]
    TooManyRows { limit: u64 },
    #[error("definition of view `{view}` is invalid: {message}")]
    Definition { view: String, message: String },
    #[error("a rule of `{relation}` failed")]
    Rule {
        relation: String,
        #[source]
        fault: Arc<dyn Fault>,
    },
    #[error("query ran past its deadline of {deadline:?}")]
    Timeout { deadline: Duration },
    /// By somebody who may.
    #[error("query was cancelled")]
    Cancelled,
    #[error("no query `{id}` is known")]
    UnknownQuery { id: QueryId },
    #[error("query memory is used up")]
    Memory,
    #[error("{waiting} queries are waiting already")]
    Busy { waiting: usize },
    #[error("storage failed under a query: {detail}")]
    Storage { detail: String },
    #[error("a stored file is damaged")]
    Corrupt,
    #[error("internal error: {detail}")]
    Internal { detail: String },
}

impl Fault for QueryError {
    fn code(&self) -> Code {
        match self {
            Self::StatementTooLarge { .. } => Code::BodyTooLarge,
            Self::Syntax { .. } | Self::Plan { .. } | Self::TooComplex { .. } => Code::InvalidSql,
            Self::Refused { .. } => Code::StatementRefused,
            Self::UnknownTable { .. } => Code::UnknownTable,
            Self::BucketMissing { .. } => Code::BucketMissing,
            Self::Unreadable { .. } => Code::Corrupt,
            Self::UnknownColumn { .. } => Code::UnknownColumn,
            Self::DuplicateColumn { .. } => Code::DuplicateColumn,
            Self::Parameters { .. } => Code::InvalidParameter,
            Self::Failed { .. } | Self::FailedAt { .. } | Self::TooCostly { .. } => Code::QueryFailed,
            Self::TooManyRows { .. } => Code::ResultTooLarge,
            Self::Definition { .. } => Code::InvalidDefinition,
            Self::Rule { fault, .. } => fault.code(),
            Self::Timeout { .. } => Code::QueryTimeout,
            Self::Cancelled => Code::Cancelled,
            Self::UnknownQuery { .. } => Code::UnknownQuery,
            Self::Memory => Code::MemoryExceeded,
            Self::Busy { .. } => Code::Busy,
            Self::Storage { .. } => Code::StorageUnavailable,
            Self::Corrupt => Code::Corrupt,
            Self::Internal { .. } => Code::Internal,
        }
    }

    fn public(&self) -> String {
        match self {
            Self::StatementTooLarge { bytes, limit } => {
                format!("the statement has {bytes} bytes, the limit is {limit} ([query] max_sql_kib)")
            }
            Self::Syntax { message } => format!("the statement does not parse: {message}"),
            Self::Refused { what } => what.clone(),
            Self::TooComplex { what, limit } => format!("the statement has more than {limit} {what}"),
            Self::UnknownTable { name, similar } => match similar.as_slice() {
                [] => format!("table `{name}` does not exist, or your key may not read it"),
                some => {
                    format!("table `{name}` does not exist, or your key may not read it; did you mean {}?", listing(some, 3))
                }
            },
            Self::Unreadable { .. } => self.to_string(),
            Self::BucketMissing { relation } => {
                format!("the rows of `{relation}` are in a bucket that the server's settings do not name")
            }
            Self::UnknownColumn { column, known } => match closest(column, known.iter().map(String::as_str), 1).as_slice() {
                [] => format!("column `{column}` does not exist; there are {}", listing(known, 40)),
                [near, ..] => {
                    format!("column `{column}` does not exist; did you mean `{near}`? There are {}", listing(known, 40))
                }
            },
            Self::DuplicateColumn { column } => {
                format!(
                    "the result has two columns named `{column}`: name them apart with AS (rows=array takes equal names of two tables)"
                )
            }
            Self::Plan { message } | Self::Parameters { message } => message.clone(),
            Self::Failed { operation } => (*operation).to_owned(),
            Self::FailedAt { operation, at } => {
                let told: Vec<String> = at.iter().map(|place| format!("line {}, column {}", place.line, place.column)).collect();
                let which = if told.len() == 1 { "at" } else { "at one of" };
                format!("{operation}, {which} {}", told.join("; "))
            }
            Self::TooCostly { function, limit, unit } => format!("`{function}` would build more than {limit} {unit} at once"),
            Self::TooManyRows { limit } => format!("the result has more than {limit} rows, and this format cannot mark the cut"),
            Self::Definition { message, .. } => message.clone(),
            Self::Rule { relation, fault } => format!("{} (while reading `{relation}`)", fault.public()),
            Self::Timeout { deadline } => format!("the query ran past its deadline of {} ms", deadline.as_millis()),
            Self::Cancelled => "the query was cancelled".to_owned(),
            Self::UnknownQuery { id } => format!("query `{id}` is not known, or is another's"),
            Self::Memory => "the query needs more memory than [query] memory_mib leaves it".to_owned(),
            Self::Busy { waiting } => format!("{waiting} queries are waiting already"),
            Self::Storage { .. } => "a stored file could not be read".to_owned(),
            Self::Corrupt => "a stored file is damaged".to_owned(),
            Self::Internal { .. } => "the query failed inside the server".to_owned(),
        }
    }

    fn members(&self) -> Members {
        let mut members = match self {
            Self::Rule { fault, .. } => fault.members(),
            _ => Members::new(),
        };
        match self {
            Self::UnknownTable { similar, .. } if !similar.is_empty() => {
                members.insert("similar".into(), json!(similar));
            }
            Self::UnknownColumn { known, .. } => {
                members.insert("columns".into(), json!(known));
            }
            Self::FailedAt { at, .. } => {
                let places: Vec<_> = at.iter().map(|place| json!({ "line": place.line, "column": place.column })).collect();
                members.insert("at".into(), places.into());
            }
            Self::Rule { relation, .. } => {
                members.insert("relation".into(), json!(relation));
            }
            _ => {}
        }
        members
    }
}

impl From<QueryError> for DataFusionError {
    fn from(error: QueryError) -> Self {
        Self::External(Box::new(error))
    }
}

impl QueryError {
    /// From a failure while the statement was planned: its text and schemas may be told, nothing has read a row yet.
    pub(crate) fn planning(error: &DataFusionError) -> Self {
        if let Some(own) = embedded(error) {
            return own;
        }
        match error.find_root() {
            DataFusionError::SQL(parser, _) => Self::syntax(&parser.to_string()),
            DataFusionError::SchemaError(schema, _) => Self::schema(schema),
            DataFusionError::Plan(message) if message.contains("unique expression names") => {
                // `Projections require unique expression names but the expression "t.n" at position 0 and …`
                let column = message.split('"').nth(1).unwrap_or_default();
                Self::DuplicateColumn { column: bounded(column.rsplit('.').next().unwrap_or(column)) }
            }
            DataFusionError::Plan(message) | DataFusionError::NotImplemented(message) => {
                Self::Plan { message: bounded(strip_backtrace(message)) }
            }
            DataFusionError::Collection(errors) => errors.first().map_or(Self::Failed { operation: EVALUATE }, Self::planning),
            _ => Self::execution(error),
        }
    }

    /// From a failure while rows were read: the message is dropped, because it may quote them.
    pub(crate) fn execution(error: &DataFusionError) -> Self {
        if let Some(own) = embedded(error) {
            return own;
        }
        if is_damage(error) {
            return Self::Corrupt;
        }
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => Self::Memory,
            DataFusionError::ArrowError(arrow, _) => Self::arrow(arrow),
            DataFusionError::ObjectStore(store) => Self::Storage { detail: bounded(&store.to_string()) },
            DataFusionError::ParquetError(_) => Self::Corrupt,
            DataFusionError::IoError(error) => Self::Storage { detail: error.kind().to_string() },
            DataFusionError::ExecutionJoin(_) => Self::Internal { detail: "a query task ended early".into() },
            DataFusionError::Internal(_) => Self::Failed { operation: "an expression is not supported for these types" },
            _ => Self::Failed { operation: EVALUATE },
        }
    }

    /// From one of Arrow's kernels.
    pub(crate) fn arrow(error: &ArrowError) -> Self {
        let operation = match error {
            ArrowError::CastError(_) | ArrowError::ParseError(_) => CONVERT,
            ArrowError::DivideByZero => DIVIDE,
            ArrowError::ArithmeticOverflow(_) => OVERFLOW,
            ArrowError::MemoryError(_) => return Self::Memory,
            ArrowError::OffsetOverflowError(_) | ArrowError::DictionaryKeyOverflowError => "a column of text outgrew one batch",
            ArrowError::ParquetError(_) => return Self::Corrupt,
            _ => EVALUATE,
        };
        Self::Failed { operation }
    }

    /// The same, with the places of `sql` where it can have failed.
    #[must_use]
    pub(crate) fn placed(self, sql: &str) -> Self {
        let Self::Failed { operation } = self else { return self };
        let kind = match operation {
            CONVERT => Operation::Conversion,
            DIVIDE => Operation::Division,
            OVERFLOW => Operation::Arithmetic,
            _ => return self,
        };
        match places(sql, kind) {
            at if at.is_empty() => self,
            at => Self::FailedAt { operation, at },
        }
    }

    pub(crate) fn syntax(message: &str) -> Self {
        let message = message.trim_start_matches("sql parser error: ");
        if message.contains("recursion limit") {
            return Self::TooComplex { what: "levels of nesting", limit: crate::guard::MAX_NESTING };
        }
        Self::Syntax { message: bounded(message) }
    }

    fn schema(error: &SchemaError) -> Self {
        match error {
            SchemaError::FieldNotFound { field, valid_fields } => Self::UnknownColumn {
                column: field.flat_name(),
                known: once_each(valid_fields.iter().map(|column| column.name.clone())),
            },
            other => Self::Plan { message: bounded(&other.to_string()) },
        }
    }
}

/// Names in their order; what is joined with itself has each twice.
fn once_each(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = HashSet::new();
    names.filter(|name| seen.insert(name.clone())).collect()
}

const CONVERT: &str = "a value could not be converted to the type asked for";
const DIVIDE: &str = "a division by zero";
const OVERFLOW: &str = "a number left the range of its type";
const EVALUATE: &str = "an expression met a value that it cannot handle";

/// Our own error, however deep DataFusion has wrapped it.
fn embedded(error: &DataFusionError) -> Option<QueryError> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(own) = error.downcast_ref::<QueryError>() {
            return Some(own.clone());
        }
        next = error.source();
    }
    None
}

fn strip_backtrace(message: &str) -> &str {
    message.split("\n\nbacktrace: ").next().unwrap_or(message)
}

/// Keeps a message on one line and short enough for a problem.
fn bounded(message: &str) -> String {
    const LONGEST: usize = 600;
    let mut text: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    if text.len() < message.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::error::ArrowError;
    use datafusion::error::DataFusionError;
    use lakehouse_types::{Code, Fault};

    use super::QueryError;

    #[test]
    fn a_cast_error_keeps_its_value_to_itself() {
        let inner = ArrowError::CastError("Cannot cast string 'S3CR3T' to value of Int64 type".into());
        let error = QueryError::execution(&DataFusionError::ArrowError(Box::new(inner), None));
        assert_eq!(error.code(), Code::QueryFailed);
        assert!(!format!("{error:?} {error} {}", error.public()).contains("S3CR3T"));
    }

    #[test]
    fn an_own_error_survives_any_wrapping() {
        let own = DataFusionError::from(QueryError::Memory);
        let wrapped = DataFusionError::Shared(Arc::new(own.context("while joining")));
        let through_arrow = DataFusionError::ArrowError(Box::new(ArrowError::ExternalError(Box::new(wrapped))), None);
        assert!(matches!(QueryError::execution(&through_arrow), QueryError::Memory));
    }

    #[test]
    fn a_message_stays_on_one_line() {
        let error = QueryError::planning(&DataFusionError::Plan(format!("bad\nthing {}", "x".repeat(5_000))));
        assert!(error.public().chars().count() <= 601 && !error.public().contains('\n'));
    }
}
