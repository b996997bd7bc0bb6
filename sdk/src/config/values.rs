//! The types that a configuration may be made of.
//!
//! **Invariant**: no conversion loses anything: a number that does not fit, a string for a number or a fraction for a whole number
//! is an error.

use std::collections::BTreeMap;

use super::{Config, ConfigError};
use crate::Value;
use crate::schema::Schema;

macro_rules! whole_numbers {
    ($($number:ty as $through:ident),+) => {$(
        impl Config for $number {
            const SCHEMA: Schema = Schema::Integer { min: <$number>::MIN as i128, max: <$number>::MAX as i128 };

            fn from_value(value: Value) -> Result<Self, ConfigError> {
                value.$through().and_then(|number| number.try_into().ok()).ok_or_else(|| {
                    ConfigError::expected(&format!("a whole number from {} to {}", <$number>::MIN, <$number>::MAX), &value)
                })
            }
        }
    )+};
}

whole_numbers!(
    u8 as as_u64,
    u16 as as_u64,
    u32 as as_u64,
    u64 as as_u64,
    i8 as as_i64,
    i16 as as_i64,
    i32 as as_i64,
    i64 as as_i64
);

impl Config for f64 {
    const SCHEMA: Schema = Schema::Number;

    fn from_value(value: Value) -> Result<Self, ConfigError> {
        value.as_f64().ok_or_else(|| ConfigError::expected("a number", &value))
    }
}

impl Config for bool {
    const SCHEMA: Schema = Schema::Boolean;

    fn from_value(value: Value) -> Result<Self, ConfigError> {
        value.as_bool().ok_or_else(|| ConfigError::expected("true or false", &value))
    }
}

impl Config for String {
    const SCHEMA: Schema = Schema::Text;

    fn from_value(value: Value) -> Result<Self, ConfigError> {
        match value {
            Value::String(text) => Ok(text),
            other => Err(ConfigError::expected("a string", &other)),
        }
    }
}

impl<T: Config> Config for Option<T> {
    const SCHEMA: Schema = T::SCHEMA;

    fn from_value(value: Value) -> Result<Self, ConfigError> {
        if value.is_null() { Ok(None) } else { T::from_value(value).map(Some) }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Config> Config for Vec<T> {
    const SCHEMA: Schema = Schema::List { items: &T::SCHEMA };

    fn from_value(value: Value) -> Result<Self, ConfigError> {
        let Value::Array(items) = value else {
            return Err(ConfigError::expected("a list", &value));
        };
        let item = |(index, item)| T::from_value(item).map_err(|error| error.inside(&format!("[{index}]")));
        items.into_iter().enumerate().map(item).collect()
    }
}

impl<T: Config> Config for BTreeMap<String, T> {
    const SCHEMA: Schema = Schema::Map { values: &T::SCHEMA };

    fn from_value(value: Value) -> Result<Self, ConfigError> {
        let Value::Object(members) = value else {
            return Err(ConfigError::expected("an object", &value));
        };
        let member = |(key, value): (String, Value)| match T::from_value(value) {
            Ok(value) => Ok((key, value)),
            Err(error) => Err(error.inside(&key)),
        };
        members.into_iter().map(member).collect()
    }
}

/// Anything at all, for a rule that looks into it by itself.
impl Config for Value {
    const SCHEMA: Schema = Schema::Any;

    fn from_value(value: Value) -> Result<Self, ConfigError> {
        Ok(value)
    }
}
