//! How far a running job has come.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use lakehouse_types::Progress;
use parking_lot::Mutex;

/// The progress of one job, shared by who works and who looks.
#[derive(Debug, Default)]
pub struct Watch {
    done: AtomicU64,
    stage: Mutex<Stage>,
    cancelled: AtomicBool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stage {
    unit: &'static str,
    total: Option<u64>,
}

/// A look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    pub done: u64,
    pub total: Option<u64>,
    /// `rows`, `objects`; empty before the first stage.
    pub unit: &'static str,
}

impl Watch {
    /// How far it is.
    pub fn advance_so_far(&self) -> Advance {
        let stage = *self.stage.lock();
        Advance { done: self.done.load(Relaxed), total: stage.total, unit: stage.unit }
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }
}

impl Progress for Watch {
    fn begin(&self, unit: &'static str, total: Option<u64>) {
        *self.stage.lock() = Stage { unit, total };
        self.done.store(0, Relaxed);
    }

    fn advance(&self, by: u64) {
        self.done.fetch_add(by, Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }
}
