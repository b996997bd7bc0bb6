//! How a binding names a component: following its active version, or pinned.

use std::{fmt, str::FromStr};

use lakehouse_types::{Digest, IdError, PluginName};
use serde::{Deserialize, Serialize};

/// `NAME`, `NAME@1.2` or `NAME@sha256:<64 hex digits>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ComponentRef {
    pub plugin: PluginName,
    pub pin: Pin,
}

/// Which version of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pin {
    /// Whichever is active when the request begins.
    Active,
    /// The newest of this version text.
    Version(Box<str>),
    /// Exactly these bytes.
    Digest(Digest),
}

/// Why a text names no component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComponentRefError {
    #[error(transparent)]
    Name(#[from] IdError),
    #[error("a component is named NAME, NAME@VERSION or NAME@sha256:DIGEST; a version is 1 to 64 letters, digits, ., + and -")]
    Version,
}

impl ComponentRef {
    /// Follows the active version.
    pub fn active(plugin: PluginName) -> Self {
        Self { plugin, pin: Pin::Active }
    }
}

impl FromStr for ComponentRef {
    type Err = ComponentRefError;

    fn from_str(text: &str) -> Result<Self, ComponentRefError> {
        let (name, pin) = match text.split_once('@') {
            None => (text, Pin::Active),
            Some((name, version)) => (name, parse_pin(version)?),
        };
        Ok(Self { plugin: PluginName::new(name)?, pin })
    }
}

fn parse_pin(version: &str) -> Result<Pin, ComponentRefError> {
    if let Some(digest) = version.strip_prefix("sha256:") {
        return Ok(Pin::Digest(Digest::new(digest)?));
    }
    let is_version = (1..=64).contains(&version.len())
        && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-'));
    if is_version { Ok(Pin::Version(version.into())) } else { Err(ComponentRefError::Version) }
}

impl fmt::Display for ComponentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pin {
            Pin::Active => write!(f, "{}", self.plugin),
            Pin::Version(version) => write!(f, "{}@{version}", self.plugin),
            Pin::Digest(digest) => write!(f, "{}@sha256:{digest}", self.plugin),
        }
    }
}

impl TryFrom<String> for ComponentRef {
    type Error = ComponentRefError;
    fn try_from(text: String) -> Result<Self, ComponentRefError> {
        text.parse()
    }
}

impl From<ComponentRef> for String {
    fn from(reference: ComponentRef) -> String {
        reference.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ComponentRef, Pin};

    #[test]
    fn a_reference_follows_or_pins() {
        let parse = |text: &str| text.parse::<ComponentRef>();
        assert_eq!(parse("redact-mask").unwrap().pin, Pin::Active);
        assert_eq!(parse("redact-mask@1.2").unwrap().pin, Pin::Version("1.2".into()));
        assert!(matches!(parse(&format!("m@sha256:{}", "0f".repeat(32))).unwrap().pin, Pin::Digest(_)));
        for bad in ["", "@1", "Mask", "mask@", "mask@1 2", "mask@sha256:", "mask@sha256:0F", "mask@1@2", "mask@../x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_back(text in "[a-z][a-z0-9_-]{0,10}(@[A-Za-z0-9.+-]{1,10}|@sha256:[0-9a-f]{64})?") {
            let reference: ComponentRef = text.parse().unwrap();
            prop_assert_eq!(reference.to_string(), text);
        }
    }
}
