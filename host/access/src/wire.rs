//! How a grant is written: one member names what it is on, another what may be done.
//!
//! **Invariant**: an unknown member is refused by its name, and so is a grant on nothing or on two things.

use std::str::FromStr;

use lakehouse_types::IdError;
use serde::{Deserialize, Serialize};

use crate::{Grant, GrantTarget, NameOrAll, Verb};

/// A grant's members.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dataset: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) view: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) profile: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    pub(crate) verbs: Vec<Verb>,
}

/// Why they make no grant.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("a grant names exactly one of `dataset`, `view`, `index`, `profile`, `source`")]
    Target,
    #[error("{0}, or \"*\"")]
    Name(#[from] IdError),
}

fn name<T: FromStr<Err = IdError>>(text: &str) -> Result<NameOrAll<T>, WireError> {
    if text == "*" { Ok(NameOrAll::All) } else { Ok(NameOrAll::One(text.parse()?)) }
}

impl TryFrom<Wire> for Grant {
    type Error = WireError;

    fn try_from(wire: Wire) -> Result<Self, WireError> {
        let Wire { dataset, view, index, profile, source, verbs } = wire;
        let target = match (dataset, view, index, profile, source) {
            (Some(text), None, None, None, None) => GrantTarget::Dataset(name(&text)?),
            (None, Some(text), None, None, None) => GrantTarget::View(name(&text)?),
            (None, None, Some(text), None, None) => GrantTarget::Index(name(&text)?),
            (None, None, None, Some(text), None) => GrantTarget::Profile(name(&text)?),
            (None, None, None, None, Some(text)) => GrantTarget::Source(name(&text)?),
            _ => return Err(WireError::Target),
        };
        Ok(Self::new(target, verbs))
    }
}

impl From<Grant> for Wire {
    fn from(grant: Grant) -> Self {
        let Grant { target, verbs } = grant;
        let wire = Self { verbs, ..Self::default() };
        match target {
            GrantTarget::Dataset(name) => Self { dataset: Some(name.to_string()), ..wire },
            GrantTarget::View(name) => Self { view: Some(name.to_string()), ..wire },
            GrantTarget::Index(name) => Self { index: Some(name.to_string()), ..wire },
            GrantTarget::Profile(name) => Self { profile: Some(name.to_string()), ..wire },
            GrantTarget::Source(name) => Self { source: Some(name.to_string()), ..wire },
        }
    }
}
