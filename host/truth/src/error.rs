//! What can be wrong with rules, and with an evaluation.

use std::path::PathBuf;

use lakehouse_plugins::PluginError;
use lakehouse_types::{Code, Fault, Members};

/// Why rules could not be loaded, or a context not judged.
#[derive(Debug, thiserror::Error)]
pub enum TruthError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Rules were in force, and their folder went away: taken for an accident.
    #[error("the folder {} is gone; the rules stay in force", path.display())]
    Gone { path: PathBuf },
    #[error("{}: more than {limit} {unit}", path.display())]
    TooLarge { path: PathBuf, limit: usize, unit: &'static str },
    /// The file's text is at fault.
    #[error("{file}:{line}: {message}")]
    Invalid {
        file: String,
        /// From 1.
        line: usize,
        message: String,
    },
    #[error("{file}:{line}: rule `{id}` is already in {first}")]
    DuplicateId { file: String, line: usize, id: String, first: String },
    /// Components are asked about objects.
    #[error("`context` must be a JSON object")]
    ContextShape,
    #[error(transparent)]
    Plugin(#[from] PluginError),
}

impl Fault for TruthError {
    fn code(&self) -> Code {
        match self {
            Self::Read { .. } | Self::Gone { .. } => Code::StorageUnavailable,
            Self::TooLarge { .. } | Self::Invalid { .. } | Self::DuplicateId { .. } => Code::InvalidDefinition,
            Self::ContextShape => Code::InvalidBody,
            Self::Plugin(error) => error.code(),
        }
    }

    fn public(&self) -> String {
        match self {
            Self::Read { .. } | Self::Gone { .. } => "the folder of truth rules cannot be read".to_owned(),
            Self::TooLarge { limit, unit, .. } => format!("the folder of truth rules has more than {limit} {unit}"),
            Self::Plugin(error) => error.public(),
            other => other.to_string(),
        }
    }

    fn members(&self) -> Members {
        match self {
            Self::Plugin(error) => error.members(),
            _ => Members::new(),
        }
    }
}
