//! Dot paths into JSON: `client.id`, `placements.0.role`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bytes of a path.
const MAX_BYTES: usize = 512;

/// Names separated by dots. In an object a name is a key; in a list it is a position, from 0. A key that holds a dot cannot be
/// reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DotPath(Box<str>);

/// Why a text is no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a path is names separated by single dots, like client.id, of at most {MAX_BYTES} bytes")]
pub struct DotPathError;

impl DotPath {
    /// What the path leads to, if it leads anywhere.
    pub fn find<'v>(&self, context: &'v Value) -> Option<&'v Value> {
        self.0.split('.').try_fold(context, |value, name| match value {
            Value::Object(members) => members.get(name),
            Value::Array(items) => items.get(position(name)?),
            _ => None,
        })
    }
}

/// A position as one would write it: `0`, `12`, not `+1` or `01`.
fn position(name: &str) -> Option<usize> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    if is_plain { name.parse().ok() } else { None }
}

impl FromStr for DotPath {
    type Err = DotPathError;

    fn from_str(text: &str) -> Result<Self, DotPathError> {
        let is_path =
            text.len() <= MAX_BYTES && text.split('.').all(|name| !name.is_empty()) && !text.chars().any(char::is_control);
        if is_path { Ok(Self(text.into())) } else { Err(DotPathError) }
    }
}

impl fmt::Display for DotPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for DotPath {
    type Error = DotPathError;
    fn try_from(text: String) -> Result<Self, DotPathError> {
        text.parse()
    }
}

impl From<DotPath> for String {
    fn from(path: DotPath) -> String {
        path.0.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::DotPath;

    fn find(path: &str, context: &Value) -> Option<Value> {
        path.parse::<DotPath>().unwrap().find(context).cloned()
    }

    #[test]
    fn a_path_leads_through_objects_and_lists() {
        let context = json!({"client": {"id": 7, "": 1}, "list": [{"a": null}, [2]], "0": "zero", "a.b": 1});
        for (path, expected) in [
            ("client.id", Some(json!(7))),
            ("client", Some(json!({"id": 7, "": 1}))),
            ("list.0.a", Some(Value::Null)),
            ("list.1.0", Some(json!(2))),
            ("0", Some(json!("zero"))),
            ("list.2", None),
            ("list.01", None),
            ("list.+1", None),
            ("list.-1", None),
            ("list.99999999999999999999", None),
            ("client.id.x", None),
            ("a.b", None),
            ("Client.id", None),
        ] {
            assert_eq!(find(path, &context), expected, "{path}");
        }
    }

    #[test]
    fn a_text_with_an_empty_name_is_no_path() {
        for bad in ["", ".", "a.", ".a", "a..b", "a\u{0}", &"a".repeat(513)] {
            assert!(bad.parse::<DotPath>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_put_at_a_path_is_found_there(names in prop::collection::vec("[^.\\p{Cc}]{1,8}", 1..8), leaf in any::<i64>()) {
            let context = names.iter().rev().fold(json!(leaf), |inner, name| json!({ name.as_str(): inner }));
            prop_assert_eq!(find(&names.join("."), &context), Some(json!(leaf)));
        }

        #[test]
        fn positions_find_what_indexing_finds(items in prop::collection::vec(any::<u8>(), 0..12), at in 0usize..16) {
            let context = json!({ "items": items });
            prop_assert_eq!(find(&format!("items.{at}"), &context), items.get(at).map(|item| json!(item)));
        }

        #[test]
        fn any_path_into_anything_is_an_answer(path in "[^\\p{Cc}]{1,40}", text in "\\PC{0,40}") {
            if let Ok(path) = path.parse::<DotPath>() {
                let _ = path.find(&serde_json::from_str(&text).unwrap_or(json!([text])));
            }
        }
    }
}
