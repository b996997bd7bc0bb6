//! What can go wrong in the journal.
//!
//! **Invariant**: no message carries an event's content.

use lakehouse_storage::StorageError;
use lakehouse_types::{Code, Fault, Members};

/// The result of a journal operation.
pub type Result<T, E = JournalError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the details of an event have no JSON form")]
    Encode(#[source] serde_json::Error),
    #[error("event {seq} of the journal is damaged: {what}")]
    Broken { seq: u64, what: &'static str },
}

impl JournalError {
    /// True when the transaction lost a race and may be tried again from its start.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Storage(error) if error.is_conflict())
    }
}

impl Fault for JournalError {
    fn code(&self) -> Code {
        match self {
            Self::Storage(error) => error.code(),
            Self::Encode(_) => Code::Internal,
            Self::Broken { .. } => Code::Corrupt,
        }
    }

    fn public(&self) -> String {
        match self {
            Self::Storage(error) => error.public(),
            Self::Encode(_) => "an event could not be written".to_owned(),
            Self::Broken { .. } => self.to_string(),
        }
    }

    fn members(&self) -> Members {
        match self {
            Self::Storage(error) => error.members(),
            Self::Encode(_) | Self::Broken { .. } => Members::new(),
        }
    }
}
