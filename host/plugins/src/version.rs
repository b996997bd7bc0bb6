//! One version of a plugin, loaded when it is first called.

use std::sync::Arc;

use lakehouse_types::Digest;
use tokio::sync::OnceCell;

use crate::{
    PluginError, error::VersionedName, registry::VersionRecord, runtime::Loaded, stats::Counters, store::ComponentStore,
};

/// A version as snapshots share it: what is known of it, its counters, its code once somebody needed it.
pub(crate) struct Version {
    pub(crate) id: Arc<VersionedName>,
    pub(crate) record: VersionRecord,
    pub(crate) counters: Counters,
    store: Arc<ComponentStore>,
    loaded: OnceCell<Arc<Loaded>>,
}

impl Version {
    pub(crate) fn new(id: VersionedName, record: VersionRecord, store: Arc<ComponentStore>) -> Self {
        Self { id: Arc::new(id), record, counters: Counters::default(), store, loaded: OnceCell::new() }
    }

    /// With code at hand.
    pub(crate) fn with_code(self, loaded: Arc<Loaded>) -> Self {
        Self { loaded: OnceCell::new_with(Some(loaded)), ..self }
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.record.digest
    }

    /// The code: from memory, else the cache, else compiled anew from the store.
    pub(crate) async fn code(&self) -> Result<Arc<Loaded>, PluginError> {
        self.loaded.get_or_try_init(|| self.store.load(self.digest())).await.cloned()
    }
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Version").field("id", &self.id).field("digest", self.digest()).finish_non_exhaustive()
    }
}
