//! Batches on their way to the table, and the rows that were left out.

use arrow::array::RecordBatch;
use lakehouse_tables::Rejected;
use tokio::sync::mpsc::Sender;

use crate::{IngestError, OnError};

/// Rejected rows that a report lists; the others are counted.
pub(crate) const LISTED: usize = 100;

/// Where a reader puts what it reads.
#[derive(Debug)]
pub(crate) struct Rows {
    out: Sender<RecordBatch>,
    on_error: OnError,
    /// The first rows that were left out.
    pub(crate) rejected: Vec<Rejected>,
    /// All rows that were left out.
    pub(crate) rejected_rows: u64,
}

impl Rows {
    pub(crate) fn new(out: Sender<RecordBatch>, on_error: OnError) -> Self {
        Self { out, on_error, rejected: Vec::new(), rejected_rows: 0 }
    }

    /// Hands a batch on; waits while the table is behind.
    pub(crate) fn send(&self, batch: RecordBatch) -> Result<(), IngestError> {
        self.out.blocking_send(batch).map_err(|_| IngestError::Stopped)
    }

    /// Leaves a row out, or ends the ingest with its error, as the caller of the ingest chose.
    pub(crate) fn reject(&mut self, line: u64, error: IngestError) -> Result<(), IngestError> {
        if self.on_error == OnError::Fail {
            return Err(error);
        }
        self.rejected_rows += 1;
        if self.rejected.len() < LISTED {
            self.rejected.push(Rejected { line, reason: error.reason() });
        }
        Ok(())
    }

    /// Whether rows with errors are left out.
    pub(crate) fn skips(&self) -> bool {
        self.on_error == OnError::Skip
    }
}
