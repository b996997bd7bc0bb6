//! Configurations: typed, from JSON, with errors that say what to change.
//!
//! **Invariant**: nothing is ignored. An unknown key, a missing key and a value of another type are refused by name; a value itself
//! is never repeated, it may be a secret.

mod fields;
#[cfg(test)]
mod tests;
mod values;

use std::fmt;

pub use fields::{Fields, choose};

use crate::schema::Schema;
use crate::{Error, Value};

/// What can be read from JSON: a whole configuration or a value in one. Derive it.
pub trait Config: Sized {
    /// How the value is described to whoever writes it.
    const SCHEMA: Schema;

    /// # Errors
    /// [`ConfigError`], relative to this value.
    fn from_value(value: Value) -> Result<Self, ConfigError>;

    /// What an absent key means; `None` means that it is required.
    fn absent() -> Option<Self> {
        None
    }
}

/// A configuration that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where, such as `kinds[2]`; empty at the top.
    path: String,
    message: String,
}

impl ConfigError {
    pub fn new(message: impl Into<String>) -> Self {
        Self { path: String::new(), message: message.into() }
    }

    /// A value of another type than wanted.
    pub(crate) fn expected(what: &str, found: &Value) -> Self {
        let found = match found {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "this number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        Self::new(format!("must be {what}, not {found}"))
    }

    /// The same error seen from one level up, where `step` is `key` or `[index]`.
    #[must_use]
    pub(crate) fn inside(mut self, step: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{step}{dot}{}", self.path);
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "\"{}\" {}", self.path, self.message) }
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::InvalidConfig(error.to_string())
    }
}

/// What every kind of rule has beside its own functions: `prepare` and `open`.
macro_rules! opening {
    () => {
        /// Called once after the configuration was read, to check what types cannot say and to compute what is needed later.
        ///
        /// # Errors
        /// [`Error::InvalidConfig`](crate::Error::InvalidConfig); its message is shown to whoever bound the rule.
        fn prepare(&mut self) -> Result<(), crate::Error> {
            Ok(())
        }

        /// The rule for a configuration, as the host opens it.
        ///
        /// # Errors
        /// [`Error::InvalidConfig`](crate::Error::InvalidConfig).
        fn open(config: &str) -> Result<Self, crate::Error> {
            let mut rule: Self = crate::config::parse(config)?;
            rule.prepare()?;
            Ok(rule)
        }
    };
}
pub(crate) use opening;

/// A rule's configuration from the text that the host hands over.
pub(crate) fn parse<C: Config>(config: &str) -> Result<C, Error> {
    let value: Value = serde_json::from_str(config).map_err(|_| Error::InvalidConfig("not JSON".into()))?;
    if !value.is_object() {
        return Err(Error::InvalidConfig("must be a JSON object".into()));
    }
    Ok(C::from_value(value)?)
}
