//! What `/metrics` shows, in Prometheus' text format.
//!
//! **Invariant**: labels are route templates, methods, statuses and plugin names: their number is bounded by what exists, never
//! by what callers send.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use lakehouse_engine::{Engine, PluginCounts, RowCount};
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// Upper bounds of the latency histogram, seconds.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// Bytes of a page of memory on the machines that this runs on.
const PAGE_BYTES: i64 = 4096;

/// The gateway's metrics and their registry.
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    latency: HistogramVec,
    in_flight: IntGauge,
    connections: IntGauge,
    flight_calls: IntCounterVec,
    flight_in_flight: IntGauge,
    query_rows: IntCounter,
    query_seconds: Histogram,
    queries: QueryGauges,
    jobs: IntGauge,
    ingest_rows: IntCounter,
    search_seconds: HistogramVec,
    embedded: IntCounter,
    refresh_seconds: Histogram,
    index_bytes: IntGauge,
    writer: IntGauge,
    behind: IntGauge,
    access_file_refused: IntGauge,
    memory: IntGauge,
    plugins: PluginCounters,
    storage: IntCounterVec,
    /// Held while totals that others keep are copied and shown.
    scrape: Mutex<()>,
}

/// What the query engine knows; set when it is asked for.
struct QueryGauges {
    running: IntGauge,
    waiting: IntGauge,
    memory: IntGauge,
    memory_limit: IntGauge,
    spilled: IntGauge,
    ended: IntCounterVec,
}

impl QueryGauges {
    fn set(&self, engine: &Engine) {
        let counts = engine.query_counts();
        let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.running.set(number(counts.running as u64));
        self.waiting.set(number(counts.waiting as u64));
        self.memory.set(number(counts.memory_bytes));
        self.memory_limit.set(number(engine.settings().query.memory_bytes));
        self.spilled.set(number(counts.spilled_bytes));
        self.ended.reset();
        for (state, code, count) in counts.ended {
            self.ended.with_label_values(&[state, code]).inc_by(count);
        }
    }
}

/// Counters that the registry of plugins keeps; set when they are asked for.
struct PluginCounters {
    calls: IntCounterVec,
    errors: IntCounterVec,
    timeouts: IntCounterVec,
}

impl PluginCounters {
    /// Shows these totals and no others: a deleted plugin goes, one that came back begins anew, as counters may.
    fn set(&self, plugins: &[PluginCounts]) {
        for counter in [&self.calls, &self.errors, &self.timeouts] {
            counter.reset();
        }
        for counts in plugins {
            let plugin = [counts.plugin.as_str()];
            self.calls.with_label_values(&plugin).inc_by(counts.calls);
            self.errors.with_label_values(&plugin).inc_by(counts.errors);
            self.timeouts.with_label_values(&plugin).inc_by(counts.timeouts);
        }
    }
}

