//! What an erasure proves.
//!
//! **Invariant**: subjects stand in it as keyed hashes; nothing else of them does.

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use lakehouse_catalog::DatasetRecord;
use lakehouse_storage::{
    Buckets, Record,
    object_store::{ObjectStore, ObjectStoreExt, path::Path},
};
use lakehouse_types::{Actor, BucketName, CertificateId, ColumnName, DatasetId, DatasetName, IndexName, RequestId};
use serde::{Deserialize, Serialize};

use super::{participants::Order, scan::ScanReport};
use crate::EngineError;

/// Where buckets keep copies.
const FOLDER: &str = "_erasures";

/// That some subjects were erased from a dataset and all that was made of it, how, and what a search for them found afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    pub id: CertificateId,
    pub dataset: DatasetName,
    pub dataset_id: DatasetId,
    pub bucket: BucketName,
    pub column: ColumnName,
    /// Counts the erasures of the dataset. The table bears the number of the last that it has been through.
    pub number: u64,
    /// Keyed hashes of the row keys, in no order. The key never leaves this lakehouse.
    pub subjects: Vec<String>,
    pub requested_by: Actor,
    pub request_id: RequestId,
    pub begun_at: DateTime<Utc>,
    pub ended_at: DateTime<Utc>,
    /// Rows that were there, hidden ones included.
    pub rows_erased: u64,
    pub tombstones_removed: u64,
    /// The first version without them.
    pub version: u64,
    pub files_rewritten: u64,
    /// Data files of earlier versions.
    pub files_removed: u64,
    /// Commits and checkpoints of the Delta log.
    pub log_files_removed: u64,
    pub indexes: Vec<ErasedIndex>,
    /// The generation of the metadata store that took the place of the one that knew the keys.
    pub metadata_generation: u64,
    pub scan: ScanReport,
}

/// An index over the dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedIndex {
    pub index: IndexName,
    pub rows_removed: u64,
    pub segments_rewritten: u64,
    /// What it may keep could not be told: it holds nothing until its next refresh.
    pub is_emptied: bool,
}

impl Record for Certificate {
    const COLLECTION: &'static str = "erasures";
    const FORMAT: u32 = 1;
}

impl Certificate {
    /// Of an erasure that begins.
    pub(super) fn begin(dataset: &DatasetRecord, order: &Order, subjects: Vec<String>) -> Self {
        Self {
            id: CertificateId::fresh(),
            dataset: dataset.name.clone(),
            dataset_id: dataset.id.clone(),
            bucket: dataset.bucket.clone(),
            column: order.column.clone(),
            number: order.number,
            subjects,
            requested_by: order.by.actor.clone(),
            request_id: order.by.request_id.clone(),
            begun_at: order.by.at,
            ended_at: order.by.at,
            rows_erased: 0,
            tombstones_removed: 0,
            version: 0,
            files_rewritten: 0,
            files_removed: 0,
            log_files_removed: 0,
            indexes: Vec::new(),
            metadata_generation: 0,
            scan: ScanReport::default(),
        }
    }

    /// Puts a copy into every bucket that lasts: each knows of the erasure when another one is replaced by an older copy.
    pub(super) async fn write_copies(&self, buckets: &Buckets) -> Result<(), EngineError> {
        let bytes = serde_json::to_vec(self).map_err(|_| EngineError::Lost("a certificate has no JSON form"))?;
        for bucket in buckets.iter().filter(|bucket| !bucket.is_volatile()) {
            let path = Path::from_iter([FOLDER.to_owned(), format!("{}.json", self.id)]);
            bucket.store().put(&path, bytes.clone().into()).await.map_err(|error| bucket.error(error))?;
        }
        Ok(())
    }

    /// The copies in all buckets. One that cannot be read is an error: it may ask for an erasure.
    pub(super) async fn read_copies(buckets: &Buckets) -> Result<Vec<Self>, EngineError> {
        let mut found: Vec<Self> = Vec::new();
        for bucket in buckets.iter().filter(|bucket| !bucket.is_volatile()) {
            let store = bucket.store();
            let listed: Vec<_> =
                store.list(Some(&Path::from(FOLDER))).try_collect().await.map_err(|error| bucket.error(error))?;
            for object in listed {
                let bytes = async { store.get(&object.location).await?.bytes().await };
                let bytes = bytes.await.map_err(|error| bucket.error(error))?;
                let copy: Self = serde_json::from_slice(&bytes).map_err(|_| EngineError::DamagedCertificate {
                    bucket: bucket.name().clone(),
                    object: object.location.to_string(),
                })?;
                if !found.iter().any(|other| other.id == copy.id) {
                    found.push(copy);
                }
            }
        }
        Ok(found)
    }
}
