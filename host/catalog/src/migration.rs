//! Bucket names that earlier releases wrote into the records of datasets.
//!
//! **Invariant**: a record says after the migration what it meant before: nothing is moved, and a second run changes nothing.

use lakehouse_journal::{Draft, EventKind, Stamp};
use lakehouse_storage::Record;
use lakehouse_types::{BucketName, DatasetName};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Catalog, CatalogError, DatasetRecord};

/// What a migration found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketMigration {
    /// Records that said another name for the primary bucket.
    pub renamed: usize,
    pub already_canonical: usize,
    /// Datasets.
    pub total: usize,
}

/// A dataset's record as it is stored, before an empty name is understood. Never written.
#[derive(Debug, Serialize, Deserialize)]
struct StoredBucket {
    name: DatasetName,
    bucket: String,
}

impl Record for StoredBucket {
    const COLLECTION: &'static str = DatasetRecord::COLLECTION;
    const FORMAT: u32 = DatasetRecord::FORMAT;
}

impl Catalog {
    /// Writes `primary` into every record whose bucket `is_legacy`, with one event if there was any.
    ///
    /// # Errors
    /// Those of the metadata store and the journal.
    pub async fn migrate_buckets(&self, by: &Stamp, is_legacy: impl Fn(&str) -> bool) -> Result<BucketMigration, CatalogError> {
        let stored = self.meta().collection::<StoredBucket>().all().await?;
        let legacy: Vec<DatasetName> =
            stored.into_iter().filter(|(_, record)| is_legacy(&record.bucket)).map(|(_, record)| record.name).collect();
        self.edit(by, |present, edit| {
            let mut renamed = Vec::new();
            for name in &legacy {
                // One that was deleted meanwhile has nothing to rename.
                if let Some(record) = present.datasets.get(name) {
                    edit.put_dataset(DatasetRecord { bucket: BucketName::primary(), ..DatasetRecord::clone(record) })?;
                    renamed.push(name);
                }
            }
            if !renamed.is_empty() {
                let details = json!({ "bucket": BucketName::primary(), "datasets": renamed });
                edit.event(Draft::new(EventKind::BucketMigrate, "primary").details(details));
            }
            let (renamed, total) = (renamed.len(), present.datasets.len());
            Ok(BucketMigration { renamed, already_canonical: total - renamed, total })
        })
        .await
    }
}
