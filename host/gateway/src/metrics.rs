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
    CounterVec, Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector,
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
    ingest_seconds: Histogram,
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
    storage_bytes: IntCounterVec,
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
    cache: IntCounterVec,
    cache_bytes: IntGauge,
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
        self.cache.reset();
        self.cache.with_label_values(&["hit"]).inc_by(counts.cache.hits);
        self.cache.with_label_values(&["miss"]).inc_by(counts.cache.misses);
        self.cache_bytes.set(number(counts.cache.bytes as u64));
    }
}

/// Counters that the registry of plugins keeps; set when they are asked for.
struct PluginCounters {
    calls: IntCounterVec,
    errors: IntCounterVec,
    timeouts: IntCounterVec,
    rows: IntCounterVec,
    busy: CounterVec,
}

impl PluginCounters {
    /// Shows these totals and no others: a deleted plugin goes, one that came back begins anew, as counters may.
    fn set(&self, plugins: &[PluginCounts]) {
        for counter in [&self.calls, &self.errors, &self.timeouts, &self.rows] {
            counter.reset();
        }
        self.busy.reset();
        for counts in plugins {
            let plugin = [counts.plugin.as_str()];
            self.calls.with_label_values(&plugin).inc_by(counts.calls);
            self.errors.with_label_values(&plugin).inc_by(counts.errors);
            self.timeouts.with_label_values(&plugin).inc_by(counts.timeouts);
            self.rows.with_label_values(&plugin).inc_by(counts.rows);
            self.busy.with_label_values(&plugin).inc_by(counts.busy.as_secs_f64());
        }
    }
}

/// Makes metrics that its registry shows.
struct Make(Registry);

impl Make {
    fn kept<M: Collector + Clone + 'static>(&self, metric: prometheus::Result<M>) -> prometheus::Result<M> {
        let metric = metric?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.kept(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn seconds(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<CounterVec> {
        self.kept(CounterVec::new(Opts::new(name, help), labels))
    }

    fn total(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.kept(IntCounter::new(name, help))
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.kept(IntGauge::new(name, help))
    }

    fn histogram(&self, name: &str, help: &str) -> prometheus::Result<Histogram> {
        self.kept(Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec())))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<HistogramVec> {
        self.kept(HistogramVec::new(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()), labels))
    }
}

impl Metrics {
    /// # Errors
    /// When two metrics have one name, which a test would find.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let make = Make(Registry::new());
        let build =
            make.kept(IntGaugeVec::new(Opts::new("lakehouse_build_info", "1, with the version of the program"), &["version"]))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            requests: make.counter("lakehouse_http_requests_total", "Requests answered", &["route", "method", "status"])?,
            latency: make.histograms("lakehouse_http_request_seconds", "Time until an answer began", &["route", "method"])?,
            in_flight: make.gauge("lakehouse_http_in_flight", "Requests whose answer has not ended")?,
            connections: make.gauge("lakehouse_http_connections", "Open connections")?,
            flight_calls: make.counter("lakehouse_flight_calls_total", "Flight SQL calls answered", &["method", "status"])?,
            flight_in_flight: make.gauge("lakehouse_flight_in_flight", "Flight SQL calls whose answer has not ended")?,
            query_rows: make.total("lakehouse_query_rows_total", "Rows sent by queries")?,
            query_seconds: make.histogram("lakehouse_query_seconds", "Time until a query's answer began")?,
            queries: QueryGauges {
                running: make.gauge("lakehouse_queries_running", "Queries that have begun and not ended")?,
                waiting: make.gauge("lakehouse_queries_waiting", "Queries that wait for a place")?,
                memory: make.gauge("lakehouse_query_memory_bytes", "Memory that queries hold")?,
                memory_limit: make.gauge("lakehouse_query_memory_limit_bytes", "Memory that queries may hold together")?,
                spilled: make.gauge("lakehouse_query_spilled_bytes", "What queries have on disk")?,
                ended: make.counter(
                    "lakehouse_queries_total",
                    "Queries that ended, by state and problem code",
                    &["state", "code"],
                )?,
                cache: make.counter(
                    "lakehouse_query_cache_total",
                    "Repeatable statements, by whether their answer was kept",
                    &["outcome"],
                )?,
                cache_bytes: make.gauge("lakehouse_query_cache_bytes", "Answers that are kept to be given again")?,
            },
            jobs: make.gauge("lakehouse_jobs_running", "Jobs that run")?,
            ingest_seconds: make.histogram("lakehouse_ingest_seconds", "Time of an ingest, its commit included")?,
            ingest_rows: make.total("lakehouse_ingest_rows_total", "Rows ingested")?,
            search_seconds: make.histograms("lakehouse_search_seconds", "Time of a search, by method", &["method"])?,
            embedded: make.total("lakehouse_embedded_texts_total", "Texts that embedders were called with")?,
            refresh_seconds: make.histogram("lakehouse_refresh_seconds", "Time of an index's refresh")?,
            index_bytes: make.gauge("lakehouse_index_memory_bytes", "Parts of indexes in memory")?,
            writer: make.gauge("lakehouse_writer", "1 where this host writes, 0 where it reads beside another")?,
            behind: make.gauge("lakehouse_behind_milliseconds", "Since a reading host last knew all that the writer had done")?,
            access_file_refused: make
                .gauge("lakehouse_access_file_refused", "1 while the access file as it stands is not in force")?,
            memory: make.gauge("process_resident_memory_bytes", "Resident memory")?,
            plugins: PluginCounters {
                calls: make.counter("lakehouse_plugin_calls_total", "Calls into components", &["plugin"])?,
                errors: make.counter("lakehouse_plugin_errors_total", "Calls that failed", &["plugin"])?,
                timeouts: make.counter("lakehouse_plugin_timeouts_total", "Calls that ran past their deadline", &["plugin"])?,
                rows: make.counter(
                    "lakehouse_plugin_rows_total",
                    "Values, texts or requests handed to components",
                    &["plugin"],
                )?,
                busy: make.seconds("lakehouse_plugin_seconds_total", "Time in components, of all calls", &["plugin"])?,
            },
            storage: make.counter("lakehouse_storage_operations_total", "Object store operations", &["operation"])?,
            storage_bytes: make.counter(
                "lakehouse_storage_bytes_total",
                "Bytes read from and written to object stores",
                &["operation"],
            )?,
            scrape: Mutex::default(),
            registry: make.0,
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
    pub(crate) fn ingested(&self, rows: u64, millis: u64) {
        self.ingest_rows.inc_by(rows);
        self.ingest_seconds.observe(Duration::from_millis(millis).as_secs_f64());
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
        self.storage_bytes.reset();
        for (operation, bytes) in engine.storage_bytes() {
            self.storage_bytes.with_label_values(&[operation]).inc_by(bytes);
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
        let counts = |calls| PluginCounts {
            plugin: "mask".parse().unwrap(),
            calls,
            errors: 1,
            timeouts: 0,
            rows: 5,
            busy: Duration::from_millis(1),
        };
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
