//! The four roles.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a key is for. Grants narrow it down to names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Rules, plugins, profiles; data only where granted.
    Operator,
    /// Ingest and tombstones where granted.
    Writer,
    /// Reads where granted.
    Reader,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Admin, Self::Operator, Self::Writer, Self::Reader];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Writer => "writer",
            Self::Reader => "reader",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
