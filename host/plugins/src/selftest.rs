//! What a component must do before it may be active.
//!
//! **Invariant**: a component that cannot be instantiated, or disobeys a call with no rows, never replaces one that can.

use std::{sync::Arc, time::Duration};

use arrow::datatypes::DataType;
use lakehouse_catalog::RuleKind;
use serde_json::{Map, Value};

use crate::{
    ChatRequest, Limits, Message, PluginError, Role,
    column::{Column, empty},
    condition::Contexts,
    error::Check,
    log::GuestLog,
    opened::Opened,
    rule::Rule,
    runtime::{Options, Place, Runtime},
    version::Version,
    wit::exports::lakehouse::plugin::{chunker, condition, embedder, id_mapper, model_adapter, redactor},
};

/// A start function or an empty call that takes longer is refused.
const DEADLINE: Duration = Duration::from_secs(2);

/// Checks each kind that `version` exports.
pub(crate) async fn run(runtime: &Arc<Runtime>, version: &Arc<Version>) -> Result<Vec<Check>, PluginError> {
    let mut checks = Vec::new();
    for kind in version.record.kinds.clone() {
        let configs = configs(version.record.config_schema.as_ref());
        let outcome = check_kind(runtime, version, kind, &configs, &mut checks).await;
        match outcome {
            Ok(()) => {}
            Err(error @ (PluginError::Busy { .. } | PluginError::Host { .. } | PluginError::Storage(_))) => return Err(error),
            Err(error) => {
                let said = error.said().map(|said| format!(": {}", said.as_str())).unwrap_or_default();
                checks.push(Check::failed(kind.as_str(), format!("{error}{said}")));
                return Err(PluginError::Refused { checks });
            }
        }
    }
    Ok(checks)
}

async fn check_kind(
    runtime: &Arc<Runtime>,
    version: &Arc<Version>,
    kind: RuleKind,
    configs: &[String],
    checks: &mut Vec<Check>,
) -> Result<(), PluginError> {
    let ceilings = runtime.ceilings;
    let limits = Limits { memory_bytes: ceilings.memory_bytes, deadline: DEADLINE.min(ceilings.deadline), ..Limits::default() };
    let log = GuestLog::discarded(version.counters.discarded_lines());
    let options = Options { limits, log, meter: None, place: Place::SelfTest };
    let loaded = version.code().await?;
    let mut wants = None;
    for config in configs {
        let rule = Rule {
            runtime: Arc::clone(runtime),
            version: Arc::clone(version),
            loaded: Arc::clone(&loaded),
            config: config.as_str().into(),
            options: options.clone(),
        };
        let calling = rule.clone();
        let called = rule.on_cpu(async move { try_out(&calling, kind).await }).await;
        match called {
            Ok(detail) => {
                checks.push(Check::passed(kind.as_str(), detail));
                return Ok(());
            }
            Err(PluginError::Config { said, .. }) => wants = Some(said),
            Err(error) => return Err(error),
        }
    }
    let wants = wants.map(|said| said.as_str().to_owned()).unwrap_or_default();
    checks.push(Check::passed(kind.as_str(), format!("instantiated; needs a configuration ({wants}), so it was not called")));
    Ok(())
}

/// Opens the rule and asks it nothing.
pub(crate) async fn open(rule: &Rule, kind: RuleKind) -> Result<(), PluginError> {
    match kind {
        RuleKind::Redactor => Opened::<redactor::Guest>::open(rule).await.map(drop),
        RuleKind::Condition => Opened::<condition::Guest>::open(rule).await.map(drop),
        RuleKind::Chunker => Opened::<chunker::Guest>::open(rule).await.map(drop),
        RuleKind::IdMapper => Opened::<id_mapper::Guest>::open(rule).await.map(drop),
        RuleKind::Embedder => Opened::<embedder::Guest>::open(rule).await.map(drop),
        RuleKind::ModelAdapter => Opened::<model_adapter::Guest>::open(rule).await.map(drop),
    }
}

/// Opens the rule and asks as little of it as can be asked.
async fn try_out(rule: &Rule, kind: RuleKind) -> Result<String, PluginError> {
    match kind {
        RuleKind::Redactor => empty_redaction(rule).await,
        RuleKind::Condition => empty_evaluation(rule).await,
        RuleKind::Chunker => no_chunks(rule).await,
        RuleKind::IdMapper => no_ids(rule).await,
        RuleKind::Embedder => no_vectors(rule).await,
        RuleKind::ModelAdapter => one_request(rule).await,
    }
}

