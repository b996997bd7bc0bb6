//! A rule tried on sample rows of the caller's own.
//!
//! **Invariant**: nothing is stored, and nothing is hidden: the caller gave every value that the component saw, so its words and
//! logs are returned, whether it could be opened or not. What requests are counted by is left alone.

use std::{sync::Arc, time::Instant};

use arrow::{
    array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray},
    datatypes::{DataType, Field},
    json::writer::{EncoderOptions, make_encoder},
};
use lakehouse_catalog::{ComponentRef, Pin, RuleKind};
use lakehouse_types::PluginName;
use serde::Serialize;
use serde_json::{Value, json};

use super::Registry;
use crate::{
    Ceilings, Limits, PluginError, Verdict,
    column::Column,
    condition::{self, Contexts},
    error::VersionedName,
    instance::Instance,
    log::GuestLog,
    redactor,
    rule::Rule,
    runtime::{Options, Place},
};

/// Sample rows of one dry run.
const MAX_ROWS: usize = 10_000;

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

/// Sample rows, by kind.
#[derive(Debug, Clone)]
pub enum DryRunInput {
    /// For a redactor: texts, integers, numbers or booleans, and nulls.
    Values(Vec<Value>),
    /// For a condition: JSON objects.
    Contexts(Vec<Value>),
}

impl DryRunInput {
    fn kind(&self) -> RuleKind {
        match self {
            Self::Values(_) => RuleKind::Redactor,
            Self::Contexts(_) => RuleKind::Condition,
        }
    }
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DryRunReport {
    pub plugin: VersionedName,
    /// One for each row of the input.
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
        let rows = match &input {
            DryRunInput::Values(rows) | DryRunInput::Contexts(rows) => rows.len(),
        };
        if rows > MAX_ROWS {
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
            found.ok_or_else(|| PluginError::UnknownVersion { plugin: name.clone(), version: super::pin_text(&pin) })?;
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
        let outcome = match input {
            DryRunInput::Values(values) => {
                let values = array_of(&values)?;
                rule.on_cpu(async move { redaction(&running, &values).await }).await
            }
            DryRunInput::Contexts(contexts) => rule.on_cpu(async move { evaluation(&running, &contexts).await }).await,
        };
        version.counters.tried(&outcome);
        outcome
    }
}

async fn redaction(rule: &Rule, values: &ArrayRef) -> Result<DryRunReport, PluginError> {
    let begun = Instant::now();
    let mut opened = redactor::Opened::open(rule).await.map_err(|error| failed(rule, error))?;
    let answer = opened.call(rule, &Column::of(values)?).await;
    let answer = answer.map_err(|error| failed(rule, error))?;
    Ok(report(rule, json_values(&answer)?, begun, &opened.instance))
}

async fn evaluation(rule: &Rule, contexts: &[Value]) -> Result<DryRunReport, PluginError> {
    let begun = Instant::now();
    let mut opened = condition::Opened::open(rule).await.map_err(|error| failed(rule, error))?;
    let answer = opened.call(rule, &Contexts::of(contexts)?).await;
    let verdicts = answer.map_err(|error| failed(rule, error))?;
    let outputs = verdicts.into_iter().map(|verdict| match verdict {
        Verdict::Holds => json!({ "holds": true }),
        Verdict::Fails(why) => json!({ "holds": false, "why": why }),
    });
    Ok(report(rule, outputs.collect(), begun, &opened.instance))
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

/// A column of the narrowest type that holds every value; mixed values are JSON text.
fn array_of(values: &[Value]) -> Result<ArrayRef, PluginError> {
    let all = |is: fn(&Value) -> bool| values.iter().all(|value| value.is_null() || is(value));
    Ok(if all(Value::is_string) {
        Arc::new(values.iter().map(Value::as_str).collect::<StringArray>())
    } else if all(Value::is_i64) {
        Arc::new(values.iter().map(Value::as_i64).collect::<Int64Array>())
    } else if all(Value::is_number) {
        Arc::new(values.iter().map(Value::as_f64).collect::<Float64Array>())
    } else if all(Value::is_boolean) {
        Arc::new(values.iter().map(Value::as_bool).collect::<BooleanArray>())
    } else if all(|value| value.is_object() || value.is_array()) {
        let texts = values.iter().map(|value| (!value.is_null()).then(|| value.to_string()));
        Arc::new(texts.collect::<StringArray>())
    } else {
        return Err(PluginError::InvalidDryRun("`values` must be of one type".to_owned()));
    })
}

fn json_values(array: &ArrayRef) -> Result<Vec<Value>, PluginError> {
    let failed = |error: arrow::error::ArrowError| PluginError::host("writing the outputs of a dry run", error);
    if let DataType::Binary = array.data_type() {
        return Err(PluginError::InvalidDryRun("the rule answers with binary values".to_owned()));
    }
    let field = Arc::new(Field::new("value", array.data_type().clone(), true));
    let options = EncoderOptions::default();
    let mut encoder = make_encoder(&field, array.as_ref(), &options).map_err(failed)?;
    let mut text = Vec::new();
    (0..array.len())
        .map(|row| {
            if encoder.is_null(row) {
                return Ok(Value::Null);
            }
            text.clear();
            encoder.encode(row, &mut text);
            serde_json::from_slice(&text).map_err(|error| PluginError::host("writing the outputs of a dry run", error))
        })
        .collect()
}

#[cfg(test)]
mod tests;
