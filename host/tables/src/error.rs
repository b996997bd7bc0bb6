//! What can go wrong with a table.
//!
//! **Invariant**: names of datasets, columns and types may be told, values never.

use lakehouse_catalog::CatalogError;
use lakehouse_journal::JournalError;
use lakehouse_storage::{Quiet, StorageError, is_damage};
use lakehouse_types::{BucketName, Code, ColumnName, DatasetName, Fault, Members};

/// What can go wrong with a table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("dataset `{name}` does not exist")]
    UnknownDataset { name: DatasetName },
    /// Its definition and its tombstones are there.
    #[error("the rows of dataset `{dataset}` are gone: bucket `{bucket}` keeps them in memory, and the server was stopped since")]
    Lost { dataset: DatasetName, bucket: BucketName },
    /// Until a start can read it.
    #[error("dataset `{dataset}` could not be read when the server started: {why}")]
    Unreadable { dataset: DatasetName, why: &'static str },
    /// Until a start that has the bucket.
    #[error("dataset `{dataset}` lives in bucket `{bucket}`, which the server's settings do not name")]
    BucketMissing { dataset: DatasetName, bucket: BucketName },
    #[error("dataset `{dataset}` has no column `{column}`")]
    UnknownColumn { dataset: DatasetName, column: ColumnName },
    #[error("dataset `{dataset}` lives in bucket `{bucket}`, not in `{asked}`")]
    BucketMismatch { dataset: DatasetName, bucket: BucketName, asked: BucketName },
    #[error("column `{column}` is {stored}, the input has {given} (first at row {row})")]
    SchemaConflict { column: String, row: u64, stored: String, given: String },
    #[error("column `{given}` differs from column `{stored}` in case only")]
    NameConflict { stored: String, given: String },
    #[error("column `{column}` has type {given}, which a table cannot store")]
    UnstorableType { column: String, given: String },
    #[error("column `{column}` has a value near row {row} that {target} cannot hold")]
    OutOfRange { column: String, row: u64, target: String },
    #[error("columns `{first}` and `{second}` have the same name (case does not count)")]
    DuplicateColumn { first: String, second: String },
    #[error("column number {position} has no legal name: 1 to 255 bytes without control characters")]
    InvalidColumnName { position: usize },
    #[error("column `{column}` has a member without a legal name: 1 to 255 bytes without control characters")]
    InvalidMemberName { column: String },
    #[error("the dataset would have more than {limit} columns")]
    TooManyColumns { limit: usize },
    #[error("the input has no columns")]
    NoColumns,
    #[error("the row key column of dataset `{dataset}` is `{column}`, not `{asked}`")]
    KeyColumnMismatch { dataset: DatasetName, column: ColumnName, asked: ColumnName },
    #[error("column `{column}` is {given}; a row key is text or an integer")]
    KeyType { column: ColumnName, given: String },
    #[error("the idempotency key was used for another request")]
    IdempotencyMismatch,
    #[error("dataset `{dataset}` was deleted or replaced meanwhile")]
    Gone { dataset: DatasetName },
    #[error("the work on dataset `{dataset}` was cancelled; nothing was changed")]
    Cancelled { dataset: DatasetName },
    #[error("column `{column}` of row {row} is NULL: a row that is upserted needs a key")]
    NullKey { column: ColumnName, row: u64 },
    #[error("row {row} has the key of an earlier row in column `{column}`: an upsert takes each key once")]
    RepeatedKey { column: ColumnName, row: u64 },
    #[error("an upsert takes up to {limit} rows; ingest the rest as another, or use mode=replace")]
    TooManyKeys { limit: usize },
    #[error("an upsert into `{dataset}` needs `key`: the column that names rows")]
    NoKey { dataset: DatasetName },
    #[error("another writer changed dataset `{dataset}`")]
    Conflict { dataset: DatasetName, source: Quiet },
    #[error("whether the write to dataset `{dataset}` was committed is not known yet")]
    OutcomeUnknown { dataset: DatasetName },
    #[error("the table of dataset `{dataset}` is damaged: {what}")]
    Corrupt { dataset: DatasetName, what: &'static str },
    #[error("the Delta log of dataset `{dataset}` could not be used")]
    Delta { dataset: DatasetName, source: Quiet },
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("an object could not be read or written")]
    Object(#[from] object_store_13::Error),
    #[error("a data file could not be read or written")]
    Parquet(#[source] Quiet),
    #[error("a column could not be converted")]
    Arrow(#[source] Quiet),
    #[error("a table scan failed")]
    Scan(#[source] Quiet),
    #[error("a record could not be coded")]
    Json(#[source] Quiet),
    #[error("a task was cancelled or panicked")]
    Task(#[from] tokio::task::JoinError),
    #[error("a file could not be written")]
    Io(#[from] std::io::Error),
    #[error("{what}")]
    Internal { what: &'static str },
}

macro_rules! quiet {
    ($($variant:ident($library:ty)),*) => {
        $(impl From<$library> for TableError {
            fn from(error: $library) -> Self {
                Self::$variant(Quiet::of(error))
            }
        })*
    };
}

quiet!(
    Parquet(parquet::errors::ParquetError),
    Arrow(arrow::error::ArrowError),
    Scan(datafusion::error::DataFusionError),
    Json(serde_json::Error)
);

impl Fault for TableError {
    fn code(&self) -> Code {
        match self {
            Self::UnknownDataset { .. } | Self::Lost { .. } => Code::UnknownDataset,
            Self::BucketMissing { .. } => Code::BucketMissing,
            Self::UnknownColumn { .. } => Code::UnknownColumn,
            Self::BucketMismatch { .. } => Code::BucketMismatch,
            Self::SchemaConflict { .. } | Self::NameConflict { .. } => Code::SchemaConflict,
            Self::UnstorableType { .. }
            | Self::OutOfRange { .. }
            | Self::DuplicateColumn { .. }
            | Self::InvalidColumnName { .. }
            | Self::InvalidMemberName { .. }
            | Self::TooManyColumns { .. }
            | Self::NullKey { .. }
            | Self::RepeatedKey { .. }
            | Self::NoColumns => Code::InvalidData,
            Self::TooManyKeys { .. } => Code::BodyTooLarge,
            Self::Cancelled { .. } => Code::Cancelled,
            Self::KeyColumnMismatch { .. } => Code::KeyColumnMismatch,
            Self::KeyType { .. } | Self::NoKey { .. } => Code::InvalidParameter,
            Self::IdempotencyMismatch => Code::IdempotencyMismatch,
            Self::Gone { .. } | Self::Conflict { .. } => Code::WriteConflict,
            Self::OutcomeUnknown { .. } => Code::OutcomeUnknown,
            Self::Corrupt { .. } | Self::Unreadable { .. } => Code::Corrupt,
            Self::Catalog(error) => error.code(),
            Self::Journal(error) => error.code(),
            Self::Storage(error) => error.code(),
            Self::Delta { .. } | Self::Object(_) | Self::Parquet(_) | Self::Scan(_) if is_damage(self) => Code::Corrupt,
            Self::Delta { .. } | Self::Object(_) | Self::Io(_) => Code::StorageUnavailable,
            Self::Parquet(_) | Self::Arrow(_) | Self::Scan(_) | Self::Json(_) | Self::Task(_) | Self::Internal { .. } => {
                Code::Internal
            }
        }
    }

    fn public(&self) -> String {
        match self {
            Self::Catalog(error) => error.public(),
            Self::Journal(error) => error.public(),
            Self::Storage(error) => error.public(),
            Self::Delta { .. } | Self::Object(_) | Self::Parquet(_) | Self::Scan(_) if is_damage(self) => {
                "a stored file is damaged".to_owned()
            }
            Self::Delta { .. } | Self::Object(_) | Self::Io(_) => "the storage did not answer as it should".to_owned(),
            Self::Parquet(_) | Self::Arrow(_) | Self::Scan(_) | Self::Json(_) | Self::Task(_) | Self::Internal { .. } => {
                "the table could not be read or written".to_owned()
            }
            other => other.to_string(),
        }
    }

    fn members(&self) -> Members {
        match self {
            Self::Catalog(error) => error.members(),
            Self::Journal(error) => error.members(),
            Self::Storage(error) => error.members(),
            Self::SchemaConflict { column, row, stored, given } => Members::from_iter([
                ("column".to_owned(), column.clone().into()),
                ("row".to_owned(), (*row).into()),
                ("stored_type".to_owned(), stored.clone().into()),
                ("given_type".to_owned(), given.clone().into()),
            ]),
            Self::BucketMismatch { bucket, .. } | Self::BucketMissing { bucket, .. } => {
                Members::from_iter([("bucket".to_owned(), bucket.as_str().into())])
            }
            Self::KeyColumnMismatch { column, .. } => Members::from_iter([("row_key_column".to_owned(), column.as_str().into())]),
            _ => Members::new(),
        }
    }
}
