//! A rule tried on sample rows of the caller's own.
//!
//! **Invariant**: nothing is stored, and nothing is hidden: the caller gave every value that the component saw, so its words and
//! logs are returned, whether it could be opened or not. What requests are counted by is left alone.

mod exchange; // a model adapter, with a response that the caller made up
mod rows; // the kinds that take rows

use std::{sync::Arc, time::Instant};

use lakehouse_catalog::{ComponentRef, Pin, RuleKind};
use lakehouse_types::PluginName;
use serde::Serialize;
use serde_json::Value;

use super::Registry;
use crate::{
    Ceilings, ChatRequest, EmbedRequest, HttpResponse, Limits, PluginError,
    error::VersionedName,
    instance::Instance,
    log::GuestLog,
    opened::{Face, Opened},
    rule::Rule,
    runtime::{Options, Place},
};

/// Sample rows of one dry run.
const MAX_ROWS: usize = 10_000;
/// Text of chunks that is shown; overlap may multiply what came in.
const MAX_CHUNK_BYTES: usize = 16 << 20;
/// Chunks that are shown.
const MAX_CHUNKS: usize = 100_000;
/// Numbers of vectors that are shown.
const MAX_NUMBERS: usize = 1_000_000;

/// What to try.
#[derive(Debug, Clone)]
pub struct DryRun {
    /// A JSON object, or null.
    pub config: Value,
    /// `1.2` or `sha256:…`; the active version when absent.
    pub version: Option<String>,
    pub input: DryRunInput,
    /// The default limits, as far as the ceilings allow, when absent; one above its ceiling is refused.
    pub limits: Option<Limits>,
}

/// Sample rows or requests, by kind.
#[derive(Debug, Clone)]
pub enum DryRunInput {
    /// For a redactor: texts, integers, numbers or booleans, and nulls.
    Values(Vec<Value>),
    /// For a condition: JSON objects.
    Contexts(Vec<Value>),
    /// For a chunker: texts and nulls.
    Documents(Vec<Option<String>>),
    /// For an id mapper: texts or integers, and nulls.
    Keys(Vec<Value>),
    /// For an id mapper, the other way.
    DocIds(Vec<Option<String>>),
    /// For an embedder.
    Texts(Vec<String>),
    /// For a model adapter: a chat, and what the provider might respond.
    Chat(Box<ChatRequest>, Option<HttpResponse>),
    /// For a model adapter: texts to embed, and what the provider might respond.
    Embed(EmbedRequest, Option<HttpResponse>),
}

impl DryRunInput {
    fn kind(&self) -> RuleKind {
        match self {
            Self::Values(_) => RuleKind::Redactor,
            Self::Contexts(_) => RuleKind::Condition,
            Self::Documents(_) => RuleKind::Chunker,
            Self::Keys(_) | Self::DocIds(_) => RuleKind::IdMapper,
            Self::Texts(_) => RuleKind::Embedder,
            Self::Chat(..) | Self::Embed(..) => RuleKind::ModelAdapter,
        }
    }

