//! What can be wrong with a database, or with what was asked of it.
//!
//! **Invariant**: a message of the database is never repeated, since it may quote values; its SQLSTATE is, in words of ours.

use std::io;
use std::time::Duration;

use lakehouse_types::{Code, Fault, Members, SourceName};
use tokio_postgres::error::{ErrorPosition, SqlState};

/// Why a database could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("the password of source `{name}` could not be looked up")]
    Password {
        name: SourceName,
        #[source]
        reason: io::Error,
    },
    #[error("source `{name}` cannot be reached")]
    Unreachable {
        name: SourceName,
        #[source]
        reason: io::Error,
    },
    #[error("source `{name}` did not let us in within {} ms", after.as_millis())]
    TooSlow { name: SourceName, after: Duration },
    #[error("source `{name}` does not let us in: {said}")]
    Closed { name: SourceName, state: String, said: &'static str },
    #[error("source `{name}` is read as a superuser, through whom a query could reach beyond the database")]
    Superuser { name: SourceName },
    #[error("source `{name}` went away before the last row")]
    Lost {
        name: SourceName,
        state: Option<String>,
        #[source]
        reason: Option<io::Error>,
    },
    #[error("reading source `{name}` took longer than {} ms", after.as_millis())]
    TimedOut { name: SourceName, after: Duration },
    /// The database's own refusal. `position` is a character of the query, from 1.
    #[error("source `{name}` refused it: {said}{}", at(*position))]
    Refused { name: SourceName, state: String, said: &'static str, position: Option<u32> },
    #[error("the query must be one SELECT")]
    NotASelect,
    #[error("the query has parameters: write values into it")]
    Parameters,
    #[error("the query answers no columns")]
    NoColumns,
    #[error("column `{column}` is {given}, which holds no values: leave it out or cast it")]
    ColumnType { column: String, given: String },
    #[error("row {row}, column `{column}`: the value does not fit type {expected}: it is {found}")]
    Value { row: u64, column: String, expected: String, found: &'static str },
    #[error("a row of source `{name}` is larger than {limit_mib} MiB")]
    RowTooLarge { name: SourceName, limit_mib: usize },
}

fn at(position: Option<u32>) -> String {
    position.map_or_else(String::new, |position| format!(" (at character {position} of the query)"))
}

impl SourceError {
    /// What the database says, or why it says nothing any more.
    pub(super) fn of(name: &SourceName, error: &tokio_postgres::Error, after: Duration) -> Self {
        let name = name.clone();
        let Some(told) = error.as_db_error() else {
            return Self::Lost { name, state: None, reason: io_reason(error) };
        };
        let state = told.code().code().to_owned();
        // Nobody but the timeout and ourselves cancels, and who cancels does not ask why.
        if *told.code() == SqlState::QUERY_CANCELED {
            return Self::TimedOut { name, after };
        }
        if matches!(state.get(..2), Some("08" | "57" | "58" | "XX" | "F0")) {
            return Self::Lost { name, state: Some(state), reason: None };
        }
        let position = match told.position() {
            Some(ErrorPosition::Original(position)) => Some(*position),
            _ => None,
        };
        Self::Refused { name, said: said(told.code()), state, position }
    }

    /// Why the database did not let us in.
    pub(super) fn at_the_door(name: &SourceName, error: &tokio_postgres::Error) -> Self {
        let name = name.clone();
        match error.as_db_error() {
            Some(told) => Self::Closed { name, said: said(told.code()), state: told.code().code().to_owned() },
            None => Self::Unreachable { name, reason: io_reason(error).unwrap_or_else(|| io::Error::other(error.to_string())) },
        }
    }

    /// A refusal of the wrapped statement has its place in a text that the caller does not know.
    pub(super) fn without_position(self) -> Self {
        match self {
            Self::Refused { name, state, said, .. } => Self::Refused { name, state, said, position: None },
            other => other,
        }
    }
}

/// The cause where it is not the database's word: of the network, of TLS, of our own reading.
pub(super) fn io_reason(error: &tokio_postgres::Error) -> Option<io::Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(reason) = inner.downcast_ref::<io::Error>() {
            return Some(io::Error::new(reason.kind(), reason.to_string()));
        }
        cause = inner.source();
    }
    None
}

