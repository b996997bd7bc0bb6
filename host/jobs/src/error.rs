//! What can go wrong with a job itself; what went wrong in its work is part of its record.

use lakehouse_storage::StorageError;
use lakehouse_types::{Code, Fault, JobId, Members};

/// The result of a call.
pub type Result<T, E = JobError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error("job `{id}` does not exist, or its report is no longer kept")]
    Unknown { id: JobId },
    #[error("as many jobs run as the server allows: {limit}")]
    TooMany { limit: usize },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Fault for JobError {
    fn code(&self) -> Code {
        match self {
            Self::Unknown { .. } => Code::UnknownJob,
            Self::TooMany { .. } => Code::Busy,
            Self::Storage(error) => error.code(),
        }
    }

    fn public(&self) -> String {
        match self {
            Self::Unknown { .. } | Self::TooMany { .. } => self.to_string(),
            Self::Storage(error) => error.public(),
        }
    }

    fn members(&self) -> Members {
        match self {
            Self::Storage(error) => error.members(),
            Self::Unknown { .. } | Self::TooMany { .. } => Members::new(),
        }
    }
}
