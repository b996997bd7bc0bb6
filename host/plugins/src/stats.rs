//! What a version has done since the server started.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use serde::Serialize;

use crate::PluginError;

/// Counters of one version; shared by all its instances.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    calls: AtomicU64,
    rows: AtomicU64,
    errors: AtomicU64,
    timeouts: AtomicU64,
    latency_ns: AtomicU64,
    latency_max_ns: AtomicU64,
    peak_memory_bytes: AtomicU64,
}

/// Since the server started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PluginStats {
    pub calls: u64,
    /// Values or contexts handed over.
    pub rows: u64,
    /// Timeouts included.
    pub errors: u64,
    pub timeouts: u64,
    /// Of all calls together, microseconds.
    pub latency_sum_us: u64,
    pub latency_max_us: u64,
    /// The most that one instance held.
    pub peak_memory_bytes: u64,
}

impl Counters {
    pub(crate) fn count<T>(&self, rows: usize, took: Duration, memory_bytes: u64, outcome: &Result<T, PluginError>) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.calls.fetch_add(1, Relaxed);
        self.rows.fetch_add(rows as u64, Relaxed);
        self.latency_ns.fetch_add(nanos, Relaxed);
        self.latency_max_ns.fetch_max(nanos, Relaxed);
        self.peak_memory_bytes.fetch_max(memory_bytes, Relaxed);
        if let Err(error) = outcome {
            self.errors.fetch_add(1, Relaxed);
            if error.is_timeout() {
                self.timeouts.fetch_add(1, Relaxed);
            }
        }
    }

    /// A failure before any call: instantiation, `open`.
    pub(crate) fn failed(&self, error: &PluginError) {
        if error.plugin().is_some() {
            self.errors.fetch_add(1, Relaxed);
            if error.is_timeout() {
                self.timeouts.fetch_add(1, Relaxed);
            }
        }
    }

    pub(crate) fn read(&self) -> PluginStats {
        PluginStats {
            calls: self.calls.load(Relaxed),
            rows: self.rows.load(Relaxed),
            errors: self.errors.load(Relaxed),
            timeouts: self.timeouts.load(Relaxed),
            latency_sum_us: self.latency_ns.load(Relaxed) / 1000,
            latency_max_us: self.latency_max_ns.load(Relaxed) / 1000,
            peak_memory_bytes: self.peak_memory_bytes.load(Relaxed),
        }
    }
}