async fn empty_redaction(rule: &Rule) -> Result<String, PluginError> {
    let mut opened = Opened::<redactor::Guest>::open(rule).await?;
    match opened.redact(rule, &no_texts()?).await {
        Ok(_) => Ok("instantiated, opened, answered a column of no rows".to_owned()),
        Err(PluginError::Unsupported { .. }) => Ok("instantiated, opened, does not take text".to_owned()),
        Err(error) => Err(error),
    }
}

async fn empty_evaluation(rule: &Rule) -> Result<String, PluginError> {
    let mut opened = Opened::<condition::Guest>::open(rule).await?;
    opened.evaluate(rule, &Contexts::of(&[])?).await?;
    Ok("instantiated, opened, answered no contexts".to_owned())
}

async fn no_chunks(rule: &Rule) -> Result<String, PluginError> {
    let mut opened = Opened::<chunker::Guest>::open(rule).await?;
    opened.chunk(rule, &no_texts()?).await?;
    Ok("instantiated, opened, cut no documents".to_owned())
}

async fn no_ids(rule: &Rule) -> Result<String, PluginError> {
    let mut opened = Opened::<id_mapper::Guest>::open(rule).await?;
    match opened.doc_ids(rule, &no_texts()?).await {
        Ok(_) => Ok("instantiated, opened, mapped no keys and back".to_owned()),
        Err(PluginError::Unsupported { .. }) => Ok("instantiated, opened, does not take text".to_owned()),
        Err(error) => Err(error),
    }
}

async fn no_vectors(rule: &Rule) -> Result<String, PluginError> {
    let mut opened = Opened::<embedder::Guest>::open(rule).await?;
    let dimensions = opened.dimensions(rule).await?;
    opened.embed(rule, &no_texts()?, dimensions).await?;
    Ok(format!("instantiated, opened, embedded no texts in {dimensions} dimensions"))
}

/// An adapter has no empty call: a request costs nothing as long as nobody sends it.
async fn one_request(rule: &Rule) -> Result<String, PluginError> {
    let mut opened = Opened::<model_adapter::Guest>::open(rule).await?;
    let can = opened.capabilities(rule).await?;
    if !can.chat {
        return Ok("instantiated, opened, does not chat".to_owned());
    }
    let hello = Message { role: Role::User, text: "hello".to_owned(), name: None };
    let request = ChatRequest {
        model: "model".to_owned(),
        messages: vec![hello],
        temperature: None,
        max_tokens: None,
        stop: Vec::new(),
        stream: false,
        think: None,
    };
    match opened.chat(rule, request).await {
        Ok(_) => Ok("instantiated, opened, made a well-formed request".to_owned()),
        Err(PluginError::RefusedInput { .. } | PluginError::Unsupported { .. }) => {
            Ok("instantiated, opened, takes other requests than a plain one".to_owned())
        }
        Err(error) => Err(error),
    }
}

fn no_texts() -> Result<Column, PluginError> {
    Column::of(&empty(&DataType::Utf8))
}

/// Configurations to try: an empty one, then one with every default and the smallest of everything required.
fn configs(schema: Option<&Value>) -> Vec<String> {
    let mut configs = vec!["{}".to_owned()];
    let Some(properties) = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object) else {
        return configs;
    };
    let required: Vec<&str> = schema
        .and_then(|schema| schema.get("required"))
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let mut config = Map::new();
    for (name, property) in properties {
        let given = property.get("default").or_else(|| property.get("examples").and_then(|examples| examples.get(0)));
        match given {
            Some(value) => drop(config.insert(name.clone(), value.clone())),
            None if required.contains(&name.as_str()) => drop(config.insert(name.clone(), smallest(property))),
            None => {}
        }
    }
    configs.push(Value::Object(config).to_string());
    configs
}

fn smallest(property: &Value) -> Value {
    if let Some(first) = property.get("enum").and_then(|values| values.get(0)) {
        return first.clone();
    }
    match property.get("type").and_then(Value::as_str) {
        Some("integer" | "number") => property.get("minimum").cloned().unwrap_or_else(|| 1.into()),
        Some("boolean") => Value::Bool(false),
        Some("array") => Value::Array(Vec::new()),
        Some("object") => Value::Object(Map::new()),
        _ => Value::String("x".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    #[test]
    fn a_schema_yields_a_config_to_try() {
        let schema = json!({ "required": ["keep", "mode"], "properties": {
            "keep": { "type": "integer", "minimum": 2 }, "mode": { "enum": ["a", "b"] }, "salt": { "type": "string", "default": "s" },
            "note": { "type": "string" } } });
        let configs = super::configs(Some(&schema));
        assert_eq!(configs[0], "{}");
        assert_eq!(serde_json::from_str::<Value>(&configs[1]).unwrap(), json!({ "keep": 2, "mode": "a", "salt": "s" }));
        assert_eq!(super::configs(None).len(), 1);
    }
}
