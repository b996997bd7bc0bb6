//! What all rows have in common.
//!
//! **Invariant**: meeting is commutative but for the order of members: the type does not depend on the order of the rows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};
use lakehouse_types::ColumnName;

use super::value::{Object, Value};
use crate::cell::FLOAT_INTEGERS;

/// Members that an object may have before it counts as a map and becomes text.
const MAX_MEMBERS: usize = 256;

/// Bytes of a name that are not worth counting.
const NAME_BYTES: usize = 256;

/// What the values met so far have in common.
#[derive(Debug, Clone, Default)]
enum Shape {
    /// Nothing but null.
    #[default]
    Void,
    Boolean,
    /// Integers that a float holds as well.
    Integer,
    /// Integers of 64 bits, some of which a float would round.
    Long,
    /// Integers and fractions.
    Number,
    /// Strings, or values that nothing unites.
    Text,
    List(Box<Shape>),
    Object(Members),
}

impl Shape {
    /// Answers what was added, as [`Members::meet`] counts it.
    fn meet(&mut self, value: &Value) -> usize {
        match (&mut *self, value) {
            (_, Value::Null) | (Self::Text, _) | (Self::Boolean, Value::Boolean(_)) => return 0,
            (Self::Void, Value::Boolean(_)) => *self = Self::Boolean,
            (Self::Void | Self::Integer | Self::Number, Value::Long(digits)) if digits.contains('.') => *self = Self::Number,
            (Self::Void | Self::Integer | Self::Long | Self::Number, Value::Number(number)) => {
                let met = match number.as_i64() {
                    Some(value) if value.unsigned_abs() <= FLOAT_INTEGERS => Self::Integer,
                    Some(_) => Self::Long,
                    None if number.is_f64() => Self::Number,
                    None => Self::Text,
                };
                *self = match (std::mem::take(self), met) {
                    (Self::Void, met) => met,
                    (Self::Integer, Self::Integer) => Self::Integer,
                    (Self::Integer | Self::Long, Self::Integer | Self::Long) => Self::Long,
                    (Self::Long, _) | (_, Self::Long | Self::Text) => Self::Text,
                    _ => Self::Number,
                };
            }
            (Self::List(items), Value::List(values)) => return values.iter().map(|value| items.meet(value)).sum(),
            (Self::Void, Value::List(values)) => {
                let mut items = Self::Void;
                let added = values.iter().map(|value| items.meet(value)).sum();
                *self = Self::List(Box::new(items));
                return added;
            }
            (Self::Object(members), Value::Object(object)) => {
                let added = members.meet(object);
                if members.len() > MAX_MEMBERS {
                    *self = Self::Text;
                }
                return added;
            }
            (Self::Void, Value::Object(object)) => {
                let mut members = Members::default();
                let added = members.meet(object);
                *self = if members.len() > MAX_MEMBERS { Self::Text } else { Self::Object(members) };
                return added;
            }
            _ => *self = Self::Text,
        }
        0
    }

    fn into_type(self) -> DataType {
        match self {
            Self::Void => DataType::Null,
            Self::Boolean => DataType::Boolean,
            Self::Integer | Self::Long => DataType::Int64,
            Self::Number => DataType::Float64,
            Self::Text => DataType::Utf8,
            Self::List(items) => DataType::List(Arc::new(Field::new("element", stored(items.into_type()), true))),
            // Objects without members, or with members that no table has, are no structs of a table.
            Self::Object(members) if members.is_empty() || !members.are_legal() => DataType::Utf8,
            Self::Object(members) => {
                let field = |(name, data_type)| Field::new(name, stored(data_type), true);
                DataType::Struct(members.into_types().map(field).collect::<Fields>())
            }
        }
    }
}

/// Inside lists and objects nothing can be of no type.
fn stored(data_type: DataType) -> DataType {
    if data_type == DataType::Null { DataType::Utf8 } else { data_type }
}

/// The members of all objects met so far, in the order in which they appeared.
#[derive(Debug, Clone, Default)]
pub(super) struct Members {
    places: HashMap<String, usize>,
    shapes: Vec<(String, Shape)>,
}

impl Members {
    pub(super) fn len(&self) -> usize {
        self.shapes.len()
    }

