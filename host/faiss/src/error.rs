//! What can go wrong with an index, and whose move it is.
//!
//! **Invariant**: no message carries a component of a vector; ordinals, lengths and the words of a specification are fine.

use std::io;

use lakehouse_types::{Code, Fault};

/// The result of an operation on vectors.
pub type Result<T, E = FaissError> = std::result::Result<T, E>;

/// Why there is no index, or no answer.
#[derive(Debug, thiserror::Error)]
pub enum FaissError {
    #[error("vectors of {got} dimensions; from 1 to {max} are possible")]
    Dimensions { got: usize, max: usize },
    #[error("{values} numbers are no whole number of vectors of {dimensions} dimensions")]
    Shape { values: usize, dimensions: usize },
    #[error("{got} vectors; one index holds at most {max}")]
    TooManyVectors { got: usize, max: usize },
    #[error("the query has {got} dimensions, the index {expected}")]
    QueryLength { got: usize, expected: usize },
    /// NaN, an infinity, or so large that distances would overflow.
    #[error("the query holds a number that is not finite or beyond ±{limit:e}")]
    QueryRange { limit: f32 },
    #[error("vector {ordinal} holds a number that is not finite or beyond ±{limit:e}")]
    VectorRange { ordinal: usize, limit: f32 },
    #[error("`{name}` is {got}; from {min} to {max} are possible")]
    Parameter { name: &'static str, got: f64, min: f64, max: f64 },
    #[error("index factory, at `{part}`: {problem}")]
    Factory { part: String, problem: &'static str },
    #[error("a bitmap of {got} bits for {expected} vectors")]
    BitmapLength { got: usize, expected: usize },
    #[error("ordinal {ordinal} of {len} does not exist")]
    UnknownOrdinal { ordinal: u32, len: usize },
    /// The bytes are no index that this release writes.
    #[error("the index file is damaged: {problem} at byte {at}")]
    Damaged { at: usize, problem: &'static str },
    /// In FAISS's words, bounded and without its file names.
    #[error("FAISS refused to {action}: {reason}")]
    Refused { action: &'static str, reason: String },
    #[error("not enough memory to {action}")]
    OutOfMemory { action: &'static str },
    #[error("the index cannot be written")]
    Write(#[source] io::Error),
    #[error("no thread to build an index on")]
    Thread(#[source] io::Error),
}

impl Fault for FaissError {
    fn code(&self) -> Code {
        match self {
            Self::QueryLength { .. } | Self::QueryRange { .. } | Self::Parameter { .. } => Code::InvalidParameter,
            Self::Dimensions { .. } | Self::TooManyVectors { .. } | Self::VectorRange { .. } => Code::InvalidData,
            Self::Factory { .. } | Self::Refused { .. } => Code::InvalidDefinition,
            Self::Shape { .. } | Self::BitmapLength { .. } | Self::UnknownOrdinal { .. } => Code::Internal,
            Self::Damaged { .. } => Code::Corrupt,
            Self::OutOfMemory { .. } => Code::MemoryExceeded,
            Self::Write(_) => Code::StorageUnavailable,
            Self::Thread(_) => Code::Busy,
        }
    }

    fn public(&self) -> String {
        match self {
            Self::Shape { .. } | Self::BitmapLength { .. } | Self::UnknownOrdinal { .. } => {
                "vectors and their index do not fit together".to_owned()
            }
            Self::Damaged { .. } => "an index file is damaged".to_owned(),
            other => other.to_string(),
        }
    }
}
