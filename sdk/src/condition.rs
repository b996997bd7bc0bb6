//! Rules that say whether something is true of a context.
//!
//! **Invariant**: a context is a JSON object; anything else is refused before a rule sees it.

use crate::{Config, Error, Map, Value, Varlen, config};

/// A rule that judges contexts.
pub trait Condition: Config {
    /// Whether it is true of this context.
    ///
    /// # Errors
    /// Any [`Error`] fails the request, as neither holding nor failing.
    fn evaluate(&self, context: &Context) -> Result<Verdict, Error>;

    config::opening!();

    /// One verdict for each context, in order; each context is a JSON object as UTF-8 text.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] naming the first context that is no JSON object, or the rule's own.
    fn evaluate_all(&self, contexts: &Varlen) -> Result<Vec<Verdict>, Error> {
        let verdict = |row| {
            let text = contexts.get(row).ok_or_else(|| Error::at_row(row, "offsets do not describe the buffer"))?;
            // By way of a value: the errors of a typed read bring the formatting of floats into every component.
            let Ok(Value::Object(members)) = serde_json::from_slice(text) else {
                return Err(Error::at_row(row, "a context must be a JSON object"));
            };
            self.evaluate(&Context(members))
        };
        (0..contexts.rows()).map(verdict).collect()
    }
}

/// What a condition found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Holds,
    /// Why not, in words that do not repeat a value of the context.
    Fails(String),
}

/// A JSON object to judge.
#[derive(Clone, Debug, PartialEq)]
pub struct Context(Map<String, Value>);

impl Context {
    /// What lies at a dot path: `client.id` is member `id` of member `client`; in a list, a number counts from 0.
    pub fn get(&self, path: &str) -> Option<&Value> {
        let (first, mut rest) = match path.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (path, None),
        };
        let mut found = self.0.get(first)?;
        while let Some(path) = rest {
            let step;
            (step, rest) = match path.split_once('.') {
                Some((step, rest)) => (step, Some(rest)),
                None => (path, None),
            };
            found = match found {
                Value::Object(members) => members.get(step)?,
                Value::Array(items) => items.get(step.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(found)
    }

    pub fn members(&self) -> &Map<String, Value> {
        &self.0
    }
}

impl From<Map<String, Value>> for Context {
    fn from(members: Map<String, Value>) -> Self {
        Self(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Column, Values};

    #[derive(Debug)]
    struct Always;

    impl Config for Always {
        const SCHEMA: crate::schema::Schema = crate::schema::Schema::Any;

        fn from_value(_: Value) -> Result<Self, crate::ConfigError> {
            Ok(Self)
        }
    }

    impl Condition for Always {
        fn evaluate(&self, _: &Context) -> Result<Verdict, Error> {
            Ok(Verdict::Holds)
        }
    }

    #[test]
    fn what_is_no_object_is_named_by_its_row() {
        let evaluate = |contexts: &[&str]| {
            let Values::Text(contexts) = Column::text(contexts.iter().copied()).unwrap().values else { panic!() };
            Always.evaluate_all(&contexts)
        };
        assert_eq!(evaluate(&["{}", r#"{"a": 1}"#]).unwrap(), [Verdict::Holds, Verdict::Holds]);
        assert_eq!(evaluate(&[]).unwrap(), []);
        for wrong in ["[]", "7", "", "{"] {
            assert_eq!(evaluate(&["{}", wrong]), Err(Error::at_row(1, "a context must be a JSON object")));
        }
    }

    #[test]
    fn dot_paths_go_through_objects_and_lists() {
        let Value::Object(members) = serde_json::json!({"a": {"b": [1, {"c": null}]}, "x": 5}) else { panic!() };
        let context = Context(members);
        assert_eq!(context.get("a.b.0"), Some(&Value::from(1)));
        assert_eq!(context.get("a.b.1.c"), Some(&Value::Null));
        for absent in ["", "b", "a.c", "a.b.2", "a.b.x", "x.y", "a..b", "a.b.-1"] {
            assert_eq!(context.get(absent), None, "{absent}");
        }
    }
}
