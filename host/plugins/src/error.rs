//! What can go wrong, and whose fault it is.
//!
//! **Invariant**: nothing that a component said after it has seen rows is in `Display` or in the public message.

use std::{fmt, time::Duration};

use lakehouse_types::{Code, Fault, Members, PluginName, RuleName};
use serde::Serialize;

use crate::GuestMessage;

/// A component as errors and statistics name it: `redact-mask@1.2.0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct VersionedName {
    pub name: PluginName,
    pub version: Box<str>,
}

impl fmt::Display for VersionedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// How an answer broke its contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lie {
    #[error("{got} rows for {expected}")]
    RowCount { expected: usize, got: usize },
    #[error("no offsets, or a first offset other than 0")]
    OffsetsStart,
    #[error("offsets that decrease")]
    OffsetsDecrease,
    #[error("offsets that end at {end}, with {data} bytes of data")]
    OffsetsEnd { end: i64, data: usize },
    #[error("text that is not UTF-8 in every row")]
    Utf8,
    #[error("a validity bitmap of {got} bytes, not {expected}")]
    Validity { expected: usize, got: usize },
    #[error("a value where the input was null")]
    NullToValue,
    #[error("{got} values for {asked} values; the same type or text is allowed")]
    Type { asked: &'static str, got: &'static str },
    #[error("{got} values after it had answered with {promised} values")]
    TypeChanged { promised: String, got: String },
    #[error("a boolean that is neither 0 nor 1")]
    Boolean,
    #[error("a null where the input was a value")]
    ValueToNull,

    #[error("lists of spans that differ in length: {rows} rows, {starts} starts, {ends} ends")]
    SpanLists { rows: usize, starts: usize, ends: usize },
    #[error("a span of a document beyond the {documents} that were given")]
    SpanRow { documents: usize },
    #[error("a span of a null document")]
    SpanOfNull,
    #[error("a span that ends before it starts")]
    SpanBackwards,
    #[error("a span outside its document")]
    SpanOutside,
    #[error("a span that cuts a character")]
    SpanInsideCharacter,
    #[error("spans that are not in order, or a span twice")]
    SpanOrder,
    #[error("more than {limit} spans of one document")]
    SpanCount { limit: usize },

    #[error("document ids that do not lead back to their row keys")]
    NotInvertible,

    #[error("a dimension of {got}; 1 to {limit} are allowed")]
    Dimensions { got: u32, limit: u32 },
    #[error("a dimension of {got} after it had declared {promised}")]
    DimensionsChanged { promised: u32, got: u32 },
    #[error("{got} numbers for {expected}")]
    VectorLength { expected: usize, got: usize },
    #[error("a vector with a number that is not finite")]
    NotFinite,

    #[error("a request whose path does not stay below the provider's address")]
    RequestPath,
    #[error("a request with a malformed header")]
    RequestHeader,
    #[error("a request with a header that is the host's to set")]
    RequestOwnHeader,
    #[error("a request with more than {limit} headers")]
    RequestHeaders { limit: usize },
    #[error("a request with a body where none is sent")]
    RequestBody,
    #[error("a request with a body of more than {limit} bytes")]
    RequestBodySize { limit: usize },
}

/// How a call ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Crash {
    #[error("hit `unreachable`, as a panic does")]
    Unreachable,
    #[error("overflowed its stack")]
    StackOverflow,
    #[error("reached outside its memory")]
    OutOfBounds,
    #[error("asked to exit")]
    Exit,
    #[error("trapped ({0})")]
    Other(String),
    #[error("broke the canonical ABI ({0})")]
    Abi(&'static str),
    #[error("exports a {0} of another shape than lakehouse:plugin@0.1 has")]
    Shape(&'static str),
}

/// Something checked when a component is uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `component`, `size`, `imports`, `exports`, `limits`, `name`, `compile`, `instantiate`, `open`, `empty-call`, …
    pub check: &'static str,
    pub ok: bool,
    pub detail: String,
}

