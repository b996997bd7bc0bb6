//! What can go wrong with an index, and whose move it is.
//!
//! **Invariant**: no message carries a value of a row: names of columns, types, counts and lengths only.

use std::sync::Arc;

use lakehouse_catalog::IdType;
use lakehouse_faiss::FaissError;
use lakehouse_plugins::PluginError;
use lakehouse_storage::{Quiet, StorageError};
use lakehouse_types::{Code, Fault, IndexName, Members};

/// The result of an operation on indexes.
pub type Result<T, E = VectorError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum VectorError {
    #[error("column `{column}` holds {found}; an index is made of text, or of lists of numbers named as `vector_column`")]
    NotText { column: String, found: String },
    #[error("column `{column}` holds {found}; `vector_column` must hold lists of numbers")]
    NotVectors { column: String, found: String },
    #[error("column `{column}` holds {found}; rows are named by text or integers")]
    NotAnId { column: String, found: String },
    #[error("column `{column}` names rows by {}, and named them by {} when the index was made", is.as_str(), was.as_str())]
    IdTypeChanged { column: String, was: IdType, is: IdType },
    #[error("column `{column}` names more than one row alike ({rows} rows more than names)")]
    DuplicateIds { column: String, rows: u64 },
    #[error("column `{column}` is NULL in every row ({rows} rows): there is nothing to index")]
    NothingToIndex { column: String, rows: u64 },
    #[error("vectors have {got} numbers, and others {expected}")]
    Dimensions { expected: usize, got: usize },
    #[error("a vector holds a number that is missing, not finite or beyond ±1e9")]
    NotNumbers,
    #[error("a text makes more than {limit} chunks; a larger `chunk_size` makes fewer")]
    TooManyChunks { limit: usize },
    #[error("more than {limit} rows")]
    TooManyRows { limit: u64 },
    /// An object is missing, or is not what was written.
    #[error("index `{index}` is damaged: {file}")]
    Damaged { index: IndexName, file: String },
    #[error("a segment's {what} cannot be written")]
    Encode { what: &'static str, source: Quiet },
    /// The rows could not be read.
    #[error("the relation cannot be read")]
    Source(#[source] Arc<dyn Fault>),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Faiss(#[from] FaissError),
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl VectorError {
    pub(crate) fn encode(what: &'static str) -> impl FnOnce(parquet::errors::ParquetError) -> Self {
        move |source| Self::Encode { what, source: Quiet::of(source) }
    }

    fn inner(&self) -> Option<&dyn Fault> {
        match self {
            Self::Source(fault) => Some(fault.as_ref()),
            Self::Storage(error) => Some(error),
            Self::Faiss(error) => Some(error),
            Self::Plugin(error) => Some(error),
            _ => None,
        }
    }
}

impl Fault for VectorError {
    fn code(&self) -> Code {
        match self {
            Self::NotText { .. } | Self::NotVectors { .. } | Self::NotAnId { .. } => Code::InvalidDefinition,
            Self::IdTypeChanged { .. } => Code::IndexMismatch,
            Self::DuplicateIds { .. }
            | Self::NothingToIndex { .. }
            | Self::Dimensions { .. }
            | Self::NotNumbers
            | Self::TooManyChunks { .. } => Code::InvalidData,
            Self::TooManyRows { .. } => Code::ResultTooLarge,
            Self::Damaged { .. } => Code::IndexDamaged,
            Self::Encode { .. } | Self::Internal(_) => Code::Internal,
            Self::Source(_) | Self::Storage(_) | Self::Faiss(_) | Self::Plugin(_) => {
                self.inner().map_or(Code::Internal, Fault::code)
            }
        }
    }

    fn public(&self) -> String {
        match self {
            Self::Damaged { index, .. } => format!("a file of index `{index}` is damaged or gone; a refresh makes it anew"),
            Self::Encode { .. } | Self::Internal(_) => "the index failed inside the server".to_owned(),
            other => self.inner().map_or_else(|| other.to_string(), Fault::public),
        }
    }

    fn members(&self) -> Members {
        self.inner().map(Fault::members).unwrap_or_default()
    }
}
