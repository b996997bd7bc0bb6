//! Delta tables: one folder per dataset, one commit queue per table, one immutable state per version.
//!
//! **Invariants**: only this crate commits Delta. What [`TableWriter::finish`] has answered is durable and in the state that the
//! next [`Tables::dataset`] returns. Whatever stops the process between two object writes, the state after the next
//! [`Tables::open`] is the one before or the one after. No data value is in an error, a log line or a journal event.

mod burial; // hiding rows by key, and showing them again
mod commit; // intent → Delta commit → outcome, one at a time per table
mod compact; // small files into large ones, hidden rows gone for good
mod drop; // deleting a dataset
mod encode; // batches → Parquet files in the bucket
mod erase; // whose rows, and what they say
mod error;
mod fence; // no host of before ends what it began
mod folder; // where a dataset's files are, and when they go
mod follow; // what another host does, seen by one that reads
mod group; // appends that share a commit
mod log; // the Delta log
mod mark; // texts as small numbers
mod ordered; // sorted listings, which the Delta kernel relies on
mod outcomes; // answers of idempotent requests
mod provider; // Parquet files → DataFusion
mod publish; // what a commit leads to
mod records; // what is kept in metadata
mod repair; // from intents, at start
mod report;
mod retire; // files of earlier versions, and when they go
mod rewrite; // files written anew, without some rows
mod schema; // Arrow types that Delta stores, and how schemas grow
mod shape; // how files are
mod sieve; // a first look at keys
mod snapshot; // one version, as the log tells it
mod state; // the immutable face of one version
mod statistics; // minima, maxima, counts
mod table; // one dataset's queue
mod tables;
mod tombstones; // keys whose rows are hidden
mod upsert; // rows in the place of those with the same key
mod writer;

pub use burial::{Burial, BurialFailure, FailureReason, Restoration};
pub use compact::{CompactionReport, Gate, GateKeeper, Scope};
pub use erase::Subjects;
pub use error::TableError;
pub use records::{Idempotency, TombstonePage};
pub use report::{Column, CommitReport, Rejected, WriteMode};
pub use retire::Purged;
pub use schema::{MAX_COLUMNS, friendly, storable};
pub use shape::Shape;
pub use state::DatasetState;
pub use tables::{Begin, TableOptions, Tables, WriteSpec};
pub use tombstones::{Tombstones, key_text};
pub use writer::TableWriter;

#[cfg(test)]
mod tests;
