//! The host itself, where no caller asks.
//!
//! **Invariant**: a key of none of these names can be made, so that an event of the host is one.

use chrono::{DateTime, Utc};
use lakehouse_types::{Actor, RequestId};

use crate::Stamp;

/// What makes the host act on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemActor {
    /// A start, and what no other one stands for.
    Host,
    /// A component that came into the watched folder.
    PluginFolder,
    /// A file of truth rules that changed.
    TruthFolder,
    /// The file of declared grants, when it changed.
    AccessFile,
    /// A component that came with the release.
    Distribution,
    /// A time of the settings.
    Schedule,
    /// What an interrupted compaction left owing.
    Compaction,
    /// An older copy of a bucket, from which is erased again what was.
    Erasure,
}

impl SystemActor {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Host,
        Self::PluginFolder,
        Self::TruthFolder,
        Self::AccessFile,
        Self::Distribution,
        Self::Schedule,
        Self::Compaction,
        Self::Erasure,
    ];

    /// The name as it stands in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "lakehouse",
            Self::PluginFolder => "plugin-folder",
            Self::TruthFolder => "truth-folder",
            Self::AccessFile => "access-file",
            Self::Distribution => "distribution",
            Self::Schedule => "schedule",
            Self::Compaction => "compaction",
            Self::Erasure => "erasure",
        }
    }

    pub fn actor(self) -> Actor {
        Actor::new(self.as_str()).expect("a plain word is an actor")
    }

    /// Acting now, under a request id of its own.
    pub fn stamp(self, at: DateTime<Utc>) -> Stamp {
        Stamp { actor: self.actor(), role: "system".into(), profile: None, request_id: RequestId::fresh(), at }
    }
}
