//! `config/lakehouse.toml` as typed, validated settings.
//!
//! **Invariant**: a [`Settings`] holds only values within their documented limits, and a key that nobody reads is an error, never
//! ignored. The shipped file states the built-in defaults: a test compares the two.

mod error;
mod import; // folders to import from
mod plugins; // the sandbox's ceilings and folders
mod query; // queries and ingest
mod s3; // buckets of S3-compatible services
mod section; // one TOML table, read key by key
mod server; // listening, TLS, keys, logging
mod settings; // the whole
mod source; // databases to ingest from
mod storage; // buckets, metadata, truth files
mod vector; // indexes and searches

pub use error::{Problem, SettingsError};
pub use import::ImportFolder;
pub use plugins::PluginSettings;
pub use query::{IngestSettings, QuerySettings};
pub use s3::{S3Keys, S3Settings};
pub use server::{AuthSettings, FlightSettings, LogFormat, LogSettings, ServerSettings, TlsSettings, TraceSettings};
pub use settings::Settings;
pub use source::{SourcePassword, SourceSettings, SourceTls};
pub use storage::{BucketSettings, CompactionSettings, StorageSettings, TruthSettings};
pub use vector::VectorSettings;
