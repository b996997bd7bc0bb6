//! Typed reads outside a transaction.
//!
//! **Invariant**: they see durable records only, so that no answer rests on a write that a power loss could undo.

use std::{fmt, marker::PhantomData, ops::Bound};

use slatedb::config::{DurabilityLevel, ReadOptions, ScanOptions};

use crate::{
    Meta, Record, Result, StorageError,
    meta::Store,
    record::{decode, full_key},
};

/// Bytes fetched at once by a scan of a page, and by one of more.
const PAGE_READ_AHEAD_BYTES: usize = 64 << 10;
const READ_AHEAD_BYTES: usize = 1 << 20;
/// A page has at most this many records.
const PAGE_RECORDS: usize = 1000;

/// The records of one type, by key, in the byte order of their keys.
pub struct Collection<T> {
    pub(crate) meta: Meta,
    pub(crate) of: PhantomData<fn() -> T>,
}

impl<T> Clone for Collection<T> {
    fn clone(&self) -> Self {
        Self { meta: self.meta.clone(), of: PhantomData }
    }
}

impl<T: Record> fmt::Debug for Collection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Collection").field(&T::COLLECTION).finish()
    }
}

impl<T: Record> Collection<T> {
    /// # Errors
    /// When the store fails or the record cannot be read.
    pub async fn get(&self, key: &str) -> Result<Option<T>> {
        let options = ReadOptions::default().with_durability_filter(DurabilityLevel::Remote);
        let mut store = self.meta.store();
        let mut found = self.meta.on_io(store.get(full_key::<T>(key), &options)).await;
        if found.is_err() && self.meta.has_moved(&store).await {
            store = self.meta.store();
            found = self.meta.on_io(store.get(full_key::<T>(key), &options)).await;
        }
        found?.map(|bytes| decode(&bytes)).transpose()
    }

    /// The first `limit` records whose keys begin with `prefix` and come after `after`, which is a full key.
    ///
    /// # Errors
    /// When the store fails or a record cannot be read.
    pub async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, T)>> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(full_key::<T>(after).into_bytes()),
            _ => Bound::Included(full_key::<T>(prefix).into_bytes()),
        };
        let until = successor(full_key::<T>(prefix).into_bytes());
        let options = ScanOptions {
            durability_filter: DurabilityLevel::Remote,
            read_ahead_bytes: if limit <= PAGE_RECORDS { PAGE_READ_AHEAD_BYTES } else { READ_AHEAD_BYTES },
            ..ScanOptions::default()
        };
        let name_bytes = T::COLLECTION.len() + 1;
        let scan = async |store: &Store| {
            let mut rows = Vec::new();
            let mut found = store.scan((from.clone(), until.clone()), &options).await?;
            while rows.len() < limit
                && let Some(row) = found.next().await?
            {
                rows.push((row.key.slice(name_bytes..), row.value));
            }
            Ok(rows)
        };
        let mut store = self.meta.store();
        let mut rows = self.meta.on_io(scan(&store)).await;
        if rows.is_err() && self.meta.has_moved(&store).await {
            store = self.meta.store();
            rows = self.meta.on_io(scan(&store)).await;
        }
        rows?
            .into_iter()
            .map(|(key, value)| {
                let key = String::from_utf8(key.into()).map_err(|_| StorageError::Key { collection: T::COLLECTION })?;
                Ok((key, decode(&value)?))
            })
            .collect()
    }

    /// Every record. For collections that are held in memory anyway.
    ///
    /// # Errors
    /// When the store fails or a record cannot be read.
    pub async fn all(&self) -> Result<Vec<(String, T)>> {
        self.scan("", None, usize::MAX).await
    }
}

/// The first key after all that begin with `prefix`.
fn successor(mut prefix: Vec<u8>) -> Bound<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            return Bound::Excluded(prefix);
        }
    }
    Bound::Unbounded
}
