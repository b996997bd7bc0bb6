//! Listening, keys and logging.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use url::Url;

use crate::section::Section;

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// Where HTTP is served. Default 127.0.0.1:3100.
    pub listen: SocketAddr,
    /// How long running requests may finish after SIGTERM. Default 20 s.
    pub drain: Duration,
    /// Origins whose pages may call the API, `*` for all. Default none.
    pub cors_origins: Vec<String>,
    /// Upper bound of an ingest body, bytes. Default 1 GiB.
    pub max_body_bytes: u64,
    /// Upper bound of a JSON body, bytes. Default 1 MiB.
    pub max_json_bytes: usize,
    /// How long a request may take until its answer begins, ingest and uploads excepted. Default 60 s.
    pub request_timeout: Duration,
    /// How long a client may take to send its request line and headers. Default 10 s.
    pub header_timeout: Duration,
    /// How long a body may stand still before the request is given up. Default 30 s.
    pub body_idle_timeout: Duration,
    /// How long an answer may stand still because its reader takes nothing, before the connection is closed. Default 60 s.
    pub answer_idle_timeout: Duration,
    /// Open connections; a new one takes the place of the one that has been idle for longest, and is closed when none is idle.
    /// Default 16384.
    pub max_connections: usize,
}

impl ServerSettings {
    pub(crate) fn read(mut section: Section<'_, '_>) -> Self {
        let settings = Self {
            listen: section.text(
                "listen",
                SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3100),
                "an address and a port like \"127.0.0.1:3100\"",
                |text| text.parse().ok(),
            ),
            drain: section.millis("drain_ms", 20_000, 0..=600_000),
            cors_origins: section.list("cors_origins", "origins like \"https://app.example.com\", or \"*\"", parse_origin),
            max_body_bytes: section.mib("max_body_mib", 1024, 1..=1_048_576),
            max_json_bytes: usize::try_from(section.kib("max_json_kib", 1024, 16..=65_536)).unwrap_or(usize::MAX),
            request_timeout: section.millis("request_timeout_ms", 60_000, 1_000..=3_600_000),
            header_timeout: section.millis("header_timeout_ms", 10_000, 100..=600_000),
            body_idle_timeout: section.millis("body_idle_timeout_ms", 30_000, 100..=600_000),
            answer_idle_timeout: section.millis("answer_idle_timeout_ms", 60_000, 100..=600_000),
            max_connections: section.count("max_connections", 16_384, 16..=1_000_000),
        };
        section.finish();
        settings
    }
}

fn parse_origin(text: &str) -> Option<String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_origin = host.is_some_and(|host| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
    });
    (text == "*" || is_origin).then(|| text.to_owned())
}

/// `[auth]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthSettings {
    /// Whether every route but `/health` wants a key. Default true; false makes every caller an admin, and goes only with a
    /// loopback `listen`.
    pub enabled: bool,
    /// Requests of one key in a second, over time; 0 leaves it unbounded. Default 0.
    pub requests_per_second: usize,
    /// Requests that a key may send at once before that counts. Default 100.
    pub burst: usize,
    /// The file of declared grants; relative to the config folder. Default `access.toml`.
    pub access_file: PathBuf,
    /// How often that file is looked at for changes. Default 500 ms.
    pub poll: Duration,
}

impl AuthSettings {
    pub(crate) fn read(mut section: Section<'_, '_>) -> Self {
        let settings = Self {
            enabled: section.flag("enabled", true),
            requests_per_second: section.count("requests_per_second", 0, 0..=1_000_000),
            burst: section.count("burst", 100, 1..=1_000_000),
            access_file: section.path("access_file", "access.toml"),
            poll: section.millis("poll_ms", 500, 50..=60_000),
        };
        section.finish();
        settings
    }
}

/// `[flight]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlightSettings {
    /// Where Arrow Flight SQL is served. Default nowhere.
    pub listen: Option<SocketAddr>,
}

impl FlightSettings {
    pub(crate) fn read(mut section: Section<'_, '_>) -> Self {
        let parse = |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) };
        let expected = "an address and a port like \"127.0.0.1:3200\", or \"\" for none";
        let settings = Self { listen: section.text("listen", None, expected, parse) };
        section.finish();
        settings
    }
}

/// `[tls]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// PEM: the chain, the server's own certificate first.
    pub cert_file: PathBuf,
    /// PEM: its private key.
    pub key_file: PathBuf,
}

impl TlsSettings {
    /// `None` where the section is empty or missing: plain connections.
    pub(crate) fn read(mut section: Section<'_, '_>) -> Option<Self> {
        let (cert_file, key_file) = (section.optional_path("cert_file"), section.optional_path("key_file"));
        let settings = match (cert_file, key_file) {
            (Some(cert_file), Some(key_file)) => Some(Self { cert_file, key_file }),
            (None, None) => None,
            _ => {
                section.report("[tls] needs both \"cert_file\" and \"key_file\"".to_owned());
                None
            }
        };
        section.finish();
        settings
    }
}

/// `[trace]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSettings {
    /// Where spans are sent, OTLP over HTTP: the collector's address without a path. Default nowhere.
    pub otlp_endpoint: Option<Url>,
    /// Of the traces that begin here; one that a caller began follows the caller's choice. Default 100.
    pub sample_percent: usize,
}

impl TraceSettings {
    pub(crate) fn read(mut section: Section<'_, '_>) -> Self {
        let endpoint = |text: &str| match text {
            "" => Some(None),
            _ => Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host()).map(Some),
        };
        let expected = "an address like \"http://127.0.0.1:4318\", or \"\" for none";
        let settings = Self {
            otlp_endpoint: section.text("otlp_endpoint", None, expected, endpoint),
            sample_percent: section.count("sample_percent", 100, 0..=100),
        };
        section.finish();
        settings
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Default text.
    pub format: LogFormat,
    /// A level, or comma-separated `target=level` directives. Default `info`. Libraries that would quote stored values, or tell too much,
    /// are quieter unless they are named.
    pub level: String,
}

impl LogSettings {
    pub(crate) fn read(mut section: Section<'_, '_>) -> Self {
        let settings = Self {
            format: section.choice("format", LogFormat::Text, &[("text", LogFormat::Text), ("json", LogFormat::Json)]),
            level: section.text(
                "level",
                "info".to_owned(),
                "off, error, warn, info, debug or trace, or directives like \"info,lakehouse_query=debug\"",
                |text| text.split(',').all(is_directive).then(|| text.to_owned()),
            ),
        };
        section.finish();
        settings
    }
}

fn is_directive(text: &str) -> bool {
    let (target, level) = text.split_once('=').map_or((None, text), |(target, level)| (Some(target), level));
    let is_target =
        |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':');
    matches!(level, "off" | "error" | "warn" | "info" | "debug" | "trace") && target.is_none_or(is_target)
}
