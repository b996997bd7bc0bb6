//! One version of a plugin, loaded when it is first called.

use std::sync::Arc;

use lakehouse_types::Digest;
use tokio::sync::{Mutex, OnceCell};

use crate::{
    PluginError, error::VersionedName, registry::VersionRecord, runtime::Loaded, stats::Counters, store::ComponentStore,
};

/// A version as snapshots share it: what is known of it, its counters and, while it is the active one, its code. The code of
/// others is held by whoever runs them, and by the store as long as it is among the last that were used.
pub(crate) struct Version {
    pub(crate) id: Arc<VersionedName>,
    pub(crate) record: VersionRecord,
    pub(crate) counters: Arc<Counters>,
    store: Arc<ComponentStore>,
    /// Absent where the code is not held.
    held: Option<OnceCell<Arc<Loaded>>>,
    /// Held by whoever loads the code of a version that does not hold it.
    loading: Arc<Mutex<()>>,
}

impl Version {
    /// Without code at hand, and not to hold any.
    pub(crate) fn new(id: VersionedName, record: VersionRecord, store: Arc<ComponentStore>) -> Self {
        Self { id: Arc::new(id), record, counters: Arc::default(), store, held: None, loading: Arc::default() }
    }

    /// With code at hand.
    pub(crate) fn with_code(self, loaded: Arc<Loaded>) -> Self {
        Self { held: Some(OnceCell::new_with(Some(loaded))), ..self }
    }

    /// The same version for a snapshot in which it holds its code, or does not. Snapshots that others hold keep theirs.
    pub(crate) fn holding(self: Arc<Self>, hold: bool) -> Arc<Self> {
        if self.held.is_some() == hold {
            return self;
        }
        let held = hold.then(|| OnceCell::new_with(self.store.at_hand(self.digest())));
        Arc::new(Self { held, ..self.sharing(Arc::clone(&self.counters)) })
    }

    /// The same version, whose calls are counted apart.
    pub(crate) fn uncounted(&self) -> Arc<Self> {
        Arc::new(self.sharing(Arc::default()))
    }

    fn sharing(&self, counters: Arc<Counters>) -> Self {
        Self {
            id: Arc::clone(&self.id),
            record: self.record.clone(),
            counters,
            store: Arc::clone(&self.store),
            held: None,
            loading: Arc::clone(&self.loading),
        }
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.record.digest
    }

    /// The code: from memory, else the cache, else compiled anew from the store.
    pub(crate) async fn code(&self) -> Result<Arc<Loaded>, PluginError> {
        if let Some(held) = &self.held {
            return held.get_or_try_init(|| self.store.load(self.digest())).await.cloned();
        }
        if let Some(loaded) = self.store.at_hand(self.digest()) {
            return Ok(loaded);
        }
        let _turn = self.loading.lock().await;
        self.store.load(self.digest()).await
    }
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Version").field("id", &self.id).field("digest", self.digest()).finish_non_exhaustive()
    }
}
