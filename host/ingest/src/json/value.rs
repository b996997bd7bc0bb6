//! JSON values that keep their numbers: serde_json's own rounds what is longer than 64 bits.
//!
//! **Invariant**: a number is there as it was written, or as a number of 64 bits that says the same.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Number;
use serde_json::value::RawValue;

/// Members of an object that are looked up one by one.
const FEW: usize = 16;
/// Characters of the shortest number that 64 bits may not hold: a sign, digits and a point.
const LONG_CHARS: usize = 20;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Boolean(bool),
    Number(Number),
    /// A number of so many digits that 64 bits may not hold them, as it was written.
    Long(String),
    Text(String),
    List(Vec<Value>),
    Object(Object),
}

/// Members in the order in which they appeared; of those with one name the last counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Object {
    members: Vec<(String, Value)>,
    places: HashMap<String, usize>,
}

impl Object {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.place(name).map(|place| &self.members[place].1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.members.iter().map(|(name, value)| (name.as_str(), value))
    }

    fn place(&self, name: &str) -> Option<usize> {
        if self.places.is_empty() {
            return self.members.iter().position(|(known, _)| known == name);
        }
        self.places.get(name).copied()
    }

    fn insert(&mut self, name: String, value: Value) {
        if let Some(place) = self.place(&name) {
            self.members[place].1 = value;
            return;
        }
        if self.members.len() == FEW {
            self.places = self.members.iter().enumerate().map(|(place, (name, _))| (name.clone(), place)).collect();
        }
        if self.members.len() >= FEW {
            self.places.insert(name.clone(), self.members.len());
        }
        self.members.push((name, value));
    }
}

impl Value {
    /// # Errors
    /// When the bytes are no JSON.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let value: Self = serde_json::from_slice(bytes)?;
        // It is nested no deeper than serde_json allows.
        if has_long_number(bytes) { serde_json::from_slice(bytes).and_then(Self::exact) } else { Ok(value) }
    }

    fn exact(raw: &RawValue) -> Result<Self, serde_json::Error> {
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'{') => {
                let Members(members) = serde_json::from_str::<Members<&RawValue>>(text)?;
                let mut object = Object::default();
                members.into_iter().try_for_each(|(name, raw)| Self::exact(raw).map(|value| object.insert(name, value)))?;
                Ok(Self::Object(object))
            }
            Some(b'[') => {
                let values: Vec<&RawValue> = serde_json::from_str(text)?;
                values.into_iter().map(Self::exact).collect::<Result<_, _>>().map(Self::List)
            }
            Some(b'-' | b'0'..=b'9') if text.len() >= LONG_CHARS && !text.contains(['e', 'E']) => match text.parse::<i64>() {
                Ok(number) => Ok(Self::Number(number.into())),
                Err(_) => Ok(Self::Long(text.to_owned())),
            },
            _ => serde_json::from_str(text),
        }
    }
}

/// Whether a number may be in it that 64 bits do not hold. One in a string, or a date, does no harm.
fn has_long_number(bytes: &[u8]) -> bool {
    let is_part = |byte: &u8| matches!(byte, b'-' | b'.' | b'0'..=b'9');
    let mut at = LONG_CHARS - 1;
    // Any stretch of so many bytes has one at such a place.
    while let Some(byte) = bytes.get(at) {
        if is_part(byte) {
            let before = bytes[..at].iter().rev().take_while(|byte| is_part(byte)).count();
            let after = bytes[at..].iter().take(LONG_CHARS).take_while(|byte| is_part(byte)).count();
            if before + after >= LONG_CHARS {
                return true;
            }
        }
        at += LONG_CHARS;
    }
    false
}

/// As JSON, without spaces.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Boolean(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::Long(digits) => RawValue::from_string(digits.clone()).map_err(serde::ser::Error::custom)?.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(values) => values.serialize(serializer),
            Self::Object(object) => {
                let mut map = serializer.serialize_map(Some(object.members.len()))?;
                object.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = access.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut object = Object::default();
        while let Some((name, value)) = access.next_entry()? {
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

/// The members of an object as they come.
struct Members<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AnyMembers(std::marker::PhantomData))
    }
}

struct AnyMembers<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for AnyMembers<T> {
    type Value = Members<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Members<T>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{FEW, Value, has_long_number};

    fn again(text: &str) -> String {
        Value::parse(text.as_bytes()).unwrap().to_string()
    }

    #[test]
    fn what_is_written_is_read() {
        for text in [
            "12345678901234567890123",
            "-9223372036854775809",
            "18446744073709551615",
            "[1,-9223372036854775808,{\"a\":[12345678901234567890123,\"12345678901234567890123\",null,true]}]",
            "0.12345678901234567890",
            "1.5",
            "{\"a\":{},\"b\":[],\"é\":\"\\\"\\\\\"}",
        ] {
            assert_eq!(again(text), text);
        }
        assert_eq!(again("{\"a\": 1, \"b\": 12345678901234567890123, \"a\": 2}"), "{\"a\":2,\"b\":12345678901234567890123}");
    }

    #[test]
    fn members_are_found_in_small_and_large_objects() {
        for count in [0, 1, FEW, FEW + 1, 100] {
            let members: Vec<_> = (0..count).chain(0..count).map(|member| format!("\"m{member}\":{member}")).collect();
            let Value::Object(object) = Value::parse(format!("{{{}}}", members.join(",")).as_bytes()).unwrap() else { panic!() };
            assert_eq!(object.iter().count(), count);
            assert!((0..count).all(|member| object.get(&format!("m{member}")) == Some(&Value::Number(member.into()))));
            assert_eq!(object.get("m100"), None);
        }
    }

    #[test]
    fn deep_nesting_is_refused_with_and_without_long_numbers() {
        for inner in ["1", "12345678901234567890123"] {
            let nested = |depth| format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(again(&nested(100)), nested(100));
            assert!(Value::parse(nested(1_000_000).as_bytes()).is_err());
        }
    }

    proptest! {
        #[test]
        fn long_numbers_are_noticed_wherever_they_are(before in "[a-z]{0,50}", digits in "[1-9][0-9]{0,40}", after in "[a-z]{0,50}") {
            prop_assert_eq!(has_long_number(format!("{before}{digits}{after}").as_bytes()), digits.len() >= 20);
        }
    }
}