    fn is_empty(&self) -> bool {
        self.shapes.is_empty()
    }

    /// Whether all names are legal, and no two differ in case only.
    fn are_legal(&self) -> bool {
        let lower: HashSet<String> = self.shapes.iter().map(|(name, _)| name.to_lowercase()).collect();
        lower.len() == self.shapes.len() && self.shapes.iter().all(|(name, _)| ColumnName::new(name).is_ok())
    }

    /// Answers how many members are new, on this level and below; a long name counts once more for each [`NAME_BYTES`].
    pub(super) fn meet(&mut self, object: &Object) -> usize {
        let mut added = 0;
        for (index, (name, value)) in object.iter().enumerate() {
            // Rows mostly have the same members in the same order.
            let place = match self.shapes.get(index) {
                Some((expected, _)) if expected == name => index,
                _ => match self.places.get(name) {
                    Some(&place) => place,
                    None => {
                        self.places.insert(name.to_owned(), self.shapes.len());
                        self.shapes.push((name.to_owned(), Shape::Void));
                        added += 1 + name.len() / NAME_BYTES;
                        self.shapes.len() - 1
                    }
                },
            };
            added += self.shapes[place].1.meet(value);
        }
        added
    }

    pub(super) fn into_types(self) -> impl Iterator<Item = (String, DataType)> {
        self.shapes.into_iter().map(|(name, shape)| (name, shape.into_type()))
    }
}

#[cfg(test)]
mod tests {
    use lakehouse_tables::friendly;
    use proptest::prelude::*;

    use super::{Shape, Value};

    fn shape(texts: &[&str]) -> String {
        let mut shape = Shape::default();
        for text in texts {
            shape.meet(&Value::parse(text.as_bytes()).unwrap());
        }
        friendly(&shape.into_type())
    }

    #[test]
    fn values_unite_or_become_text() {
        let cases: [(&[&str], &str); 24] = [
            (&["null"], "nothing"),
            (&["1", "null", "-2"], "integer"),
            (&["1", "1.5"], "float"),
            (&["18446744073709551615"], "text"),
            (&["12345678901234567890123"], "text"),
            (&["-9223372036854775809"], "text"),
            (&["1", "12345678901234567890123"], "text"),
            (&["0.5", "12345678901234567890123"], "text"),
            (&["{\"id\": 12345678901234567890123, \"n\": 1}"], "object(id: text, n: integer)"),
            (&["1", "0.12345678901234567890"], "float"),
            (&["9223372036854775807", "1"], "integer"),
            (&["9007199254740993", "0.5"], "text"),
            (&["1", "\"1\""], "text"),
            (&["true", "1"], "text"),
            (&["\"2024-01-01\""], "text"),
            (&["[]", "[1]"], "list of integer"),
            (&["[]"], "list of text"),
            (&["[1, \"a\"]"], "list of text"),
            (&["{\"a\": 1}", "{\"b\": [true]}"], "object(a: integer, b: list of boolean)"),
            (&["{\"a\": 1}", "[1]"], "text"),
            (&["{}"], "text"),
            (&["{\"a\": 1, \"A\": 2}"], "text"),
            (&["{\"\": 1}"], "text"),
            (&["{\"a\\nb\": 1}"], "text"),
        ];
        for (values, expected) in cases {
            assert_eq!(shape(values), expected, "{values:?}");
        }
    }

    fn any_value() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|value| value.to_string()),
            any::<i64>().prop_map(|value| value.to_string()),
            Just("0.5".to_owned()),
            Just("0.12345678901234567890".to_owned()),
            Just("12345678901234567890123".to_owned()),
            Just("\"x\"".to_owned())
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            proptest::collection::vec(inner, 0..3).prop_map(|values| format!("[{}]", values.join(",")))
        })
    }

    proptest! {
        #[test]
        fn the_order_of_rows_does_not_matter(values in proptest::collection::vec(any_value(), 0..6)) {
            let mut texts: Vec<_> = values.iter().map(String::as_str).collect();
            let forward = shape(&texts);
            texts.reverse();
            prop_assert_eq!(forward, shape(&texts));
        }
    }
}