impl Check {
    pub(crate) fn passed(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, ok: true, detail: detail.into() }
    }

    pub(crate) fn failed(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, ok: false, detail: detail.into() }
    }
}

/// A failure of a rule or of the machinery around it.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    #[error("rule `{rule}` is not resolved: {why}")]
    Unresolved { rule: RuleName, why: String },
    #[error("rule `{rule}` asks for {limit} = {asked}; the server allows {ceiling}")]
    AboveCeiling { rule: RuleName, limit: &'static str, asked: u64, ceiling: u64 },
    #[error("rule `{rule}` asks for the grant `{grant}`, which this server cannot give")]
    UnknownGrant { rule: RuleName, grant: String },
    #[error("rule `{rule}` has a config that is not a JSON object")]
    ConfigShape { rule: RuleName },
    #[error("plugin `{plugin}` rejected its configuration")]
    Config { plugin: VersionedName, said: GuestMessage },

    #[error("plugin `{plugin}` ran past its deadline of {deadline:?}")]
    DeadlineExceeded { plugin: VersionedName, deadline: Duration },
    #[error("plugin `{plugin}` wanted more than its {limit_bytes} bytes of memory")]
    MemoryExceeded { plugin: VersionedName, limit_bytes: u64 },
    #[error("the query has no memory left for plugin `{plugin}`")]
    QueryMemory { plugin: VersionedName },
    #[error("plugin `{plugin}` answered with more than its {limit_bytes} bytes")]
    OutputExceeded { plugin: VersionedName, limit_bytes: u64 },
    #[error("plugin `{plugin}` {crash}")]
    Crashed { plugin: VersionedName, crash: Crash },
    #[error("plugin `{plugin}` returned {lie}")]
    Lied { plugin: VersionedName, lie: Lie },
    #[error("plugin `{plugin}` refused an input")]
    RefusedInput { plugin: VersionedName, row: Option<u32>, said: GuestMessage },
    #[error("plugin `{plugin}` does not support {what}")]
    Unsupported { plugin: VersionedName, what: String, said: GuestMessage },
    #[error("plugin `{plugin}` reported an internal error")]
    Internal { plugin: VersionedName, said: GuestMessage },
    #[error("a dry run of `{plugin}` failed")]
    DryRun { plugin: VersionedName, source: Box<PluginError>, logs: Vec<String> },

    #[error("component refused: {}", failures(checks))]
    Refused { checks: Vec<Check> },
    #[error("plugin `{0}` does not exist")]
    UnknownPlugin(PluginName),
    #[error("plugin `{plugin}` has no version `{version}`")]
    UnknownVersion { plugin: PluginName, version: String },
    #[error("plugin `{0}` has no earlier version to go back to")]
    NoEarlierVersion(PluginName),
    #[error("invalid dry run: {0}")]
    InvalidDryRun(String),

    #[error("all {pool} component instances are in use")]
    Busy { pool: usize },
    #[error("a column of {bytes} bytes is too large for one call")]
    InputTooLarge { bytes: usize },
    #[error("a column of type {0} cannot be handed to a rule")]
    InputType(String),
    #[error("a null has no embedding")]
    NullText,
    #[error("component {digest} is damaged in the store")]
    Damaged { digest: String },
    #[error("{what}")]
    Host {
        what: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(transparent)]
    Storage(#[from] lakehouse_storage::StorageError),
    #[error(transparent)]
    Journal(#[from] lakehouse_journal::JournalError),
}

fn failures(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks.iter().filter(|check| !check.ok) {
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(check.check);
        text.push_str(": ");
        text.push_str(&check.detail);
    }
    text
}

impl PluginError {
    pub(crate) fn host(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Host { what, source: source.into() }
    }

    /// The component whose fault it is.
    pub fn plugin(&self) -> Option<&VersionedName> {
        match self {
            Self::Config { plugin, .. }
            | Self::DeadlineExceeded { plugin, .. }
            | Self::MemoryExceeded { plugin, .. }
            | Self::OutputExceeded { plugin, .. }
            | Self::Crashed { plugin, .. }
            | Self::Lied { plugin, .. }
            | Self::RefusedInput { plugin, .. }
            | Self::Unsupported { plugin, .. }
            | Self::Internal { plugin, .. }
            | Self::DryRun { plugin, .. } => Some(plugin),
            _ => None,
        }
    }

    /// The component's own words, where it had any.
    pub fn said(&self) -> Option<&GuestMessage> {
        match self {
            Self::Config { said, .. }
            | Self::RefusedInput { said, .. }
            | Self::Unsupported { said, .. }
            | Self::Internal { said, .. } => Some(said),
            Self::DryRun { source, .. } => source.said(),
            _ => None,
        }
    }

    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, Self::DeadlineExceeded { .. })
    }
}

