//! The words that every crate shares: ids as newtypes, what went wrong and what to do about it, time and randomness, secrets.
//!
//! **Invariant**: an id of one of these types is well formed; nothing in this crate does I/O.

mod clock;
mod code;
mod fault;
mod ids;
mod secret;

pub use clock::{Clock, ManualClock, SystemClock, random_bytes};
pub use code::{Code, ErrorKind};
pub use fault::{Fault, Members};
pub use ids::{
    Actor, BucketName, ColumnName, DatasetId, DatasetName, Digest, IdError, IndexId, IndexName, KeyId, KeyName, PluginName,
    ProfileId, RequestId, RuleName, ViewName,
};
pub use secret::Secret;
