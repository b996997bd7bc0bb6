//! What a failure tells the outside.

use std::error::Error;

use crate::{Code, ErrorKind};

/// Extra members of a problem, for example `valid_buckets`.
pub type Members = serde_json::Map<String, serde_json::Value>;

/// A failure that can be told to the caller of the API.
///
/// `Display` and `source` are for the log; [`Fault::public`] is for the caller. Neither carries a value from a row.
pub trait Fault: Error + Send + Sync + 'static {
    /// The stable code.
    fn code(&self) -> Code;

    /// What the caller can do about it.
    fn kind(&self) -> ErrorKind {
        self.code().kind()
    }

    /// What was wrong, where, and what would be right. Names of tables, columns and keys of the config are fine, values are not.
    fn public(&self) -> String;

    /// Members beside `detail` that a program can read.
    fn members(&self) -> Members {
        Members::new()
    }
}
