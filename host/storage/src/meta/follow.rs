//! The metadata that another host writes, read a moment later.
//!
//! **Invariant**: nothing is written, not even a checkpoint: the files of the store are not kept for a reader. One whose files went opens
//! the store again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use slatedb::{DbReader, DbReaderMode, config::DbReaderOptions};

use super::{Access, Meta, MetaOptions, Store, generation};
use crate::{Bucket, Result, StorageError, cache::BlockCache};

/// How often what was written is looked for.
const POLL: Duration = Duration::from_millis(250);
/// How often another generation is looked for.
const LOOK_FOR_GENERATION: Duration = Duration::from_secs(2);

/// No commit has this number.
const NOTHING: u64 = u64::MAX;

/// How far a reader has come.
#[derive(Debug)]
pub(super) struct Followed {
    began: Instant,
    /// The last commit that was seen.
    seq: AtomicU64,
    /// Milliseconds after `began`: when the generation was looked for.
    looked: AtomicU64,
}

impl Default for Followed {
    fn default() -> Self {
        Self { began: Instant::now(), seq: AtomicU64::new(NOTHING), looked: AtomicU64::new(0) }
    }
}

impl Meta {
    /// Opens the store in `bucket` to read what another host writes.
    ///
    /// # Errors
    /// [`StorageError::Empty`] when there is none; when the bucket fails.
    pub async fn follow(bucket: &Bucket, options: MetaOptions) -> Result<Self> {
        let store = Store::follow(bucket, generation::present(bucket).await?).await?;
        Ok(Self::over(store, bucket, options))
    }

    /// After a read that failed: whether the records have moved to another generation meanwhile, where they can be read now.
    pub(crate) async fn has_moved(&self, from: &Store) -> bool {
        let Access::Read(_) = from.access else { return false };
        let moved = async {
            let bucket = self.bucket()?;
            let generation = generation::present(&bucket).await?;
            let store = self.store();
            if generation != store.generation {
                self.move_to(&bucket, generation, &store).await?;
            }
            Ok::<_, StorageError>(self.store().generation != from.generation)
        };
        moved.await.unwrap_or(false)
    }

    /// Whether there is anything new since the last call that said so. For a store that follows; whoever writes knows.
    ///
    /// # Errors
    /// When the bucket fails; the next call tries again.
    pub async fn refresh(&self) -> Result<bool> {
        let store = self.store();
        let Access::Read(reader) = &store.access else { return Ok(false) };
        let followed = &self.shared.followed;
        let status = reader.status();
        let now = u64::try_from(followed.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let look = u64::try_from(LOOK_FOR_GENERATION.as_millis()).unwrap_or(u64::MAX);
        if status.close_reason.is_some() || now >= followed.looked.load(Relaxed) + look {
            let bucket = self.bucket()?;
            let generation = generation::present(&bucket).await?;
            followed.looked.store(now, Relaxed);
            if status.close_reason.is_some() || generation != store.generation {
                self.move_to(&bucket, generation, &store).await?;
            }
        }
        // Also what another call moved to is new to this one.
        let seq = self.store().status().durable_seq;
        Ok(followed.seq.swap(seq, Relaxed) != seq)
    }

    /// Reads a generation from now on.
    async fn move_to(&self, bucket: &Bucket, generation: u64, from: &Arc<Store>) -> Result<()> {
        let next = Arc::new(Store::follow(bucket, generation).await?);
        let has_moved = Arc::ptr_eq(&self.shared.store.compare_and_swap(from, Arc::clone(&next)), from);
        // Of two that moved at once, one did for both. Reads of before that are under way fail, and are asked again.
        let left = if has_moved { from } else { &next };
        self.shared.followed.seq.store(NOTHING, Relaxed);
        let _ = left.close().await;
        Ok(())
    }
}

impl Store {
    async fn follow(bucket: &Bucket, generation: u64) -> Result<Self> {
        let options = DbReaderOptions {
            manifest_poll_interval: POLL,
            max_memtable_bytes: 16 << 20,
            object_store_max_retries: Some(5),
            ..DbReaderOptions::default()
        };
        let build = DbReader::builder(generation::folder(generation), bucket.store())
            .with_reader_mode(DbReaderMode::FollowLatest)
            .with_options(options)
            .with_db_cache(Arc::new(BlockCache::default()), 0)
            .build();
        let opened = bucket.io().spawn(build).await.map_err(|_| StorageError::TaskLost)?;
        match opened {
            Ok(reader) => Ok(Self { access: Access::Read(Box::new(reader)), generation, epoch: 0 }),
            Err(_) if generation::is_missing(bucket, generation).await? => Err(StorageError::Empty),
            Err(error) => Err(error.into()),
        }
    }
}
