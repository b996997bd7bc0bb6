//! Files become rows, and so do tables and queries of databases: CSV, TSV, JSON, NDJSON, Parquet and Arrow IPC, plain or
//! compressed; PostgreSQL.
//!
//! **Invariants**: memory is bounded whatever the file's size; types are inferred over the whole file, so that the last line
//! counts as much as the first; an ingest that fails leaves nothing behind; errors name lines, columns and types, never values.

mod cell; // one text as a typed value
mod column; // typed cells → Arrow arrays
mod columnar; // Parquet, Arrow IPC
mod delimited; // CSV, TSV
mod error;
mod format;
mod import; // files of a bucket
mod ingest;
mod json; // JSON, NDJSON
mod pattern; // names of objects
mod postgres; // PostgreSQL
mod records; // bytes → delimited records
mod rows; // batches on their way, rows left out
mod spool; // the body on disk
#[cfg(any(test, feature = "test-util"))]
pub mod testing; // a PostgreSQL server for tests
mod whole; // read and not committed

pub use error::IngestError;
pub use format::Format;
pub use import::ImportRequest;
pub use ingest::{Ingest, IngestMode, IngestOptions, IngestReport, IngestRequest, OnError, UnknownWord};
pub use pattern::PathPattern;
pub use postgres::{PasswordFrom, PostgresSource, PullRequest, Selection, SourceError, TableName, Tls};
pub use whole::{Pulled, WholeRead};
