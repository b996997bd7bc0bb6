//! What governs rows and values, seen from here: the tombstones of a dataset, the rules that views name.

use std::{fmt::Debug, sync::Arc};

use arrow::array::{ArrayRef, BooleanArray};
use async_trait::async_trait;
use lakehouse_types::Fault;

/// Rows that are hidden by their key.
pub trait Hidden: Debug + Send + Sync {
    /// True for rows to keep; rows with a NULL key are kept.
    fn keep(&self, keys: &ArrayRef) -> BooleanArray;
}

/// A redaction that is bound and checked: it makes one redactor for each partition of a query.
pub trait RowRule: Debug + Send + Sync {
    /// A fresh redactor, used by one partition of one query and never by another.
    fn open(&self) -> Box<dyn RowRedactor>;
}

/// One redactor at work.
#[async_trait]
pub trait RowRedactor: Send {
    /// As many rows as it was given; NULL stays NULL.
    async fn redact(&mut self, values: &ArrayRef) -> Result<ArrayRef, Arc<dyn Fault>>;
}
