//! The live records move into a new folder, and the old one goes: nothing that was deleted or overwritten is left.
//!
//! A log-structured store keeps what was deleted until it happens to be merged away. Erasure cannot wait for that.
//!
//! **Invariant**: at every moment exactly one generation holds, and it has every acknowledged record. While records move, reads go
//! on and transactions wait.

use std::{sync::Arc, time::Duration};

use slatedb::{
    WriteBatch,
    config::{DurabilityLevel, FlushOptions, FlushType, ScanOptions},
};

use super::{Meta, Store, generation};
use crate::{Bucket, Result, StorageError};

/// How long open transactions are waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long reads of the old generation are waited for, before it is closed under them.
const LAST_READS: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(5);
/// Bytes of records that are written at once.
const BATCH_BYTES: usize = 256 << 10;

/// What a renewal did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    pub generation: u64,
    /// Records that live.
    pub records: u64,
    /// Their keys and values, bytes.
    pub bytes: u64,
}

impl Meta {
    /// Copies what is live into a new generation, switches to it, and deletes the old one. Runs to its end when the caller leaves.
    ///
    /// # Errors
    /// When transactions stay open for ten seconds, or the bucket fails: the old generation holds then. When it cannot be told which
    /// one holds, the store is closed; the next start looks.
    pub async fn renew(&self) -> Result<Renewal> {
        let meta = self.clone();
        self.runtime().spawn(async move { meta.renew_now().await }).await.map_err(|_| StorageError::TaskLost)?
    }

    async fn renew_now(&self) -> Result<Renewal> {
        let shared = &self.shared;
        let alone = tokio::time::timeout(PATIENCE, Arc::clone(&shared.gate).write_owned()).await;
        let _alone = alone.map_err(|_| StorageError::RenewalLate)?;
        let bucket = self.bucket()?;
        let old = self.store();
        old.db()?.flush().await?;
        let next = old.generation + 1;
        // One that holds already would be emptied by what follows.
        if generation::present(&bucket).await? != old.generation {
            return Err(StorageError::Superseded);
        }
        // Of a renewal that did not end.
        generation::clear(&bucket, next).await?;
        let new = Store::open(&bucket, &shared.options, next).await?;
        let (records, bytes) = copy(&old, &new).await?;
        new.db()?.flush_with_options(FlushOptions { flush_type: FlushType::MemTable }).await?;
        if let Err(error) = generation::switch(&bucket, next).await {
            // The marker may be there all the same, or come to be: both generations are whole and equal, and stay so, since nobody
            // writes to either before the next start has looked.
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the metadata store stops: it is not known which generation holds"
            );
            let _ = new.close().await;
            self.stop().await?;
            return Err(error);
        }
        shared.store.store(Arc::new(new));
        if let Err(error) = self.retire(&bucket, old).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "an old generation of the metadata stays until the next start"
            );
            return Err(error);
        }
        Ok(Renewal { generation: next, records, bytes })
    }

    /// Closes a generation when nobody reads it any more, and deletes it.
    async fn retire(&self, bucket: &Bucket, old: Arc<Store>) -> Result<()> {
        let until = tokio::time::Instant::now() + LAST_READS;
        while Arc::strong_count(&old) > 1 && tokio::time::Instant::now() < until {
            tokio::time::sleep(STEP).await;
        }
        // It is durable elsewhere: what closing cannot write is not missed.
        if let Err(error) = old.close().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "an old generation of the metadata did not close as it should"
            );
        }
        drop(old);
        self.sweep_others(bucket).await
    }

    /// Deletes what other generations left. For whoever keeps transactions out.
    pub(super) async fn sweep_others(&self, bucket: &Bucket) -> Result<()> {
        let left = generation::others(bucket, self.store().generation).await?;
        // This host writes, and did when the folders were listed: none of them is what a successor has begun.
        self.beat_alone().await?;
        generation::sweep(bucket, &left).await
    }
}

async fn copy(old: &Store, new: &Store) -> Result<(u64, u64)> {
    let options = ScanOptions { durability_filter: DurabilityLevel::Remote, read_ahead_bytes: 1 << 20, ..ScanOptions::default() };
    let db = new.db()?;
    let mut found = old.scan(.., &options).await?;
    let (mut batch, mut size) = (WriteBatch::new(), 0);
    let (mut records, mut bytes) = (0, 0);
    while let Some(row) = found.next().await? {
        size += row.key.len() + row.value.len();
        records += 1;
        batch.put(&row.key, &row.value);
        if size >= BATCH_BYTES {
            db.write(std::mem::take(&mut batch)).await?;
            bytes += size as u64;
            size = 0;
        }
    }
    if size > 0 {
        db.write(batch).await?;
        bytes += size as u64;
    }
    Ok((records, bytes))
}