impl Metrics {
    /// # Errors
    /// When two metrics have one name, which a test would find.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let total = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let metric = IntCounter::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let latency = HistogramVec::new(
            HistogramOpts::new("lakehouse_http_request_seconds", "Time until an answer began").buckets(SECONDS.to_vec()),
            &["route", "method"],
        )?;
        registry.register(Box::new(latency.clone()))?;
        let query_seconds = Histogram::with_opts(
            HistogramOpts::new("lakehouse_query_seconds", "Time until a query's answer began").buckets(SECONDS.to_vec()),
        )?;
        registry.register(Box::new(query_seconds.clone()))?;
        let search_seconds = HistogramVec::new(
            HistogramOpts::new("lakehouse_search_seconds", "Time of a search, by method").buckets(SECONDS.to_vec()),
            &["method"],
        )?;
        registry.register(Box::new(search_seconds.clone()))?;
        let refresh_seconds = Histogram::with_opts(
            HistogramOpts::new("lakehouse_refresh_seconds", "Time of an index's refresh").buckets(SECONDS.to_vec()),
        )?;
        registry.register(Box::new(refresh_seconds.clone()))?;
        let build = IntGaugeVec::new(Opts::new("lakehouse_build_info", "1, with the version of the program"), &["version"])?;
        registry.register(Box::new(build.clone()))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            requests: counter("lakehouse_http_requests_total", "Requests answered", &["route", "method", "status"])?,
            latency,
            in_flight: gauge("lakehouse_http_in_flight", "Requests whose answer has not ended")?,
            connections: gauge("lakehouse_http_connections", "Open connections")?,
            flight_calls: counter("lakehouse_flight_calls_total", "Flight SQL calls answered", &["method", "status"])?,
            flight_in_flight: gauge("lakehouse_flight_in_flight", "Flight SQL calls whose answer has not ended")?,
            query_rows: total("lakehouse_query_rows_total", "Rows sent by queries")?,
            query_seconds,
            queries: QueryGauges {
                running: gauge("lakehouse_queries_running", "Queries that have begun and not ended")?,
                waiting: gauge("lakehouse_queries_waiting", "Queries that wait for a place")?,
                memory: gauge("lakehouse_query_memory_bytes", "Memory that queries hold")?,
                memory_limit: gauge("lakehouse_query_memory_limit_bytes", "Memory that queries may hold together")?,
                spilled: gauge("lakehouse_query_spilled_bytes", "What queries have on disk")?,
                ended: counter("lakehouse_queries_total", "Queries that ended, by state and problem code", &["state", "code"])?,
            },
            jobs: gauge("lakehouse_jobs_running", "Jobs that run")?,
            ingest_rows: total("lakehouse_ingest_rows_total", "Rows ingested")?,
            search_seconds,
            embedded: total("lakehouse_embedded_texts_total", "Texts that embedders were called with")?,
            refresh_seconds,
            index_bytes: gauge("lakehouse_index_memory_bytes", "Parts of indexes in memory")?,
            writer: gauge("lakehouse_writer", "1 where this host writes, 0 where it reads beside another")?,
            behind: gauge("lakehouse_behind_milliseconds", "Since a reading host last knew all that the writer had done")?,
            access_file_refused: gauge("lakehouse_access_file_refused", "1 while the access file as it stands is not in force")?,
            memory: gauge("process_resident_memory_bytes", "Resident memory")?,
            plugins: PluginCounters {
                calls: counter("lakehouse_plugin_calls_total", "Calls into components", &["plugin"])?,
                errors: counter("lakehouse_plugin_errors_total", "Calls that failed", &["plugin"])?,
                timeouts: counter("lakehouse_plugin_timeouts_total", "Calls that ran past their deadline", &["plugin"])?,
            },
            storage: counter("lakehouse_storage_operations_total", "Object store operations", &["operation"])?,
            scrape: Mutex::default(),
            registry,
        })
    }

    /// A request has begun; it is in flight until the guard is dropped.
    pub(crate) fn enter(&self) -> Held {
        Held::new(&self.in_flight)
    }

    /// A connection is open until the guard is dropped.
    pub(crate) fn connection(&self) -> Held {
        Held::new(&self.connections)
    }

    /// An answer has begun.
    pub(crate) fn answered(&self, route: &str, method: &str, status: u16, elapsed: Duration) {
        let method = known_method(method);
        self.requests.with_label_values(&[route, method, status_text(status).as_str()]).inc();
        self.latency.with_label_values(&[route, method]).observe(elapsed.as_secs_f64());
    }

    /// A Flight SQL call has begun; it is in flight until the guard is dropped.
    pub(crate) fn flight_call(&self) -> Held {
        Held::new(&self.flight_in_flight)
    }

    /// A Flight SQL call was answered, or refused.
    pub(crate) fn flight_answered(&self, method: &'static str, status: tonic::Code) {
        self.flight_calls.with_label_values(&[method, &format!("{status:?}")]).inc();
    }

    /// A query's answer has begun.
    pub(crate) fn query_began(&self, elapsed: Duration) {
        self.query_seconds.observe(elapsed.as_secs_f64());
    }

    /// Rows that are being sent.
    pub(crate) fn query_rows(&self) -> Sent {
        Sent(self.query_rows.clone())
    }

    /// An ingest has committed.
    pub(crate) fn ingested(&self, rows: u64) {
        self.ingest_rows.inc_by(rows);
    }

    /// A search has ended.
    pub(crate) fn searched(&self, method: &str, elapsed: Duration) {
        self.search_seconds.with_label_values(&[method]).observe(elapsed.as_secs_f64());
    }

    /// A refresh has committed.
    pub(crate) fn refreshed(&self, embedded: u64, elapsed: Duration) {
        self.embedded.inc_by(embedded);
        self.refresh_seconds.observe(elapsed.as_secs_f64());
    }

    /// All metrics as text.
    ///
    /// # Errors
    /// When a metric cannot be written.
    pub(crate) fn text(&self, engine: &Engine) -> Result<Vec<u8>, prometheus::Error> {
        if let Some(bytes) = resident_bytes() {
            self.memory.set(bytes);
        }
        let _alone = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        self.index_bytes.set(i64::try_from(engine.index_memory_bytes()).unwrap_or(i64::MAX));
        self.writer.set(i64::from(!engine.is_reader()));
        self.behind.set(engine.behind_for().map_or(0, |behind| i64::try_from(behind.as_millis()).unwrap_or(i64::MAX)));
        self.queries.set(engine);
        self.jobs.set(i64::try_from(engine.jobs_running()).unwrap_or(i64::MAX));
        self.access_file_refused.set(i64::from(engine.is_access_file_refused()));
        self.plugins.set(&engine.plugin_counts());
        self.storage.reset();
        for (operation, count) in engine.storage_counts() {
            self.storage.with_label_values(&[operation]).inc_by(count);
        }
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// Counts one of something for as long as it is held.
#[derive(Debug)]
pub(crate) struct Held(IntGauge);

impl Held {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts the rows of one answer.
#[derive(Debug)]
pub(crate) struct Sent(IntCounter);

impl RowCount for Sent {
    fn add(&self, rows: u64) {
        self.0.inc_by(rows);
    }
}

fn status_text(status: u16) -> String {
    status.to_string()
}

/// Methods that callers make up share one label.
fn known_method(method: &str) -> &str {
    match method {
        "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "PATCH" | "OPTIONS" => method,
        _ => "other",
    }
}

fn resident_bytes() -> Option<i64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm.split(' ').nth(1)?.parse::<i64>().ok().map(|pages| pages * PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Metrics, PluginCounts};

    #[test]
    fn a_plugins_totals_are_shown_as_they_are_also_after_it_was_deleted() {
        let metrics = Metrics::new().unwrap();
        let counts = |calls| PluginCounts { plugin: "mask".parse().unwrap(), calls, errors: 1, timeouts: 0 };
        let shown = || metrics.plugins.calls.with_label_values(&["mask"]).get();
        for calls in [5, 5, 7, 2] {
            metrics.plugins.set(&[counts(calls)]);
            assert_eq!(shown(), calls);
        }
        metrics.plugins.set(&[]);
        assert!(metrics.registry.gather().iter().all(|family| !format!("{family:?}").contains("mask")));
    }

    #[test]
    fn a_made_up_method_does_not_make_a_label_and_what_is_held_is_let_go() {
        let metrics = Metrics::new().unwrap();
        let held = metrics.enter();
        assert_eq!(metrics.in_flight.get(), 1);
        drop(held);
        assert_eq!(metrics.in_flight.get(), 0);
        metrics.answered("/health", "GET", 200, Duration::from_millis(1));
        metrics.answered("unmatched", "BREW", 404, Duration::from_millis(1));
        let labels: Vec<String> = metrics.registry.gather().iter().map(|family| format!("{family:?}")).collect();
        assert!(labels.iter().all(|family| !family.contains("BREW")));
        assert!(labels.iter().any(|family| family.contains("other")));
    }
}
