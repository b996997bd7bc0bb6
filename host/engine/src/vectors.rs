//! Indexes: make them follow their relations, search them, warm them, drop them.
//!
//! **Invariants**: an index is searched only by who may read its relation (or holds a grant on the index), under rules that make the
//! relation's rows what they were when they were indexed; a row that the relation no longer has, or has otherwise, is not found. One
//! refresh of an index runs at a time.

mod activate;
mod live; // which rows of an index are still so
mod purge; // without the rows that are gone
mod recipe; // the rules that make an index
mod refresh;
mod search;
mod shown; // what is told of indexes

use std::{collections::HashSet, sync::Arc};

use lakehouse_access::{Action, Caller, Principal};
use lakehouse_catalog::{CatalogError, IndexLitter, IndexRecord};
use lakehouse_journal::{Draft, EventKind};
use lakehouse_settings::VectorSettings;
use lakehouse_storage::Buckets;
use lakehouse_types::{DatasetName, IndexId, IndexName};
use lakehouse_vector::{Indexes, VectorError, folder_of_index};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::live::LiveRows;
pub(crate) use self::purge::Step;
pub use self::{
    activate::{ActivatedIndex, ActivatedRule, Activation},
    purge::PurgedIndex,
    refresh::{RefreshIndex, RefreshReport},
    search::{Hits, SearchIndex, Seek},
    shown::{ShownIndex, StaleDataset},
};
use crate::{Engine, EngineError};

/// What the engine keeps of indexes beside their records.
#[derive(Debug)]
pub(crate) struct Vectors {
    pub(crate) indexes: Indexes,
    live: LiveRows,
    places: Arc<Semaphore>,
    /// Turns of searches that take longer than a moment.
    searches: Arc<Semaphore>,
    /// Indexes that are being refreshed or dropped.
    taken: Arc<Mutex<HashSet<IndexName>>>,
    /// Indexes with a part that was found damaged.
    damaged: Mutex<HashSet<IndexId>>,
}

/// An index that nobody else refreshes or drops meanwhile.
#[derive(Debug)]
struct Taken {
    name: IndexName,
    taken: Arc<Mutex<HashSet<IndexName>>>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.taken.lock().remove(&self.name);
    }
}

impl Vectors {
    pub(crate) fn new(buckets: &Buckets, settings: &VectorSettings, threads: usize) -> Self {
        Self {
            indexes: Indexes::new(buckets.clone(), settings.memory_bytes),
            live: LiveRows::default(),
            places: Arc::new(Semaphore::new(settings.refreshes)),
            searches: Arc::new(Semaphore::new(threads.max(1))),
            taken: Arc::default(),
            damaged: Mutex::default(),
        }
    }

    fn take(&self, name: &IndexName) -> Result<Taken, EngineError> {
        if self.taken.lock().insert(name.clone()) {
            return Ok(Taken { name: name.clone(), taken: Arc::clone(&self.taken) });
        }
        Err(EngineError::IndexBusy { index: name.clone() })
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, EngineError> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| EngineError::RefreshesBusy)
    }

    fn forget(&self, index: &IndexId) {
        self.indexes.forget(index);
        self.live.forget(index);
        self.damaged.lock().remove(index);
    }
}

impl Engine {
    /// Drops an index. Searches that run finish on what they have loaded.
    ///
    /// # Errors
    /// When the caller may not, it does not exist, or it is being refreshed.
    pub async fn drop_index(self: &Arc<Self>, caller: &Caller, name: &IndexName) -> Result<(), EngineError> {
        self.require(caller, Action::ManageIndexes).await?;
        let (engine, by, name) = (Arc::clone(self), self.stamp(caller), name.clone());
        let work = async move {
            let _taken = engine.vectors.take(&name)?;
            let gone = engine
                .catalog
                .edit(&by, |_, edit| {
                    let record = edit.remove_index(&name)?;
                    let folder = folder_of_index(&record.id);
                    let litter = IndexLitter { bucket: record.bucket.clone(), folder: folder.clone() };
                    edit.txn().put(&folder, &litter).map_err(CatalogError::from)?;
                    edit.event(Draft::new(EventKind::IndexDelete, name.as_str()).dataset(record.base.clone()));
                    Ok::<_, EngineError>(record)
                })
                .await?;
            engine.vectors.forget(&gone.id);
            engine.sweep_indexes(vec![folder_of_index(&gone.id)]);
            Ok(())
        };
        self.changes.to_the_end(work).await
    }

    /// Deletes folders that no index names any more, in the background.
    fn sweep_indexes(&self, folders: Vec<String>) {
        let (meta, buckets) = (self.meta.clone(), self.buckets.clone());
        self.tasks.spawn("index sweep", async move {
            if let Err(error) = lakehouse_vector::sweep_folders(&meta, &buckets, &folders).await {
                tracing::warn!(%error, "what no index names any more stays for now");
            }
        });
    }

    /// Whether this is the failure of the index as it is now: then it is remembered, and the next refresh makes the part anew. What an
    /// index stood in before goes with a refresh, and is no damage.
    fn is_damage(&self, index: &IndexRecord, error: &VectorError) -> bool {
        let VectorError::Damaged { file, .. } = error else { return false };
        let present = self.catalog.snapshot();
        let now = present.indexes.get(&index.name);
        let is_now = now.is_some_and(|now| (&now.id, now.generation) == (&index.id, index.generation));
        if is_now {
            tracing::error!(index = %index.name, file, "a part of an index is damaged");
            self.vectors.damaged.lock().insert(index.id.clone());
        }
        is_now
    }

    /// The index, if the caller may know that it exists.
    async fn index_for(&self, caller: &Caller, name: &IndexName) -> Result<Arc<IndexRecord>, EngineError> {
        let absent = || CatalogError::UnknownIndex { name: name.clone() };
        match self.catalog.snapshot().indexes.get(name).filter(|index| self.sees_index(caller, index)) {
            Some(index) => Ok(Arc::clone(index)),
            None if caller.principal.is_admin() => Err(absent().into()),
            None => Err(self.hidden(caller, &format!("index {name}"), absent()).await),
        }
    }

    fn sees_index(&self, caller: &Caller, index: &IndexRecord) -> bool {
        caller.principal.may(Action::ManageIndexes) || self.may_search(caller, index)
    }

    fn may_search(&self, caller: &Caller, index: &IndexRecord) -> bool {
        caller.principal.may_search_index(&index.name) || self.reads_relation_of(caller, index)
    }

    fn reads_relation_of(&self, caller: &Caller, index: &IndexRecord) -> bool {
        self.reads(caller, &index.relation, &index.base)
    }

    fn reads(&self, caller: &Caller, relation: &str, base: &DatasetName) -> bool {
        if relation == base.as_str() {
            return caller.principal.may_read_dataset(base);
        }
        relation.parse().is_ok_and(|view| caller.principal.may_read_view(&view))
    }
}

/// Whether the caller may know of the index by its name alone.
pub(crate) fn sees(caller: &Caller, name: &IndexName) -> bool {
    caller.principal.may(Action::ManageIndexes) || caller.principal.may_search_index(name)
}

/// The host itself, under the profile of a caller whose rights were asked for already.
fn host(caller: &Caller) -> Caller {
    Caller { principal: Arc::new(Principal::local_admin()), ..caller.clone() }
}
