//! What can go wrong in storage, and whose move it is.
//!
//! **Invariant**: neither `Display` nor the public message carries a stored value; keys of records are left out too, because
//! some are made of row keys.

use std::{io, path::PathBuf};

use lakehouse_types::{BucketName, Code, Fault, Members};

use crate::{Unusable, is_damage};

/// The result of a storage operation.
pub type Result<T, E = StorageError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("bucket `{name}` does not exist")]
    UnknownBucket { name: BucketName, valid: Vec<BucketName> },
    #[error("no bucket named `primary` is declared")]
    NoPrimary,
    #[error("buckets `{first}` and `{second}` are told apart by no URL")]
    BucketClash { first: BucketName, second: BucketName },
    #[error("bucket `{name}` at {path} cannot be opened")]
    OpenBucket {
        name: BucketName,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("bucket `{name}` at {location} cannot be used: {why}")]
    OpenRemote {
        name: BucketName,
        location: String,
        why: Unusable,
        #[source]
        source: Option<Box<object_store::Error>>,
    },
    #[error("another host writes to {path}")]
    Locked { path: PathBuf },
    #[error("bucket `{bucket}` failed")]
    Store {
        bucket: BucketName,
        #[source]
        source: object_store::Error,
    },
    #[error("the metadata store failed")]
    Meta(#[source] slatedb::Error),
    #[error("a record of `{collection}` cannot be written")]
    Encode {
        collection: &'static str,
        #[source]
        source: serde_json::Error,
    },
    /// Positions only: the parser's own message would quote the value.
    #[error("a record of `{collection}` cannot be read: {category:?} at byte {column}")]
    Decode { collection: &'static str, category: serde_json::error::Category, column: usize },
    #[error("a record of `{collection}` has format {found}; this release reads up to {known}")]
    Format { collection: &'static str, found: u32, known: u32 },
    #[error("a key of `{collection}` cannot be read")]
    Key { collection: &'static str },
    #[error("the metadata store could not be renewed: transactions are open for too long")]
    RenewalLate,
    #[error("the metadata store was moved by another")]
    Superseded,
    /// This one came to read.
    #[error("this host only reads; another one writes to this storage")]
    ReadOnly,
    /// For whoever came to read.
    #[error("there is nothing to read yet: no host has written to this storage")]
    Empty,
    /// By the signs of life in the metadata: told where no lock can be asked.
    #[error("another host writes to this storage")]
    Occupied,
    #[error("a storage task ended early")]
    TaskLost,
}

impl StorageError {
    /// True when a transaction lost a race and may be tried again from its start.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Meta(error) if error.kind() == slatedb::ErrorKind::Transaction)
    }

    /// True when the object was not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Store { source: object_store::Error::NotFound { .. }, .. })
    }

    /// True when an object of that name was there already.
    pub fn is_already_there(&self) -> bool {
        matches!(self, Self::Store { source: object_store::Error::AlreadyExists { .. }, .. })
    }

    /// True when another host writes to the storage in this one's place.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Superseded | Self::ReadOnly | Self::Occupied | Self::Locked { .. })
            || matches!(self, Self::Meta(error) if meta_code(error) == Code::ReadOnly)
    }

    pub(crate) fn decode(collection: &'static str, error: &serde_json::Error) -> Self {
        Self::Decode { collection, category: error.classify(), column: error.column() }
    }
}

impl From<slatedb::Error> for StorageError {
    fn from(error: slatedb::Error) -> Self {
        Self::Meta(error)
    }
}

fn meta_code(error: &slatedb::Error) -> Code {
    use slatedb::{CloseReason, ErrorKind};
    match error.kind() {
        ErrorKind::Transaction => Code::WriteConflict,
        ErrorKind::Closed(CloseReason::Fenced) => Code::ReadOnly,
        ErrorKind::Closed(CloseReason::Clean) => Code::ShuttingDown,
        ErrorKind::Data => Code::Corrupt,
        ErrorKind::Invalid | ErrorKind::Internal => Code::Internal,
        // `Closed(Panic)` and whatever a later release adds: the store is gone until the next start.
        _ => Code::StorageUnavailable,
    }
}

impl Fault for StorageError {
    fn code(&self) -> Code {
        match self {
            Self::UnknownBucket { .. } => Code::UnknownBucket,
            Self::NoPrimary | Self::BucketClash { .. } => Code::InvalidDefinition,
            Self::Store { source, .. } if is_damage(source) => Code::Corrupt,
            Self::OpenBucket { .. } | Self::OpenRemote { .. } | Self::Store { .. } | Self::TaskLost => Code::StorageUnavailable,
            Self::RenewalLate => Code::Busy,
            Self::Superseded | Self::Locked { .. } | Self::ReadOnly | Self::Occupied => Code::ReadOnly,
            Self::Empty => Code::StorageUnavailable,
            Self::Meta(error) => meta_code(error),
            Self::Encode { .. } => Code::Internal,
            Self::Decode { .. } | Self::Format { .. } | Self::Key { .. } => Code::Corrupt,
        }
    }

    fn public(&self) -> String {
        match self {
            Self::UnknownBucket { .. }
            | Self::NoPrimary
            | Self::BucketClash { .. }
            | Self::RenewalLate
            | Self::Superseded
            | Self::ReadOnly
            | Self::Empty
            | Self::Occupied => self.to_string(),
            Self::Locked { .. } => "another host writes to this storage".to_owned(),
            Self::OpenBucket { name, .. } | Self::OpenRemote { name, .. } => format!("bucket `{name}` cannot be opened"),
            Self::Store { bucket, source } if is_damage(source) => format!("an object in bucket `{bucket}` is damaged"),
            Self::Store { bucket, .. } => format!("bucket `{bucket}` did not answer as it should"),
            Self::Meta(error) => match meta_code(error) {
                Code::WriteConflict => "another change to the same objects came first".to_owned(),
                Code::ReadOnly => "this host may no longer write".to_owned(),
                Code::ShuttingDown => "the server is stopping".to_owned(),
                Code::Corrupt => "stored metadata is damaged".to_owned(),
                _ => "the metadata store did not answer".to_owned(),
            },
            Self::Encode { .. } => "a record could not be written".to_owned(),
            Self::Decode { .. } | Self::Format { .. } | Self::Key { .. } => "stored metadata cannot be read".to_owned(),
            Self::TaskLost => "storage was interrupted".to_owned(),
        }
    }

    fn members(&self) -> Members {
        let mut members = Members::new();
        if let Self::UnknownBucket { valid, .. } = self {
            members.insert("valid_buckets".to_owned(), valid.iter().map(BucketName::as_str).collect());
        }
        members
    }
}
