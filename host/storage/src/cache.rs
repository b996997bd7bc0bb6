//! A small cache of the metadata store's blocks, indexes and filters.
//!
//! Without it, every read of a record that is no longer in memory reads its file's index and filter anew.
//!
//! **Invariant**: it holds at most [`CAPACITY_BYTES`]; losing an entry costs time only.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use slatedb::db_cache::{CachedEntry, CachedKey, DbCache};

/// Enough for the indexes of millions of records.
const CAPACITY_BYTES: usize = 16 << 20;

/// Evicts in the order of arrival, but spares once what was used since.
#[derive(Default)]
pub(crate) struct BlockCache {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<CachedKey, Slot>,
    arrivals: VecDeque<CachedKey>,
    bytes: usize,
}

struct Slot {
    entry: CachedEntry,
    bytes: usize,
    used: bool,
}

impl fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockCache").field("bytes", &self.lock().bytes).finish_non_exhaustive()
    }
}

impl BlockCache {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, key: &CachedKey) -> Option<CachedEntry> {
        let mut inner = self.lock();
        let slot = inner.entries.get_mut(key)?;
        slot.used = true;
        Some(slot.entry.clone())
    }
}

impl Inner {
    fn insert(&mut self, key: CachedKey, entry: CachedEntry) {
        let bytes = entry.size() + size_of::<Slot>() + 2 * size_of::<CachedKey>();
        if bytes > CAPACITY_BYTES / 4 || self.entries.contains_key(&key) {
            return;
        }
        while self.bytes + bytes > CAPACITY_BYTES {
            let Some(oldest) = self.arrivals.pop_front() else { return };
            let Some(slot) = self.entries.get_mut(&oldest) else { continue };
            if std::mem::take(&mut slot.used) {
                self.arrivals.push_back(oldest);
            } else {
                self.bytes -= slot.bytes;
                self.entries.remove(&oldest);
            }
        }
        self.bytes += bytes;
        self.arrivals.push_back(key.clone());
        self.entries.insert(key, Slot { entry, bytes, used: false });
    }

    fn remove(&mut self, key: &CachedKey) {
        if let Some(slot) = self.entries.remove(key) {
            self.bytes -= slot.bytes;
            self.arrivals.retain(|arrived| arrived != key);
        }
    }
}

#[async_trait]
impl DbCache for BlockCache {
    async fn get_block(&self, key: &CachedKey) -> Result<Option<CachedEntry>, slatedb::Error> {
        Ok(self.get(key))
    }

    async fn get_index(&self, key: &CachedKey) -> Result<Option<CachedEntry>, slatedb::Error> {
        Ok(self.get(key))
    }

    async fn get_filter(&self, key: &CachedKey) -> Result<Option<CachedEntry>, slatedb::Error> {
        Ok(self.get(key))
    }

    async fn get_stats(&self, key: &CachedKey) -> Result<Option<CachedEntry>, slatedb::Error> {
        Ok(self.get(key))
    }

    async fn insert(&self, key: CachedKey, value: CachedEntry) {
        self.lock().insert(key, value);
    }

    async fn remove(&self, key: &CachedKey) {
        self.lock().remove(key);
    }

    fn entry_count(&self) -> u64 {
        self.lock().entries.len() as u64
    }
}
