//! How plugins are stored in metadata.
//!
//! **Invariant**: the active version is one of the versions; versions are in the order in which they came.

use chrono::{DateTime, Utc};
use lakehouse_catalog::{Pin, RuleKind};
use lakehouse_storage::Record;
use lakehouse_types::{Actor, Digest, PluginName, RequestId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Activations remembered for rollback.
const MAX_HISTORY: usize = 50;

/// How a version came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Upload,
    Folder,
    /// With the distribution, at first start.
    Shipped,
}

/// One version of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionRecord {
    pub digest: Digest,
    /// The component's own, or a counter.
    pub version: Box<str>,
    pub size_bytes: u64,
    pub kinds: Vec<RuleKind>,
    pub imports: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licenses: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<Value>,
    pub origin: Origin,
    pub pushed_at: DateTime<Utc>,
    pub pushed_by: Actor,
    pub request_id: RequestId,
}

/// A plugin with all its versions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PluginRecord {
    pub(crate) name: PluginName,
    pub(crate) enabled: bool,
    pub(crate) active: Digest,
    /// Digests that were active before, the latest last.
    pub(crate) history: Vec<Digest>,
    pub(crate) versions: Vec<VersionRecord>,
    /// The last number given to a version that brought none.
    pub(crate) counter: u64,
}

impl Record for PluginRecord {
    const COLLECTION: &'static str = "plugins";
    const FORMAT: u32 = 1;
}

/// A digest that was once installed: folders never install it again, even after a rollback or a deletion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SeenRecord {
    pub(crate) plugin: PluginName,
    pub(crate) at: DateTime<Utc>,
}

impl Record for SeenRecord {
    const COLLECTION: &'static str = "plugin_digests";
    const FORMAT: u32 = 1;
}

impl PluginRecord {
    /// A plugin whose only version is `first`.
    pub(crate) fn new(name: PluginName, first: VersionRecord, counter: u64) -> Self {
        Self { name, enabled: true, active: first.digest.clone(), history: Vec::new(), versions: vec![first], counter }
    }

    pub(crate) fn version(&self, digest: &Digest) -> Option<&VersionRecord> {
        self.versions.iter().find(|version| version.digest == *digest)
    }

    /// Makes `digest` the active version and remembers the one before.
    pub(crate) fn activate(&mut self, digest: Digest) {
        if self.active == digest {
            return;
        }
        let before = std::mem::replace(&mut self.active, digest);
        self.history.push(before);
        if self.history.len() > MAX_HISTORY {
            self.history.remove(0);
        }
    }

    /// Goes back to the version that was active before.
    pub(crate) fn step_back(&mut self) -> Option<Digest> {
        let before = self.history.pop()?;
        self.active = before.clone();
        Some(before)
    }

    /// The version that `pin` names: the first that came with this very text, so that an upload under an old text moves no pin;
    /// else the newest below it (`1.2` is also `1.2.9`).
    pub(crate) fn find(&self, pin: &Pin) -> Option<&VersionRecord> {
        match pin {
            Pin::Active => self.version(&self.active),
            Pin::Digest(digest) => self.version(digest),
            Pin::Version(text) => {
                let below = |version: &str| version.strip_prefix(&**text).is_some_and(|rest| rest.starts_with('.'));
                let exact = self.versions.iter().find(|version| version.version == *text);
                exact.or_else(|| self.versions.iter().rev().find(|version| below(&version.version)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
