//! How a view hides a column. Every form is a rule that a component runs: the short forms only name rules that each profile
//! binds to the shipped components unless it rebinds them.

use lakehouse_types::RuleName;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// On the wire `"null"`, `"hash"`, `{"mask": {"keep_prefix": 3, "keep_suffix": 2}}` or `{"plugin": {"rule": NAME, "config": {…}}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Redaction {
    /// Every value becomes NULL.
    Null,
    /// SHA-256 of the text form, lower-case hex.
    Hash,
    /// Stars between a prefix and a suffix, counted in characters.
    Mask {
        #[serde(default)]
        keep_prefix: u32,
        #[serde(default)]
        keep_suffix: u32,
    },
    /// Any rule of the request's profile.
    Plugin {
        rule: RuleName,
        /// Laid over the binding's own config, member by member.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        config: Option<Value>,
    },
}

impl Redaction {
    /// The rule that runs, and what is laid over the config of its binding.
    pub fn rule(&self) -> (RuleName, Option<Value>) {
        match self {
            Self::Null => (short_form("null"), None),
            Self::Hash => (short_form("hash"), None),
            Self::Mask { keep_prefix, keep_suffix } => {
                (short_form("mask"), Some(json!({ "keep_prefix": keep_prefix, "keep_suffix": keep_suffix })))
            }
            Self::Plugin { rule, config } => (rule.clone(), config.clone()),
        }
    }
}

pub(crate) fn short_form(name: &'static str) -> RuleName {
    RuleName::new(name).expect("the short forms are slugs")
}
