//! A rule: which tasks it judges, what it asks, and which actions go with it.

use std::fmt;

use lakehouse_types::RuleName;
use serde::{Deserialize, Serialize};

use crate::Condition;

/// A rule's id, or a task class: a lower-case slug.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slug(RuleName);

/// Why a text is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ids and task classes are a lower-case letter followed by up to 62 of a-z, 0-9, _ and -")]
pub struct SlugError;

impl Slug {
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl TryFrom<String> for Slug {
    type Error = SlugError;
    fn try_from(text: String) -> Result<Self, SlugError> {
        RuleName::new(text).map(Self).map_err(|_| SlugError)
    }
}

impl From<Slug> for String {
    fn from(slug: Slug) -> Self {
        slug.0.into()
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One `[[rule]]`. It states what must hold; the actions are handed to whoever asks, the host does not act on them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Unique over all files.
    pub id: Slug,
    pub task_class: Slug,
    pub condition: Condition,
    #[serde(default)]
    pub actions: Vec<String>,
}
