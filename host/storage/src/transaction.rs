//! Changes that become visible and durable together, or not at all.
//!
//! **Invariant**: serializable, and durable when [`Transaction::commit`] returns. Reads inside a transaction see commits that
//! are still on their way to the disk: skipping them would hide a conflict, and since the log is written in order, this commit
//! cannot be durable before them.

use std::{fmt, sync::Arc};

use slatedb::{DbTransaction, WriteHandle};

use tokio::sync::OwnedRwLockReadGuard;

use crate::{
    Meta, Record, Result,
    meta::Store,
    record::{decode, encode, full_key},
};

/// A transaction. Dropped without [`Transaction::commit`], it leaves nothing.
pub struct Transaction {
    meta: Meta,
    store: Arc<Store>,
    inner: DbTransaction,
    /// While it is held, the store is not renewed.
    open: OwnedRwLockReadGuard<()>,
    /// The first failure of a call that has no result of its own.
    failed: Option<slatedb::Error>,
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("id", &self.inner.id()).finish_non_exhaustive()
    }
}

/// A commit that is ordered and visible to later transactions, and durable once [`Submitted::durable`] has returned.
#[must_use = "a submitted commit is not durable before `durable` returns"]
pub struct Submitted {
    meta: Meta,
    store: Arc<Store>,
    handle: Option<WriteHandle>,
}

impl fmt::Debug for Submitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submitted").field("seq", &self.handle.as_ref().map(WriteHandle::seqnum)).finish()
    }
}

impl Transaction {
    pub(crate) fn new(meta: Meta, store: Arc<Store>, inner: DbTransaction, open: OwnedRwLockReadGuard<()>) -> Self {
        Self { meta, store, inner, open, failed: None }
    }

    /// # Errors
    /// When the value has no JSON form.
    pub fn put<T: Record>(&mut self, key: &str, value: &T) -> Result<()> {
        Ok(self.inner.put(full_key::<T>(key), encode(value)?)?)
    }

    /// Writes a record whose order a lock of the caller guards: concurrent writers of it do not conflict, the last one wins.
    ///
    /// # Errors
    /// When the value has no JSON form.
    pub fn put_ordered<T: Record>(&mut self, key: &str, value: &T) -> Result<()> {
        self.put(key, value)?;
        Ok(self.inner.unmark_write([full_key::<T>(key)])?)
    }

    pub fn delete<T: Record>(&mut self, key: &str) {
        if let Err(error) = self.inner.delete(full_key::<T>(key)) {
            self.failed.get_or_insert(error);
        }
    }

    /// Reads through this transaction's own changes.
    ///
    /// # Errors
    /// When the store fails or the record cannot be read.
    pub async fn get<T: Record>(&mut self, key: &str) -> Result<Option<T>> {
        let found = self.meta.on_io(self.inner.get(full_key::<T>(key))).await?;
        found.map(|bytes| decode(&bytes)).transpose()
    }

    /// Commits. Durable and visible to every later read when it returns.
    ///
    /// # Errors
    /// [`StorageError::is_conflict`](crate::StorageError::is_conflict) when another commit came first: nothing was written,
    /// begin again. After any other error the outcome is unknown until the next start.
    pub async fn commit(self) -> Result<()> {
        self.submit().await?.durable().await
    }

    /// Orders the commit without waiting for the disk, so that several share one log write.
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub async fn submit(self) -> Result<Submitted> {
        let Self { meta, store, inner, open, failed } = self;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let handle = meta.on_io(inner.commit()).await?;
        if handle.is_some() {
            meta.committed();
        }
        // A renewal makes durable what was submitted before it.
        drop(open);
        Ok(Submitted { meta, store, handle })
    }
}

impl Submitted {
    /// Waits until the commit is on stable storage.
    ///
    /// # Errors
    /// When the store closed first; the commit's outcome is then unknown until the next start.
    pub async fn durable(self) -> Result<()> {
        match &self.handle {
            Some(handle) => {
                let db = self.store.db()?;
                if self.meta.flushes_at_once() {
                    // What this cannot do, the wait below tells.
                    let _ = self.meta.on_io(db.flush()).await;
                }
                self.meta.on_io(handle.await_durable()).await
            }
            // It changed nothing, but what it read may still be on its way.
            None => self.meta.on_io(self.store.db()?.flush()).await,
        }
    }
}
