//! What a key may name. On the wire `{"dataset": NAME, "verbs": ["read", "write"]}`, with `"*"` for every name.

use std::fmt;

use lakehouse_types::{DatasetName, IndexName, ProfileId, SourceName, ViewName};
use serde::{Deserialize, Serialize};

use crate::{AccessError, wire::Wire};

/// What may be done with what a grant names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    Read,
    Write,
}

impl Verb {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// One name, or every name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NameOrAll<T> {
    All,
    One(T),
}

impl<T: AsRef<str>> NameOrAll<T> {
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => one.as_ref() == name,
        }
    }
}

impl<T: fmt::Display> fmt::Display for NameOrAll<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::One(one) => one.fmt(f),
        }
    }
}

/// What a grant names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GrantTarget {
    Dataset(NameOrAll<DatasetName>),
    View(NameOrAll<ViewName>),
    /// Allows the index to be searched without a grant on its relation, by similarity alone.
    Index(NameOrAll<IndexName>),
    /// Allows the profile to be named in a request.
    Profile(NameOrAll<ProfileId>),
    /// Allows whatever the source's own user may read to be ingested, into datasets that the key may write.
    Source(NameOrAll<SourceName>),
}

impl GrantTarget {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Dataset(_) => "dataset",
            Self::View(_) => "view",
            Self::Index(_) => "index",
            Self::Profile(_) => "profile",
            Self::Source(_) => "source",
        }
    }

    /// The name as it is written, `*` for all.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Dataset(name) => name.to_string(),
            Self::View(name) => name.to_string(),
            Self::Index(name) => name.to_string(),
            Self::Profile(name) => name.to_string(),
            Self::Source(name) => name.to_string(),
        }
    }

    /// Everything of this kind.
    pub(crate) const fn widest(&self) -> Self {
        match self {
            Self::Dataset(_) => Self::Dataset(NameOrAll::All),
            Self::View(_) => Self::View(NameOrAll::All),
            Self::Index(_) => Self::Index(NameOrAll::All),
            Self::Profile(_) => Self::Profile(NameOrAll::All),
            Self::Source(_) => Self::Source(NameOrAll::All),
        }
    }
}

/// One line of a key's permissions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Grant {
    pub target: GrantTarget,
    /// Sorted, without repetition.
    pub verbs: Vec<Verb>,
}

impl Grant {
    pub fn new(target: GrantTarget, verbs: impl IntoIterator<Item = Verb>) -> Self {
        let mut verbs: Vec<Verb> = verbs.into_iter().collect();
        verbs.sort_unstable();
        verbs.dedup();
        Self { target, verbs }
    }

    /// # Errors
    /// When it permits nothing, or a write to what has no writes of its own.
    pub(crate) fn validate(&self) -> Result<(), AccessError> {
        if self.verbs.is_empty() {
            return Err(AccessError::NoVerbs);
        }
        let is_writable = matches!(self.target, GrantTarget::Dataset(_));
        if !is_writable && self.verbs.contains(&Verb::Write) {
            return Err(AccessError::ReadOnlyTarget { target: self.target.kind() });
        }
        Ok(())
    }

    pub(crate) fn permits(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Grant;

    #[test]
    fn a_grant_reads_as_on_the_wire_and_back() {
        for wire in [
            json!({"dataset": "candidates", "verbs": ["read", "write"]}),
            json!({"view": "*", "verbs": ["read"]}),
            json!({"index": "resumes", "verbs": ["read"]}),
            json!({"profile": "Ada-1", "verbs": ["read"]}),
            json!({"source": "crm", "verbs": ["read"]}),
        ] {
            let grant: Grant = serde_json::from_value(wire.clone()).unwrap();
            assert!(grant.validate().is_ok(), "{wire}");
            assert_eq!(serde_json::to_value(&grant).unwrap(), wire);
        }
    }

    #[test]
    fn a_grant_that_says_too_much_or_too_little_is_refused() {
        for wire in [
            json!({"verbs": ["read"]}),
            json!({"dataset": "a", "view": "b", "verbs": ["read"]}),
            json!({"dataset": "a", "source": "b", "verbs": ["read"]}),
            json!({"dataset": "a"}),
            json!({"dataset": "A", "verbs": ["read"]}),
            json!({"dataset": "**", "verbs": ["read"]}),
            json!({"dataset": "__raw__a", "verbs": ["read"]}),
            json!({"dataset": "a", "verbs": ["own"]}),
            json!({"dataset": "a", "verbs": ["read"], "column": "b"}),
        ] {
            assert!(serde_json::from_value::<Grant>(wire.clone()).is_err(), "{wire}");
        }
        for wire in [
            json!({"dataset": "a", "verbs": []}),
            json!({"view": "a", "verbs": ["write"]}),
            json!({"source": "a", "verbs": ["read", "write"]}),
        ] {
            assert!(serde_json::from_value::<Grant>(wire.clone()).unwrap().validate().is_err(), "{wire}");
        }
    }
}