    fn rows(&self) -> usize {
        match self {
            Self::Values(rows) | Self::Contexts(rows) | Self::Keys(rows) => rows.len(),
            Self::Documents(rows) | Self::DocIds(rows) => rows.len(),
            Self::Texts(rows) => rows.len(),
            Self::Chat(request, _) => request.messages.len(),
            Self::Embed(request, _) => request.texts.len(),
        }
    }
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DryRunReport {
    pub plugin: VersionedName,
    /// One for each row of the input: a value, a verdict, a list of chunks, an id, a vector; one for a chat.
    pub outputs: Vec<Value>,
    /// Opening included.
    pub duration_us: u64,
    /// Guest memory at the end.
    pub memory_bytes: u64,
    pub logs: Vec<String>,
    /// Log lines beyond the limit.
    pub logs_dropped: u64,
}

impl Registry {
    /// Calls a plugin, enabled or not, with the caller's own rows.
    ///
    /// # Errors
    /// When there is no such plugin or version, when the input fits no column, or with what the component did wrong, its own words
    /// and logs included.
    pub async fn dry_run(&self, name: &PluginName, what: DryRun) -> Result<DryRunReport, PluginError> {
        let DryRun { config, version, input, limits } = what;
        let invalid = |why: &str| PluginError::InvalidDryRun(why.to_owned());
        if input.rows() > MAX_ROWS {
            return Err(invalid(&format!("at most {MAX_ROWS} rows")));
        }
        let config = match config {
            Value::Null => "{}".to_owned(),
            Value::Object(_) => config.to_string(),
            _ => return Err(invalid("`config` must be an object")),
        };
        let plugin = self.plugin(name)?;
        let pin = match &version {
            None => Pin::Active,
            Some(text) => {
                let unknown = || PluginError::UnknownVersion { plugin: name.clone(), version: crate::message::escape(text, 80) };
                format!("{name}@{text}").parse::<ComponentRef>().map_err(|_| unknown())?.pin
            }
        };
        let found = plugin.record.find(&pin).and_then(|record| plugin.version(&record.digest));
        let version =
            found.ok_or_else(|| PluginError::UnknownVersion { plugin: name.clone(), version: super::change::pin_text(&pin) })?;
        let kind = input.kind();
        if !version.record.kinds.contains(&kind) {
            return Err(invalid(&format!("`{}` is no {kind}", version.id)));
        }
        let limits = match limits {
            Some(asked) => within(asked, &self.runtime.ceilings)?,
            None => Limits::default().capped(&self.runtime.ceilings),
        };
        let rule = Rule {
            runtime: Arc::clone(&self.runtime),
            version: version.uncounted(),
            loaded: version.code().await?,
            config: config.into(),
            options: Options { limits, log: GuestLog::kept(limits.log_bytes), meter: None, place: Place::Request },
        };
        let running = rule.clone();
        let tried = rule.on_cpu(async move {
            match input {
                DryRunInput::Values(values) => rows::redaction(&running, &values).await,
                DryRunInput::Contexts(contexts) => rows::evaluation(&running, &contexts).await,
                DryRunInput::Documents(documents) => rows::chunks(&running, documents).await,
                DryRunInput::Keys(keys) => rows::doc_ids(&running, &keys).await,
                DryRunInput::DocIds(doc_ids) => rows::row_keys(&running, doc_ids).await,
                DryRunInput::Texts(texts) => rows::vectors(&running, texts).await,
                DryRunInput::Chat(request, response) => exchange::chat(&running, *request, response).await,
                DryRunInput::Embed(request, response) => exchange::embed(&running, request, response).await,
            }
        });
        let outcome = tried.await;
        version.counters.tried(&outcome);
        outcome
    }
}

/// Opens the rule, and remembers when that began.
struct Attempt<'r, F> {
    rule: &'r Rule,
    begun: Instant,
    opened: Opened<F>,
}

impl<'r, F: Face> Attempt<'r, F> {
    async fn begin(rule: &'r Rule) -> Result<Self, PluginError> {
        let begun = Instant::now();
        let opened = Opened::open(rule).await.map_err(|error| failed(rule, error))?;
        Ok(Self { rule, begun, opened })
    }

    /// The answer of a call, or the failure with the component's logs.
    fn check<T>(&self, answer: Result<T, PluginError>) -> Result<T, PluginError> {
        answer.map_err(|error| failed(self.rule, error))
    }

    fn report(&self, outputs: Vec<Value>) -> DryRunReport {
        report(self.rule, outputs, self.begun, &self.opened.instance)
    }
}

fn report(rule: &Rule, outputs: Vec<Value>, begun: Instant, instance: &Instance) -> DryRunReport {
    let (logs, logs_dropped) = rule.options.log.take();
    DryRunReport {
        plugin: rule.plugin(),
        outputs,
        duration_us: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        memory_bytes: instance.memory_bytes(),
        logs,
        logs_dropped,
    }
}

fn failed(rule: &Rule, error: PluginError) -> PluginError {
    if error.plugin().is_none() {
        return error;
    }
    PluginError::DryRun { plugin: rule.plugin(), source: Box::new(error), logs: rule.options.log.take().0 }
}

/// The limits that were asked for, if every one is within its ceiling.
fn within(asked: Limits, ceilings: &Ceilings) -> Result<Limits, PluginError> {
    match asked.above(ceilings) {
        None => Ok(asked),
        Some(limit) => Err(PluginError::InvalidDryRun(format!("`{limit}` is above what the server allows"))),
    }
}

#[cfg(test)]
mod tests;
