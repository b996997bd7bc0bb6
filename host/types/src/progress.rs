//! How far long work has come, told to whoever watches, and whether to go on with it.
//!
//! **Invariant**: work that asks [`Progress::is_cancelled`] does so only where stopping leaves the state of before.

use std::fmt;

/// Watches long work.
pub trait Progress: fmt::Debug + Send + Sync {
    /// A stage begins: so many units of work, if that is known. The count of the stage before is over.
    fn begin(&self, unit: &'static str, total: Option<u64>);

    /// So many units more are done.
    fn advance(&self, by: u64);

    /// Whether the work is to stop at its next safe place.
    fn is_cancelled(&self) -> bool;
}

/// Nobody watches, and nobody stops it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Progress for Unwatched {
    fn begin(&self, _unit: &'static str, _total: Option<u64>) {}

    fn advance(&self, _by: u64) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}
