//! Buckets: which there are, how they are, and what datasets call them.

use lakehouse_access::{Action, Caller};
use lakehouse_catalog::BucketMigration;
use lakehouse_storage::{BucketCounts, BucketHealth};
use lakehouse_types::BucketName;

use crate::{Engine, EngineError};

/// A bucket as its users see it.
#[derive(Debug, Clone)]
pub struct ShownBucket {
    pub name: BucketName,
    /// `local`, `memory` or `s3`.
    pub kind: &'static str,
    pub is_volatile: bool,
    pub health: BucketHealth,
    /// For those who manage buckets.
    pub inside: Option<BucketInside>,
}

/// Where a bucket is, and what it did since the start.
#[derive(Debug, Clone)]
pub struct BucketInside {
    /// A folder or a URL; no credential.
    pub location: String,
    pub counts: BucketCounts,
}

impl Engine {
    /// The names of all buckets, sorted. They are no secret: an unknown one is answered with the list.
    pub fn bucket_names(&self, _: &Caller) -> Vec<BucketName> {
        self.buckets.names()
    }

    /// All buckets, sorted, each asked whether it answers; within two seconds.
    pub async fn buckets(&self, caller: &Caller) -> Vec<ShownBucket> {
        let sees_inside = caller.principal.may(Action::ManageBuckets);
        let health = self.buckets.health().await;
        let shown = self.buckets.iter().zip(health).map(|(bucket, health)| ShownBucket {
            name: bucket.name().clone(),
            kind: bucket.kind().as_str(),
            is_volatile: bucket.is_volatile(),
            health,
            inside: sees_inside.then(|| BucketInside { location: bucket.location(), counts: bucket.counts() }),
        });
        shown.collect()
    }

    /// Writes `primary` into the records of datasets that say so in the words of earlier releases.
    ///
    /// # Errors
    /// When the caller may not; those of the metadata store.
    pub async fn migrate_buckets(&self, caller: &Caller) -> Result<BucketMigration, EngineError> {
        self.require(caller, Action::ManageBuckets).await?;
        let (catalog, buckets, by) = (self.catalog.clone(), self.buckets.clone(), self.stamp(caller));
        let migrate = async move { Ok(catalog.migrate_buckets(&by, |name| buckets.is_legacy_primary(name)).await?) };
        self.changes.to_the_end(migrate).await
    }
}
