//! What each bucket did, as plain counters.
//!
//! **Invariant**: counters only grow; reading them costs nothing and takes no lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The counters of one bucket since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BucketCounts {
    /// Reads of objects, their heads included; one per call, however many ranges.
    pub reads: u64,
    /// Objects written: puts, completed multipart uploads, copies and renames.
    pub writes: u64,
    /// Objects deleted.
    pub deletes: u64,
    /// Listings begun.
    pub lists: u64,
    /// Calls that failed for good. A missing object, a name that was taken or a call that the
    /// store does not offer is an answer, not a failure.
    pub errors: u64,
    /// Calls that were repeated after a transient failure.
    pub retries: u64,
    /// Bytes asked for by successful reads.
    pub read_bytes: u64,
    /// Bytes handed over to successful writes.
    pub written_bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) reads: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) deletes: AtomicU64,
    pub(crate) lists: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) read_bytes: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> BucketCounts {
        BucketCounts {
            reads: self.reads.load(Relaxed),
            writes: self.writes.load(Relaxed),
            deletes: self.deletes.load(Relaxed),
            lists: self.lists.load(Relaxed),
            errors: self.errors.load(Relaxed),
            retries: self.retries.load(Relaxed),
            read_bytes: self.read_bytes.load(Relaxed),
            written_bytes: self.written_bytes.load(Relaxed),
        }
    }

    /// Counts a failure and hands the outcome on.
    pub(crate) fn watch<T>(&self, outcome: object_store::Result<T>) -> object_store::Result<T> {
        use object_store::Error;
        if let Err(error) = &outcome
            && !matches!(
                error,
                Error::NotFound { .. }
                    | Error::AlreadyExists { .. }
                    | Error::Precondition { .. }
                    | Error::NotModified { .. }
                    | Error::NotImplemented { .. }
                    | Error::NotSupported { .. }
            )
        {
            self.errors.fetch_add(1, Relaxed);
        }
        outcome
    }
}

pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Relaxed);
}
