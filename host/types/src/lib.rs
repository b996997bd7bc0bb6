//! The words that every crate shares: ids as newtypes, what went wrong and what to do about it, time and randomness, secrets.
//!
//! **Invariant**: an id of one of these types is well formed; nothing in this crate does I/O.

mod clock;
mod code;
mod fault;
mod ids;
mod progress;
mod secret;

pub use clock::{Clock, ManualClock, SystemClock, random_bytes};
pub use code::{Code, ErrorKind};
pub use fault::{Fault, Members};
pub use ids::{
    Actor, BucketName, CertificateId, ColumnName, DatasetId, DatasetName, Digest, GrantId, GroupName, IdError, IndexId,
    IndexName, JobId, KeyId, KeyName, PluginName, ProfileId, QueryId, RequestId, RuleName, SourceName, ViewName,
};
pub use progress::{Progress, Unwatched};
pub use secret::Secret;
