//! What can be wrong with an input.
//!
//! **Invariant**: lines, columns and types may be told, values never.

use lakehouse_storage::Quiet;
use lakehouse_tables::TableError;
use lakehouse_types::{Code, Fault, Members};

use crate::format::FORMATS;
use crate::postgres::SourceError;

/// Why an ingest failed.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("the format is not known: send format={FORMATS}, a file name with such an ending, or a Content-Type")]
    UnknownFormat,
    #[error("the input is empty")]
    Empty,
    #[error("the input is UTF-16: send UTF-8")]
    Utf16,
    #[error("header columns {first} and {second} are both named `{name}` (case does not count)")]
    DuplicateHeader { name: String, first: usize, second: usize },
    #[error("the header's column {column} has no legal name: at most 255 bytes of UTF-8 without control characters")]
    HeaderName { column: usize },
    #[error("line {line} has {found} columns, the header has {expected}")]
    Ragged { line: u64, expected: usize, found: usize },
    #[error("line {line}, column {column}: {what}")]
    Malformed { line: u64, column: usize, what: &'static str },
    #[error("line {line}, column `{column}`: the value is not UTF-8 text")]
    NotText { line: u64, column: String },
    /// `found` is the kind of value, like "text" or "a fraction".
    #[error("line {line}, column `{column}`: the value does not fit type {expected}: it is {found}")]
    Value { line: u64, column: String, expected: String, found: &'static str },
    #[error("column `{column}` is {given}, which {format} cannot hold")]
    ColumnKind { column: String, given: String, format: &'static str },
    #[error("line {line}: a row must be a JSON object")]
    NotAnObject { line: u64 },
    #[error("the input has more than {limit} columns")]
    TooManyColumns { limit: usize },
    #[error("the objects of the input have more than {limit} different members in all")]
    TooManyMembers { limit: usize },
    #[error("{part} is larger than {limit_mib} MiB: write it in smaller ones")]
    PartTooLarge { part: &'static str, limit_mib: u64 },
    #[error("line {line}: the record is longer than {limit_bytes} bytes")]
    RecordTooLarge { line: u64, limit_bytes: usize },
    #[error("the input is larger than {limit_mib} MiB once decompressed")]
    TooLarge { limit_mib: u64 },
    #[error("the {what} data is broken")]
    Broken {
        what: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the body ended early")]
    Body(#[source] std::io::Error),
    #[error("no file matches the path")]
    NoFiles,
    #[error("the path matches more than {files} files, or more than {objects} objects stand below it: import in smaller parts")]
    TooManyFiles { files: usize, objects: usize },
    #[error("the file could not be read: it is gone, has changed since it was listed, or its bucket does not answer")]
    Object(#[source] object_store::Error),
    #[error("file `{file}` could not be read")]
    InFile {
        file: String,
        #[source]
        error: Box<IngestError>,
    },
    #[error("the spool file could not be used")]
    Spool(#[source] std::io::Error),
    #[error("an array could not be built")]
    Arrow(#[source] Quiet),
    #[error("the writer stopped")]
    Stopped,
    #[error("a reader task ended abnormally")]
    Task(#[from] tokio::task::JoinError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Table(#[from] TableError),
}

impl IngestError {
    /// Of one file among several.
    pub(crate) fn in_file(self, file: &str) -> Self {
        Self::InFile { file: file.to_owned(), error: Box::new(self) }
    }

    /// The reason without the line, for a list of rejected rows.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Ragged { expected, found, .. } => format!("{found} columns, the header has {expected}"),
            Self::NotText { column, .. } => format!("column `{column}`: the value is not UTF-8 text"),
            Self::Value { column, expected, found, .. } => {
                format!("column `{column}`: the value does not fit type {expected}: it is {found}")
            }
            Self::Malformed { column, what, .. } => format!("column {column}: {what}"),
            Self::NotAnObject { .. } => "a row must be a JSON object".to_owned(),
            other => other.to_string(),
        }
    }
}

impl From<arrow::error::ArrowError> for IngestError {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::Arrow(Quiet::of(error))
    }
}

impl Fault for IngestError {
    fn code(&self) -> Code {
        match self {
            Self::UnknownFormat => Code::UnsupportedFormat,
            Self::Empty
            | Self::Utf16
            | Self::DuplicateHeader { .. }
            | Self::HeaderName { .. }
            | Self::Ragged { .. }
            | Self::Malformed { .. }
            | Self::NotText { .. }
            | Self::Value { .. }
            | Self::ColumnKind { .. }
            | Self::NotAnObject { .. }
            | Self::TooManyColumns { .. }
            | Self::TooManyMembers { .. }
            | Self::PartTooLarge { .. }
            | Self::RecordTooLarge { .. }
            | Self::Broken { .. }
            | Self::NoFiles
            | Self::TooManyFiles { .. } => Code::InvalidData,
            Self::InFile { error, .. } => error.code(),
            Self::TooLarge { .. } => Code::BodyTooLarge,
            Self::Body(_) => Code::InvalidBody,
            Self::Spool(_) | Self::Object(_) => Code::StorageUnavailable,
            Self::Arrow(_) | Self::Task(_) | Self::Stopped => Code::Internal,
            Self::Source(error) => error.code(),
            Self::Table(error) => error.code(),
        }
    }

    fn public(&self) -> String {
        match self {
            Self::Source(error) => error.public(),
            Self::Table(error) => error.public(),
            Self::InFile { file, error } => format!("file `{file}`: {}", error.public()),
            Self::Arrow(_) | Self::Task(_) | Self::Stopped => "the input could not be read".to_owned(),
            other => other.to_string(),
        }
    }

    fn members(&self) -> Members {
        let mut members = Members::new();
        match self {
            Self::Source(error) => return error.members(),
            Self::Table(error) => return error.members(),
            Self::InFile { file, error } => {
                members = error.members();
                members.insert("file".to_owned(), file.clone().into());
            }
            Self::Malformed { line, column, .. } => {
                members.insert("line".to_owned(), (*line).into());
                members.insert("column".to_owned(), (*column).into());
            }
            Self::NotText { line, column } | Self::Value { line, column, .. } => {
                members.insert("line".to_owned(), (*line).into());
                members.insert("column".to_owned(), column.clone().into());
            }
            Self::Ragged { line, .. } | Self::NotAnObject { line } | Self::RecordTooLarge { line, .. } => {
                members.insert("line".to_owned(), (*line).into());
            }
            _ => {}
        }
        members
    }
}
