//! Why access was refused. No message tells a stranger which part of a key was wrong.

use lakehouse_journal::JournalError;
use lakehouse_storage::StorageError;
use lakehouse_types::{Code, Fault, GrantId, GroupName, KeyId, KeyName, Members, ProfileId};
use serde_json::json;

use crate::{AccessFileError, Action, Role};

/// Why a key, an action or a change of keys was refused.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Unknown, wrong, revoked or expired: one answer for all.
    #[error("no valid key was sent")]
    Unauthenticated,
    /// Of a key that opened when the work began.
    #[error("the key was revoked or has expired meanwhile")]
    Ended,
    /// Of a key that was granted more when the work began.
    #[error("a grant of the key was taken back meanwhile; a new request is judged by those that it has now")]
    Narrowed,
    #[error("role `{role}` may not {action}; {} may", roles(*action))]
    Forbidden { role: Role, action: Action },
    #[error("the key may not use profile `{id}`; it may use {}", listed(allowed))]
    ProfileNotAllowed { id: ProfileId, allowed: Vec<ProfileId> },
    #[error("key `{id}` does not exist")]
    UnknownKey { id: KeyId },
    #[error("grant `{id}` does not exist")]
    UnknownGrant { id: GrantId },
    #[error("the grant stands in {file}{}; take it out there", of_group(group.as_ref()))]
    GrantOfFile { file: Box<str>, group: Option<GroupName> },
    #[error("key `{name}` was revoked or has expired; a grant would permit nothing")]
    SpentKey { name: KeyName },
    /// Also when that key is revoked or expired.
    #[error("a key is or was named `{name}`, and the journal knows keys by their names; choose another one")]
    NameTaken { name: KeyName },
    #[error("the server itself may act as `{name}`; choose another name")]
    NameReserved { name: KeyName },
    #[error("`expires_at` is in the past")]
    ExpiresInPast,
    #[error("`{field}` holds more than {limit} entries")]
    TooMany { field: &'static str, limit: usize },
    #[error("`{target}` grants can only read")]
    ReadOnlyTarget {
        /// `view`, `index` or `profile`.
        target: &'static str,
    },
    #[error("a grant names the verbs `read`, `write` or both")]
    NoVerbs,
    #[error("LAKEHOUSE_ADMIN_KEY must have 16 to 512 characters, none of them a blank or a control character")]
    BootstrapShape,
    #[error("LAKEHOUSE_ADMIN_KEY holds a key that was revoked or has expired; set another")]
    BootstrapSpent,
    #[error(transparent)]
    File(#[from] AccessFileError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Why the key that a server was started with is not the one that its first admin got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyIgnored {
    #[error("an admin key is in force already, and this is no key of this storage")]
    Unknown,
    #[error("an admin key is in force already, and this one was revoked or has expired")]
    Spent,
    #[error("an admin key is in force already, and this one has role `{0}`")]
    NoAdmin(Role),
}

fn roles(action: Action) -> String {
    action.roles().iter().map(|role| format!("`{role}`")).collect::<Vec<_>>().join(" or ")
}

fn of_group(group: Option<&GroupName>) -> String {
    group.map_or_else(String::new, |group| format!(", group `{group}`"))
}

fn listed(profiles: &[ProfileId]) -> String {
    profiles.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ")
}

impl Fault for AccessError {
    fn code(&self) -> Code {
        match self {
            Self::Unauthenticated | Self::Ended => Code::Unauthenticated,
            Self::Forbidden { .. } | Self::Narrowed => Code::Forbidden,
            Self::ProfileNotAllowed { .. } => Code::ProfileNotAllowed,
            Self::UnknownKey { .. } => Code::UnknownKey,
            Self::UnknownGrant { .. } => Code::UnknownGrant,
            Self::GrantOfFile { .. } => Code::OwnedByFile,
            Self::SpentKey { .. } => Code::InvalidDefinition,
            Self::NameTaken { .. } => Code::AlreadyExists,
            Self::NameReserved { .. } => Code::InvalidDefinition,
            Self::ExpiresInPast | Self::TooMany { .. } | Self::ReadOnlyTarget { .. } | Self::NoVerbs => Code::InvalidDefinition,
            Self::BootstrapShape | Self::BootstrapSpent => Code::InvalidDefinition,
            Self::File(error) => error.code(),
            Self::Storage(error) => error.code(),
            Self::Journal(error) => error.code(),
        }
    }

    fn public(&self) -> String {
        match self {
            Self::File(error) => error.public(),
            Self::Storage(error) => error.public(),
            Self::Journal(error) => error.public(),
            other => other.to_string(),
        }
    }

    fn members(&self) -> Members {
        match self {
            Self::ProfileNotAllowed { allowed, .. } => {
                let listed = allowed.iter().map(ProfileId::as_str).collect();
                Members::from_iter([("allowed_profiles".to_owned(), listed)])
            }
            Self::GrantOfFile { file, .. } => Members::from_iter([("file".to_owned(), json!(file))]),
            Self::Storage(error) => error.members(),
            Self::Journal(error) => error.members(),
            _ => Members::new(),
        }
    }
}
