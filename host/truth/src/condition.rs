//! What a rule asks of a context: a test the host knows, or one that a component knows.

use std::cmp::Ordering;

use lakehouse_plugins::Verdict;
use lakehouse_types::RuleName;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::DotPath;

/// A test, and whether the rule wants it to fail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Condition {
    pub test: Test,
    /// Holds when the test does not.
    pub negate: bool,
}

/// A test of one context.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// The field is there and equals the value. Numbers compare as numbers: 1 equals 1.0.
    FieldEquals {
        path: DotPath,
        value: Value,
    },
    /// The field is missing, null or `""`.
    FieldEmpty {
        path: DotPath,
    },
    /// The field is a number above the value.
    FieldGreater {
        path: DotPath,
        value: Number,
    },
    Always,
    /// A rule of the request's profile; `config` is laid over the binding's own.
    Plugin {
        rule: RuleName,
        config: Option<Value>,
    },
}

/// A test's answer: the fact, in words without values of the context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) holds: bool,
    pub(crate) why: String,
}

impl Finding {
    fn new(holds: bool, why: String) -> Self {
        Self { holds, why }
    }
}

impl Test {
    /// The answer, for tests that the host knows. A test that a component knows is `Err` of its rule and config.
    pub(crate) fn find(&self, context: &Value) -> Result<Finding, (&RuleName, Option<&Value>)> {
        Ok(match self {
            Self::Always => Finding::new(true, "always holds".to_owned()),
            Self::FieldEmpty { path } => match path.find(context) {
                None => Finding::new(true, format!("`{path}` is missing")),
                Some(Value::Null) => Finding::new(true, format!("`{path}` is null")),
                Some(Value::String(text)) if text.is_empty() => Finding::new(true, format!("`{path}` is empty")),
                Some(_) => Finding::new(false, format!("`{path}` is filled")),
            },
            Self::FieldEquals { path, value } => match path.find(context) {
                None => Finding::new(false, format!("`{path}` is missing")),
                Some(found) if is_equal(found, value) => Finding::new(true, format!("`{path}` is as required")),
                Some(_) => Finding::new(false, format!("`{path}` is not as required")),
            },
            Self::FieldGreater { path, value } => match path.find(context) {
                None => Finding::new(false, format!("`{path}` is missing")),
                Some(Value::Number(found)) if compare(found, value) == Some(Ordering::Greater) => {
                    Finding::new(true, format!("`{path}` is greater than {value}"))
                }
                Some(Value::Number(_)) => Finding::new(false, format!("`{path}` is not greater than {value}")),
                Some(_) => Finding::new(false, format!("`{path}` is not a number")),
            },
            Self::Plugin { rule, config } => return Err((rule, config.as_ref())),
        })
    }
}

impl Finding {
    /// What a component answered.
    pub(crate) fn of_plugin(rule: &RuleName, verdict: Verdict) -> Self {
        match verdict {
            Verdict::Holds => Self::new(true, format!("rule `{rule}` holds")),
            Verdict::Fails(why) if why.is_empty() => Self::new(false, format!("rule `{rule}` does not hold")),
            Verdict::Fails(why) => Self::new(false, why),
        }
    }
}

fn is_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare(a, b) == Some(Ordering::Equal),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| is_equal(a, b)))
        }
        (a, b) => a == b,
    }
}

/// Whole numbers exactly; otherwise as 64-bit floats.
fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

/// As it stands in a file: exactly one test, and perhaps `negate`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    field_equals: Option<Equals>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    field_empty: Option<DotPath>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    field_greater: Option<Greater>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    always: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plugin: Option<RuleName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<Value>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    negate: bool,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Equals {
    path: DotPath,
    value: Value,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Greater {
    path: DotPath,
    value: Number,
}

#[derive(Debug, thiserror::Error)]
enum WireError {
    #[error("a condition has exactly one of `field_equals`, `field_empty`, `field_greater`, `always`, `plugin`")]
    One,
    #[error("`always` can only be true; use `negate = true` for a rule that never holds")]
    Never,
    #[error("`config` belongs to `plugin` and is a table")]
    Config,
}

impl TryFrom<Wire> for Condition {
    type Error = WireError;

    fn try_from(wire: Wire) -> Result<Self, WireError> {
        let Wire { field_equals, field_empty, field_greater, always, plugin, config, negate } = wire;
        if always == Some(false) {
            return Err(WireError::Never);
        }
        let is_config_fit = config.as_ref().is_none_or(|config| plugin.is_some() && config.is_object());
        let mut tests = [
            field_equals.map(|Equals { path, value }| Test::FieldEquals { path, value: dates_as_text(value) }),
            field_empty.map(|path| Test::FieldEmpty { path }),
            field_greater.map(|Greater { path, value }| Test::FieldGreater { path, value }),
            always.map(|_| Test::Always),
            plugin.map(|rule| Test::Plugin { rule, config: config.map(dates_as_text) }),
        ]
        .into_iter()
        .flatten();
        let (Some(test), None) = (tests.next(), tests.next()) else { return Err(WireError::One) };
        if is_config_fit { Ok(Self { test, negate }) } else { Err(WireError::Config) }
    }
}

/// TOML has dates, JSON has texts. `toml` hands a date to other formats as a map of this one key.
fn dates_as_text(value: Value) -> Value {
    const DATE: &str = "$__toml_private_datetime";
    match value {
        Value::Object(mut members) if members.len() == 1 && members.contains_key(DATE) => {
            members.remove(DATE).unwrap_or_default()
        }
        Value::Object(members) => members.into_iter().map(|(name, value)| (name, dates_as_text(value))).collect(),
        Value::Array(items) => items.into_iter().map(dates_as_text).collect(),
        value => value,
    }
}

impl From<Condition> for Wire {
    fn from(condition: Condition) -> Self {
        let wire = Self { negate: condition.negate, ..Self::default() };
        match condition.test {
            Test::FieldEquals { path, value } => Self { field_equals: Some(Equals { path, value }), ..wire },
            Test::FieldEmpty { path } => Self { field_empty: Some(path), ..wire },
            Test::FieldGreater { path, value } => Self { field_greater: Some(Greater { path, value }), ..wire },
            Test::Always => Self { always: Some(true), ..wire },
            Test::Plugin { rule, config } => Self { plugin: Some(rule), config, ..wire },
        }
    }
}

#[cfg(test)]
mod tests;
