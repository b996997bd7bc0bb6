//! The catalog itself: reads by an atomic pointer, writes one at a time.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;
use lakehouse_journal::{Journal, Stamp, SystemActor};
use lakehouse_storage::Meta;
use lakehouse_types::{Clock, ProfileId};
use tokio::sync::Mutex;

use crate::{CatalogError, CatalogSnapshot, DatasetRecord, Edit, IndexRecord, Profile, ViewRecord};

/// All definitions. Cheap to clone: clones share one state.
#[derive(Clone)]
pub struct Catalog {
    shared: Arc<Shared>,
}

struct Shared {
    meta: Meta,
    journal: Journal,
    present: ArcSwap<CatalogSnapshot>,
    /// Held from the moment an edit reads the definitions until its outcome is published.
    editing: Arc<Mutex<()>>,
    /// A commit failed and its outcome may differ from what is published: read again before the next edit.
    is_doubtful: AtomicBool,
}

impl Catalog {
    /// Reads the definitions, and writes the profile `default` on first start.
    ///
    /// # Errors
    /// When the metadata store fails, or holds a record that this version cannot read.
    pub async fn open(meta: Meta, journal: Journal, clock: Arc<dyn Clock>) -> Result<Self, CatalogError> {
        let mut snapshot = load(&meta).await?;
        if !snapshot.profiles.contains_key(&ProfileId::default_profile()) {
            let profile = Profile::implicit_default(SystemActor::Host.actor(), clock.now());
            if !meta.is_reader() {
                let mut txn = meta.begin().await?;
                txn.put(profile.id.as_str(), &profile)?;
                txn.commit().await?;
            }
            snapshot.profiles.insert(profile.id.clone(), Arc::new(profile));
        }
        let shared = Shared {
            meta,
            journal,
            present: ArcSwap::from_pointee(snapshot),
            editing: Arc::default(),
            is_doubtful: AtomicBool::new(false),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Reads the definitions anew, where another host makes them.
    ///
    /// # Errors
    /// When the metadata store fails.
    pub async fn reload(&self) -> Result<(), CatalogError> {
        self.shared.reload().await
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.shared.meta
    }

    /// The present definitions.
    pub fn snapshot(&self) -> Arc<CatalogSnapshot> {
        self.shared.present.load_full()
    }

    /// Runs one edit. `change` sees the present definitions and stages its changes; they become durable together with the events
    /// that it drafted, and visible afterwards. An error of `change` leaves everything as it was. Once `change` has succeeded the
    /// edit runs to its end even if the caller goes away.
    ///
    /// # Errors
    /// Those of `change`; those of the metadata store and the journal.
    pub async fn edit<T, E: From<CatalogError>>(
        &self,
        by: &Stamp,
        change: impl FnOnce(&CatalogSnapshot, &mut Edit) -> Result<T, E>,
    ) -> Result<T, E> {
        let shared = self.shared.clone();
        let turn = shared.editing.clone().lock_owned().await;
        if shared.is_doubtful.load(Ordering::Acquire) {
            shared.reload().await?;
        }
        let present = shared.present.load_full();
        let txn = shared.meta.begin().await.map_err(CatalogError::from)?;
        let mut edit = Edit::new(&present, txn);
        let value = change(&present, &mut edit)?;
        if !edit.is_dirty {
            return Ok(value);
        }
        let by = by.clone();
        let commit = tokio::spawn(async move {
            let outcome = shared.commit(&by, edit).await;
            drop(turn);
            outcome
        });
        match commit.await {
            Ok(outcome) => outcome?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
        Ok(value)
    }
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").finish_non_exhaustive()
    }
}

impl Shared {
    async fn commit(&self, by: &Stamp, edit: Edit) -> Result<(), CatalogError> {
        let Edit { next, txn, drafts, .. } = edit;
        match self.journal.commit(txn, by, drafts).await {
            Ok(_) => {
                self.present.store(Arc::new(next));
                Ok(())
            }
            Err(error) => {
                self.is_doubtful.store(true, Ordering::Release);
                // The store says what became of it; when it cannot, the next edit asks again.
                let _ = self.reload().await;
                Err(error.into())
            }
        }
    }

    async fn reload(&self) -> Result<(), CatalogError> {
        self.present.store(Arc::new(load(&self.meta).await?));
        self.is_doubtful.store(false, Ordering::Release);
        Ok(())
    }
}

async fn load(meta: &Meta) -> Result<CatalogSnapshot, CatalogError> {
    let datasets = meta.collection::<DatasetRecord>().all().await?;
    let views = meta.collection::<ViewRecord>().all().await?;
    let profiles = meta.collection::<Profile>().all().await?;
    let indexes = meta.collection::<IndexRecord>().all().await?;
    Ok(CatalogSnapshot {
        datasets: datasets.into_iter().map(|(_, record)| (record.name.clone(), Arc::new(record))).collect(),
        views: views.into_iter().map(|(_, record)| (record.name.clone(), Arc::new(record))).collect(),
        profiles: profiles.into_iter().map(|(_, profile)| (profile.id.clone(), Arc::new(profile))).collect(),
        indexes: indexes.into_iter().map(|(_, record)| (record.name.clone(), Arc::new(record))).collect(),
    })
}

#[cfg(test)]
mod tests;