/// What a SQLSTATE means.
fn said(code: &SqlState) -> &'static str {
    let exact = [
        (SqlState::UNDEFINED_TABLE, "there is no such table"),
        (SqlState::UNDEFINED_COLUMN, "there is no such column"),
        (SqlState::UNDEFINED_FUNCTION, "there is no such function or operator"),
        (SqlState::UNDEFINED_OBJECT, "there is no such type or object"),
        (SqlState::INVALID_SCHEMA_NAME, "there is no such schema"),
        (SqlState::AMBIGUOUS_COLUMN, "a column's name is ambiguous"),
        (SqlState::SYNTAX_ERROR, "it is not valid SQL, or more than one statement"),
        (SqlState::INSUFFICIENT_PRIVILEGE, "the source's user has no permission to read it"),
        (SqlState::READ_ONLY_SQL_TRANSACTION, "it writes, and sources are only read"),
        (SqlState::DATATYPE_MISMATCH, "types do not agree"),
        (SqlState::DIVISION_BY_ZERO, "a division by zero"),
        (SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "a number is out of range"),
        (SqlState::INVALID_TEXT_REPRESENTATION, "a text cannot be cast to the type asked for"),
        (SqlState::LOCK_NOT_AVAILABLE, "the table is locked"),
        (SqlState::INVALID_PASSWORD, "the password or the user is wrong"),
        (SqlState::INVALID_AUTHORIZATION_SPECIFICATION, "its rules do not admit this user from here"),
        (SqlState::INVALID_CATALOG_NAME, "there is no such database"),
        (SqlState::TOO_MANY_CONNECTIONS, "it has no connection free"),
        (SqlState::CANNOT_CONNECT_NOW, "it is starting or stopping"),
    ];
    if let Some((_, said)) = exact.iter().find(|(known, _)| known == code) {
        return said;
    }
    match code.code().get(..2) {
        Some("22") => "a value cannot be computed",
        Some("25") => "the statement does not go with a transaction that reads",
        Some("28") => "it does not know us",
        Some("40") => "another transaction was in the way",
        Some("42") => "the statement is not valid there",
        Some("53" | "54") => "its resources do not suffice",
        Some("0A") => "it does not support it",
        _ => "see its SQLSTATE",
    }
}

impl Fault for SourceError {
    fn code(&self) -> Code {
        match self {
            Self::Password { .. }
            | Self::Unreachable { .. }
            | Self::TooSlow { .. }
            | Self::Closed { .. }
            | Self::Superuser { .. }
            | Self::Lost { .. } => Code::SourceUnavailable,
            Self::TimedOut { .. } => Code::SourceTimeout,
            Self::Refused { .. } | Self::NotASelect | Self::Parameters | Self::NoColumns | Self::ColumnType { .. } => {
                Code::SourceRefused
            }
            Self::Value { .. } | Self::RowTooLarge { .. } => Code::InvalidData,
        }
    }

    fn public(&self) -> String {
        self.to_string()
    }

    fn members(&self) -> Members {
        let mut members = Members::new();
        let state = match self {
            Self::Closed { state, .. } | Self::Refused { state, .. } | Self::Lost { state: Some(state), .. } => {
                Some(state.as_str())
            }
            Self::TimedOut { .. } => Some(SqlState::QUERY_CANCELED.code()),
            _ => None,
        };
        members.extend(state.map(|state| ("sqlstate".to_owned(), state.into())));
        match self {
            Self::Value { row, column, .. } => {
                members.insert("row".to_owned(), (*row).into());
                members.insert("column".to_owned(), column.clone().into());
            }
            Self::ColumnType { column, .. } => {
                members.insert("column".to_owned(), column.clone().into());
            }
            Self::Refused { position: Some(position), .. } => {
                members.insert("position".to_owned(), (*position).into());
            }
            _ => {}
        }
        members
    }
}
