//! What the derive expands to: reading a struct's keys and an enum's names.
//!
//! **Invariant**: an object with a key that nobody asks for is refused before any key is read.

use super::{Config, ConfigError};
use crate::{Map, Value};

/// The keys of one object, taken one after the other.
#[derive(Debug)]
pub struct Fields {
    rest: Map<String, Value>,
}

impl Fields {
    /// # Errors
    /// When the value is no object or has a key beside the known ones.
    pub fn open(value: Value, known: &[&str]) -> Result<Self, ConfigError> {
        let rest = match value {
            Value::Object(members) => members,
            other => return Err(ConfigError::expected("an object", &other)),
        };
        match rest.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(Self { rest }),
            Some(key) if known.is_empty() => Err(ConfigError::new(format!("unknown key {key:?}; there are no keys here"))),
            Some(key) => Err(ConfigError::new(format!("unknown key {key:?}; known keys: {}", list(known)))),
        }
    }

    /// A key, or what its absence means.
    ///
    /// # Errors
    /// When it is required and absent, or has another type.
    pub fn take<T: Config>(&mut self, key: &str) -> Result<T, ConfigError> {
        match self.rest.remove(key) {
            Some(value) => T::from_value(value).map_err(|error| error.inside(key)),
            None => T::absent().ok_or_else(|| ConfigError::new(format!("missing key \"{key}\""))),
        }
    }

    /// A key, or its default.
    ///
    /// # Errors
    /// When it has another type.
    pub fn take_or<T: Config>(&mut self, key: &str, default: impl FnOnce() -> T) -> Result<T, ConfigError> {
        match self.rest.remove(key) {
            Some(value) => T::from_value(value).map_err(|error| error.inside(key)),
            None => Ok(default()),
        }
    }
}

/// The index of a name among the known ones.
///
/// # Errors
/// When it is none of them.
pub fn choose(value: &Value, known: &[&str]) -> Result<usize, ConfigError> {
    let found = value.as_str().and_then(|name| known.iter().position(|candidate| *candidate == name));
    found.ok_or_else(|| ConfigError::new(format!("must be one of {}", list(known))))
}

fn list(known: &[&str]) -> String {
    let quoted: Vec<String> = known.iter().map(|name| format!("\"{name}\"")).collect();
    quoted.join(", ")
}
