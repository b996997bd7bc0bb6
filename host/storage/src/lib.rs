//! Where bytes live: buckets (named object stores) and the metadata store.
//!
//! **Invariant**: what this crate has acknowledged is on stable storage, and one process at a time writes to a local
//! bucket (to a remote one, one metadata store at a time). Every byte that the host reads or writes passes through a [`Bucket`], so that retries, counts and injected faults
//! have one place.

mod absent;
mod bucket;
mod cache;
mod checksum;
mod collection;
mod compat;
mod convert;
mod error;
#[cfg(feature = "test-util")]
mod fault;
mod io;
mod lock;
mod meta;
mod metrics;
mod quiet;
mod readonly;
mod record;
mod retry;
mod s3;
mod store;
mod sweep;
mod transaction;
mod warm;

pub use bucket::{Bucket, BucketHealth, BucketKind, BucketOptions, BucketSpec, Buckets, Claim};
pub use checksum::is_damage;
pub use collection::Collection;
pub use error::{Result, StorageError};
pub use meta::{Beat, Meta, MetaOptions, Renewal};
pub use metrics::BucketCounts;
pub use quiet::{Quiet, quietly};
pub use record::Record;
pub use retry::RetryPolicy;
pub use s3::{S3Credentials, S3Spec, Unusable};
pub use transaction::{Submitted, Transaction};

pub use object_store;
pub use object_store_13;
