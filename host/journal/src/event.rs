//! What an event says.
//!
//! **Invariant**: the stored form is frozen per format; names of kinds are added, never changed.

use chrono::{DateTime, Utc};
use lakehouse_types::{Actor, DatasetName, Digest, ProfileId, RequestId};
use serde::{Deserialize, Serialize};

/// Who acts, in which request, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    pub actor: Actor,
    pub role: Box<str>,
    pub profile: Option<ProfileId>,
    pub request_id: RequestId,
    pub at: DateTime<Utc>,
}

macro_rules! kinds {
    ($($name:ident = $text:literal,)*) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum EventKind { $(#[serde(rename = $text)] $name,)* }

        impl EventKind {
            /// Every kind.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$name,)*];

            /// The kind as it stands in events and filters.
            pub const fn as_str(self) -> &'static str { match self { $(Self::$name => $text,)* } }
        }
    };
}

kinds! {
    Ingest = "ingest",
    DatasetDelete = "dataset_delete",
    Tombstone = "tombstone",
    TombstoneUndo = "tombstone_undo",
    Compact = "compact",
    Erasure = "erasure",
    ViewPut = "view_put",
    ViewDelete = "view_delete",
    ProfilePut = "profile_put",
    ProfileDelete = "profile_delete",
    IndexRefresh = "index_refresh",
    IndexDelete = "index_delete",
    PluginPush = "plugin_push",
    PluginRollback = "plugin_rollback",
    PluginEnable = "plugin_enable",
    PluginDisable = "plugin_disable",
    PluginDelete = "plugin_delete",
    KeyCreate = "key_create",
    KeyRevoke = "key_revoke",
    GrantAdd = "grant_add",
    GrantRemove = "grant_remove",
    AccessReload = "access_reload",
    BucketMigrate = "bucket_migrate",
    TruthReload = "truth_reload",
    Denied = "denied",
}

impl std::fmt::Display for EventKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for EventKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text).ok_or(UnknownKind)
    }
}

/// A text that names no kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no kind of event has this name")]
pub struct UnknownKind;

/// How the request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done,
    /// The caller may not do it.
    Denied,
    /// What was sent cannot be taken; nothing was changed.
    Refused,
}

/// An event before it has its place in the log. Row keys go in as [`Journal::pseudonym`](crate::Journal::pseudonym)s.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    pub kind: EventKind,
    pub dataset: Option<DatasetName>,
    pub subject: String,
    pub details: serde_json::Value,
    pub(crate) outcome: Outcome,
    /// Whose change it is, where one commit carries those of several.
    pub(crate) by: Option<Stamp>,
}

impl Draft {
    /// `subject` names what was changed: a dataset, a view, a plugin version, a key id.
    pub fn new(kind: EventKind, subject: impl Into<String>) -> Self {
        let outcome = if kind == EventKind::Denied { Outcome::Denied } else { Outcome::Done };
        Self { kind, dataset: None, subject: subject.into(), details: serde_json::Value::Null, outcome, by: None }
    }

    #[must_use]
    pub(crate) fn refused(mut self) -> Self {
        self.outcome = Outcome::Refused;
        self
    }

    /// Another's than that of the commit that it goes with.
    #[must_use]
    pub fn by(mut self, stamp: Stamp) -> Self {
        self.by = Some(stamp);
        self
    }

    #[must_use]
    pub fn dataset(mut self, name: DatasetName) -> Self {
        self.dataset = Some(name);
        self
    }

    #[must_use]
    pub fn details(mut self, details: serde_json::Value) -> Self {
        self.details = details;
        self
    }
}

/// An event as the log tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// From 1, without gaps.
    pub seq: u64,
    pub kind: EventKind,
    pub at: DateTime<Utc>,
    pub actor: Actor,
    pub role: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileId>,
    pub request_id: RequestId,
    pub outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetName>,
    pub subject: String,
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub details: serde_json::Value,
    /// The link of the chain that covers this event. Not part of what it covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What the link was checked by; not stored.
    #[serde(skip)]
    pub proof: Option<Proof>,
}

/// What it takes to compute an event's digest anew: `commitment = sha256(salt || payload)`, `digest = sha256(previous || seq as 8
/// bytes, big-endian || commitment)`, with texts as they are and digests as their bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The digest of the event before; 64 zeros before the first.
    pub previous: Digest,
    pub commitment: Digest,
    pub salt: Box<str>,
    /// The event as it was sealed.
    pub payload: Box<str>,
}

impl Event {
    pub(crate) fn new(seq: u64, by: &Stamp, draft: Draft) -> Self {
        let Draft { kind, dataset, subject, details, outcome, by: _ } = draft;
        Self {
            seq,
            kind,
            at: by.at,
            actor: by.actor.clone(),
            role: by.role.clone(),
            profile: by.profile.clone(),
            request_id: by.request_id.clone(),
            outcome,
            dataset,
            subject,
            details,
            digest: None,
            proof: None,
        }
    }
}
