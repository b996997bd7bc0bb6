//! What a version has done since the server started.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use serde::Serialize;

use crate::PluginError;

/// Counters of one version; shared by all its instances. What its dry runs do is not in them, except for their number.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    calls: AtomicU64,
    rows: AtomicU64,
    errors: AtomicU64,
    timeouts: AtomicU64,
    latency_ns: AtomicU64,
    latency_max_ns: AtomicU64,
    peak_memory_bytes: AtomicU64,
    discarded_lines: Arc<AtomicU64>,
    dry_runs: AtomicU64,
    dry_run_errors: AtomicU64,
}

/// Since the server started. Calls of requests, unless it says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PluginStats {
    pub calls: u64,
    /// Values, contexts, documents, ids, texts or requests handed over.
    pub rows: u64,
    /// Timeouts included.
    pub errors: u64,
    pub timeouts: u64,
    /// Of all calls together, microseconds.
    pub latency_sum_us: u64,
    pub latency_max_us: u64,
    /// The most that one instance held.
    pub peak_memory_bytes: u64,
    /// Lines that instances logged or printed. They may repeat values, so nobody has kept them.
    pub log_lines_discarded: u64,
    /// Tries on an operator's own rows.
    pub dry_runs: u64,
    pub dry_run_errors: u64,
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

    /// A dry run, by its outcome.
    pub(crate) fn tried<T>(&self, outcome: &Result<T, PluginError>) {
        self.dry_runs.fetch_add(1, Relaxed);
        if outcome.as_ref().is_err_and(|error| error.plugin().is_some()) {
            self.dry_run_errors.fetch_add(1, Relaxed);
        }
    }

    /// Where the lines of instances are counted.
    pub(crate) fn discarded_lines(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.discarded_lines)
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
            log_lines_discarded: self.discarded_lines.load(Relaxed),
            dry_runs: self.dry_runs.load(Relaxed),
            dry_run_errors: self.dry_run_errors.load(Relaxed),
        }
    }
}
