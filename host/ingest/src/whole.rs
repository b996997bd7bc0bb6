//! Rows that were read to their end and are not committed yet.
//!
//! **Invariant**: reading and committing are two steps, so that whoever asked can still leave, or be turned away, between them.

use lakehouse_tables::{Rejected, TableWriter};

use crate::{IngestError, IngestReport};

/// What became of a read.
#[derive(Debug)]
pub enum Pulled {
    /// The request was answered before; this is its report.
    Replayed(IngestReport),
    /// Every row is here, and none is visible.
    Whole(Box<WholeRead>),
}

/// A read that went to its end.
#[derive(Debug)]
pub struct WholeRead {
    pub(crate) writer: TableWriter,
    /// The first of the rows that were left out.
    pub(crate) rejected: Vec<Rejected>,
    /// How many were left out in all.
    pub(crate) rejected_rows: u64,
}

impl WholeRead {
    /// Commits the rows as one version; durable and visible to the next read when this returns.
    ///
    /// # Errors
    /// When they cannot be stored; the dataset is then as before.
    pub async fn commit(self) -> Result<IngestReport, IngestError> {
        Ok(self.writer.finish(self.rejected, self.rejected_rows).await?)
    }

    /// Forgets the rows.
    pub async fn discard(self) {
        self.writer.abort().await;
    }
}
