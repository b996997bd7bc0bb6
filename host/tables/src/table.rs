//! One dataset's queue and its present state.
//!
//! **Invariant**: whoever commits, buries or drops holds the queue. The state changes only under it, and only after metadata is
//! durable.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use lakehouse_types::DatasetName;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::folder::Folder;
use crate::log::Log;
use crate::{DatasetState, TableError};

/// A dataset, or one that is being made: it has a folder, and no state until its first commit.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: DatasetName,
    pub(crate) folder: Arc<Folder>,
    pub(crate) log: Log,
    queue: Arc<Mutex<Queue>>,
    state: ArcSwapOption<DatasetState>,
}

/// What the holder of the queue must know.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// A write whose outcome is unknown: settled before anything else.
    pub(crate) unsettled: Option<String>,
    /// The dataset was dropped, or never came to be.
    pub(crate) gone: bool,
}

impl Table {
    pub(crate) fn new(name: DatasetName, folder: Arc<Folder>) -> Result<Self, TableError> {
        let log = Log::new(name.clone(), &folder)?;
        Ok(Self { name, folder, log, queue: Arc::default(), state: ArcSwapOption::empty() })
    }

    pub(crate) fn state(&self) -> Option<Arc<DatasetState>> {
        self.state.load_full()
    }

    pub(crate) fn set_state(&self, state: Option<Arc<DatasetState>>) {
        self.state.store(state);
    }

    /// Waits for its turn.
    pub(crate) async fn queue(&self) -> Result<OwnedMutexGuard<Queue>, TableError> {
        let queue = Arc::clone(&self.queue).lock_owned().await;
        if queue.gone { Err(TableError::Gone { dataset: self.name.clone() }) } else { Ok(queue) }
    }
}
