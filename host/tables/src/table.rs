//! One dataset's queue and its present state.
//!
//! **Invariant**: whoever commits, buries or drops holds the queue. The state changes only under it, and only after metadata is
//! durable.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use lakehouse_types::DatasetName;
use tokio::sync::{Mutex, MutexGuard, OwnedMutexGuard};

use crate::folder::Folder;
use crate::group::Ready;
use crate::log::Log;
use crate::snapshot::Snapshot;
use crate::{DatasetState, TableError, Tombstones};

/// A dataset, or one that is being made: it has a folder, and no state until its first commit.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: DatasetName,
    pub(crate) folder: Arc<Folder>,
    pub(crate) log: Log,
    queue: Arc<Mutex<Queue>>,
    /// Appends that are ready, in the order in which they came: whoever has the queue next commits them together.
    pub(crate) ready: parking_lot::Mutex<VecDeque<Ready>>,
    state: ArcSwapOption<DatasetState>,
    /// Every state that may still be read, with its version.
    pinned: parking_lot::Mutex<Vec<(u64, Weak<DatasetState>)>>,
    /// One at a time removes files of earlier versions.
    reaping: Mutex<()>,
    absence: Option<Absence>,
}

/// Why a dataset of the catalog had no state when the host started.
#[derive(Debug)]
pub(crate) enum Absence {
    /// Its bucket is kept in memory and began anew: the next write makes the first version. The tombstones hold on.
    Lost(Arc<Tombstones>),
    /// The table could not be read; nothing but its deletion is possible.
    Unreadable(&'static str),
    /// Its bucket is not declared: nothing is possible, so that all is there when the bucket is again.
    Unplugged,
}

/// What the holder of the queue must know.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Writes whose outcome is unknown: settled before anything else.
    pub(crate) unsettled: Vec<String>,
    /// The dataset was dropped, or never came to be.
    pub(crate) gone: bool,
}

impl Queue {
    /// Leaves a write to whoever holds the queue next.
    pub(crate) fn doubt(&mut self, write: &str) {
        if !self.unsettled.iter().any(|other| other == write) {
            self.unsettled.push(write.to_owned());
        }
    }
}

impl Table {
    pub(crate) fn new(name: DatasetName, folder: Arc<Folder>) -> Result<Self, TableError> {
        let log = Log::new(name.clone(), &folder)?;
        Ok(Self {
            name,
            folder,
            log,
            queue: Arc::default(),
            ready: parking_lot::Mutex::default(),
            state: ArcSwapOption::empty(),
            pinned: parking_lot::Mutex::default(),
            reaping: Mutex::default(),
            absence: None,
        })
    }

    /// The same, as a dataset of the catalog that has no state.
    pub(crate) fn absent(self, absence: Absence) -> Self {
        Self { absence: Some(absence), ..self }
    }

    pub(crate) fn state(&self) -> Option<Arc<DatasetState>> {
        self.state.load_full()
    }

    /// The state that a snapshot makes.
    pub(crate) fn state_of(
        &self,
        snapshot: Snapshot,
        tombstones: Arc<Tombstones>,
        hidden: u64,
    ) -> Result<DatasetState, TableError> {
        let known = self.state();
        DatasetState::new(self.name.clone(), Arc::clone(&self.folder), snapshot, tombstones, hidden, known.as_deref())
    }

    /// Why there is no state, if there is none and there was one before the start.
    pub(crate) fn absence(&self) -> Option<&Absence> {
        self.absence.as_ref().filter(|_| self.state().is_none())
    }

    /// What a caller is told who needs the state that is not there.
    pub(crate) fn refusal(&self) -> TableError {
        let dataset = self.name.clone();
        match self.absence() {
            None => TableError::UnknownDataset { name: dataset },
            Some(Absence::Lost(_)) => TableError::Lost { dataset, bucket: self.folder.bucket().name().clone() },
            Some(Absence::Unreadable(why)) => TableError::Unreadable { dataset, why },
            Some(Absence::Unplugged) => TableError::BucketMissing { dataset, bucket: self.folder.bucket().name().clone() },
        }
    }

    /// The tombstones of the state, or those that outlived the rows.
    pub(crate) fn tombstones(&self) -> Option<Arc<Tombstones>> {
        match (self.state(), &self.absence) {
            (Some(state), _) => Some(Arc::clone(&state.tombstones)),
            (None, Some(Absence::Lost(tombstones))) => Some(Arc::clone(tombstones)),
            (None, _) => None,
        }
    }

    /// Whether it never came to be, and no write is open from which it still could.
    pub(crate) fn is_unborn(&self) -> bool {
        let is_settled = || self.queue.try_lock().is_ok_and(|queue| queue.unsettled.is_empty());
        self.state().is_none() && self.absence.is_none() && is_settled()
    }

    pub(crate) fn set_state(&self, state: Option<Arc<DatasetState>>) {
        if let Some(state) = &state {
            let mut pinned = self.pinned.lock();
            pinned.retain(|(_, state)| state.strong_count() > 0);
            pinned.push((state.version, Arc::downgrade(state)));
        }
        self.state.store(state);
    }

    /// Whether somebody still reads a version before this one.
    pub(crate) fn is_pinned_before(&self, version: u64) -> bool {
        self.pinned.lock().iter().any(|(of, state)| *of < version && state.strong_count() > 0)
    }

    pub(crate) async fn reaping(&self) -> MutexGuard<'_, ()> {
        self.reaping.lock().await
    }

    /// Waits for its turn, which one without its bucket never has.
    pub(crate) async fn queue(&self) -> Result<OwnedMutexGuard<Queue>, TableError> {
        if matches!(self.absence, Some(Absence::Unplugged)) {
            return Err(self.refusal());
        }
        let queue = Arc::clone(&self.queue).lock_owned().await;
        if queue.gone { Err(TableError::Gone { dataset: self.name.clone() }) } else { Ok(queue) }
    }
}
