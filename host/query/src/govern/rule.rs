//! What governs rows and values, seen from here: the tombstones of a dataset, the rules that views name.

use std::{fmt::Debug, sync::Arc};

use arrow::array::{Array, ArrayRef, BooleanArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
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

/// What a rule answered, in the type that its column was declared with; nothing where there is no way.
pub(super) fn as_declared(answer: ArrayRef, declared: &DataType) -> Option<ArrayRef> {
    if answer.data_type() == declared {
        return Some(answer);
    }
    // There is no way from text to a struct, and none is needed.
    if answer.null_count() == answer.len() {
        return Some(new_null_array(declared, answer.len()));
    }
    cast(&answer, declared).ok()
}
