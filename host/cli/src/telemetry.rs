//! What the server tells of its work: log lines to stderr, and spans to a collector.
//!
//! **Invariant**: what libraries would quote of stored values goes to neither; a collector that is slow or gone costs spans, and no request.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use lakehouse_settings::{LogFormat, LogSettings, Settings, TraceSettings};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, filter::Targets, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt,
};

use crate::{console, failure::Failure};

/// Unless they are named: the reader of Delta logs quotes in its errors what it cannot read, values too; planners quote statements with
/// their literals, HTTP/2 what headers hold; and the metadata store tells much at its start.
const QUIET: &str = "buoyant_kernel=off,buoyant_kernel_engine=off,datafusion=warn,deltalake_core=warn,h2=info,hyper=info,slatedb=warn,\
                     sqlparser=info";
/// Our own spans and no library's: what their targets begin with.
const OURS: &str = "lakehouse";
/// How long the collector may take for one delivery.
const DELIVERY: Duration = Duration::from_secs(10);

/// Delivers what is left when it is dropped.
#[derive(Debug)]
pub(crate) struct Telemetry(Option<SdkTracerProvider>);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = &self.0
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "the last spans could not be delivered");
        }
    }
}

/// Begins to tell. To be called outside of any runtime: the exporter has a thread of its own.
///
/// # Errors
/// When the exporter cannot be set up.
pub(crate) fn begin(settings: &Settings) -> Result<Telemetry, Failure> {
    let provider = provider(&settings.trace)?;
    let spans = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("lakehouse"))
            .with_location(false)
            .with_threads(false)
            .with_filter(Targets::new().with_target(OURS, LevelFilter::INFO))
    });
    // A second subscriber is a caller's own, which then stays.
    let _ = tracing_subscriber::registry().with(lines(&settings.log)).with(spans).try_init();
    Ok(Telemetry(provider))
}

fn provider(settings: &TraceSettings) -> Result<Option<SdkTracerProvider>, Failure> {
    let Some(endpoint) = &settings.otlp_endpoint else { return Ok(None) };
    let traces = format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/'));
    let exporter = SpanExporter::builder().with_http().with_endpoint(traces).with_timeout(DELIVERY).build();
    let exporter = exporter.map_err(|error| Failure::Start(format!("[trace] otlp_endpoint: {}", console::chain(&error))))?;
    let ratio = f64::from(u32::try_from(settings.sample_percent).unwrap_or(100)) / 100.0;
    let resource = Resource::builder()
        .with_service_name("lakehouse")
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
        .with_resource(resource)
        .build();
    Ok(Some(provider))
}

fn lines<S>(settings: &LogSettings) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let filter = filter(std::env::var(EnvFilter::DEFAULT_ENV).ok().as_deref(), &settings.level);
    let layer = tracing_subscriber::fmt::layer().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
    match settings.format {
        LogFormat::Json => layer.json().with_filter(filter).boxed(),
        LogFormat::Text => layer.with_filter(filter).boxed(),
    }
}

/// What the variable says, if it can be read, else the settings; and libraries that would tell too much are quieter.
fn filter(variable: Option<&str>, level: &str) -> EnvFilter {
    let read = |directives: &str| EnvFilter::try_new(format!("{QUIET},{directives}"));
    variable.and_then(|directives| read(directives).ok()).or_else(|| read(level).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn what_may_quote_values_is_told_only_when_it_is_asked_for_by_name() {
        let told = |variable, level| filter(variable, level).to_string();
        assert!(told(None, "debug").contains("buoyant_kernel=off"));
        assert!(told(Some("trace"), "info").contains("buoyant_kernel=off"));
        assert!(told(Some("not a directive="), "info").contains("buoyant_kernel=off"));
        assert!(told(None, "info,buoyant_kernel=debug").contains("buoyant_kernel=debug"));
    }
}