impl Fault for PluginError {
    fn code(&self) -> Code {
        match self {
            Self::Unresolved { .. } => Code::UnresolvedRule,
            Self::AboveCeiling { .. } | Self::UnknownGrant { .. } | Self::ConfigShape { .. } | Self::Unsupported { .. } => {
                Code::InvalidDefinition
            }
            Self::Config { .. } => Code::InvalidRuleConfig,
            Self::DeadlineExceeded { .. } => Code::PluginTimeout,
            Self::QueryMemory { .. } => Code::MemoryExceeded,
            Self::MemoryExceeded { .. }
            | Self::OutputExceeded { .. }
            | Self::Crashed { .. }
            | Self::Lied { .. }
            | Self::RefusedInput { .. }
            | Self::Internal { .. } => Code::PluginFailed,
            Self::DryRun { source, .. } => source.code(),
            Self::Refused { .. } => Code::PluginRefused,
            Self::UnknownPlugin(_) => Code::UnknownPlugin,
            Self::UnknownVersion { .. } | Self::NoEarlierVersion(_) => Code::UnknownVersion,
            Self::InvalidDryRun(_) => Code::InvalidBody,
            Self::Busy { .. } => Code::Busy,
            Self::InputTooLarge { .. } => Code::ResultTooLarge,
            Self::InputType(_) | Self::NullText => Code::InvalidDefinition,
            Self::Damaged { .. } => Code::Corrupt,
            Self::Host { .. } => Code::Internal,
            Self::Storage(error) => error.code(),
            Self::Journal(error) => error.code(),
        }
    }

    fn public(&self) -> String {
        match self {
            // Said by `open`, before the instance has seen a row.
            Self::Config { plugin, said } => format!("plugin `{plugin}` rejected its configuration: {}", said.as_str()),
            // The caller gave the rows.
            Self::DryRun { source, .. } => match source.said() {
                Some(said) if !matches!(**source, Self::Config { .. }) => format!("{}: {}", source.public(), said.as_str()),
                _ => source.public(),
            },
            Self::Host { .. } => self.code().title().to_owned(),
            Self::Storage(error) => error.public(),
            Self::Journal(error) => error.public(),
            other => other.to_string(),
        }
    }

    fn members(&self) -> Members {
        let mut members = match self {
            Self::Storage(error) => error.members(),
            Self::Journal(error) => error.members(),
            Self::DryRun { source, .. } => source.members(),
            _ => Members::new(),
        };
        if let Some(plugin) = self.plugin() {
            members.insert("plugin".to_owned(), plugin.to_string().into());
        }
        match self {
            Self::Refused { checks } => {
                members.insert("checks".to_owned(), serde_json::to_value(checks).unwrap_or_default());
            }
            Self::DryRun { logs, .. } => {
                members.insert("logs".to_owned(), logs.clone().into());
            }
            Self::Unresolved { rule, .. } => {
                members.insert("rule".to_owned(), rule.as_str().into());
            }
            _ => {}
        }
        members
    }
}
