//! Files into tables.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures::stream::BoxStream;
use lakehouse_access::{Action, Caller};
use lakehouse_ingest::{Format, IngestError, IngestMode, IngestReport, IngestRequest, OnError};
use lakehouse_types::{BucketName, ColumnName, DatasetName};

use crate::{Engine, EngineError, turns};

/// A file and what is to become of it.
#[derive(Debug)]
pub struct IngestFile {
    pub dataset: DatasetName,
    /// Of a new dataset; `primary` when absent.
    pub bucket: Option<BucketName>,
    pub mode: IngestMode,
    /// Else the file's name, its media type, its first bytes tell.
    pub format: Option<Format>,
    pub file_name: Option<String>,
    pub content_type: Option<String>,
    /// The column whose values name the rows.
    pub key: Option<ColumnName>,
    pub on_error: OnError,
    pub idempotency_key: Option<String>,
}

/// What an ingest did.
#[derive(Debug)]
pub struct Ingested {
    pub report: IngestReport,
    /// It is the answer to an earlier request with the same idempotency key: nothing was written now. Of two such requests at
    /// once, both may say no.
    pub is_repeat: bool,
}

impl Engine {
    /// Refuses who may not write files into the dataset; for a look before a body is read.
    ///
    /// # Errors
    /// The refusal.
    pub async fn require_ingest(&self, caller: &Caller, dataset: &DatasetName) -> Result<(), EngineError> {
        self.require(caller, Action::Ingest).await?;
        self.require_write(caller, dataset).await
    }

    /// Ingests a file; durable and visible to the next query when this returns. A body that breaks off leaves nothing behind; what
    /// was read whole is committed even when the caller does not stay to hear of it.
    ///
    /// # Errors
    /// When the caller may not write the dataset, the file cannot become rows of it, or too many others come in.
    pub async fn ingest(
        &self,
        caller: &Caller,
        file: IngestFile,
        body: BoxStream<'static, Result<Bytes, io::Error>>,
    ) -> Result<Ingested, EngineError> {
        self.require_ingest(caller, &file.dataset).await?;
        let request = IngestRequest {
            dataset: file.dataset,
            bucket: file.bucket,
            mode: file.mode,
            format: file.format,
            file_name: file.file_name,
            content_type: file.content_type,
            key: file.key,
            on_error: file.on_error,
            idempotency_key: file.idempotency_key,
            by: self.stamp(caller),
        };
        let (ingest, turns, tables) = (self.ingest.clone(), self.turns.clone(), Arc::clone(&self.tables));
        let (dataset, may_repeat) = (request.dataset.clone(), request.idempotency_key.is_some());
        self.changes
            .to_the_end(async move {
                let _place = turns.place().await?;
                let version = move || tables.dataset(&dataset).map(|state| state.version);
                let (body, turn) = turns.when_whole(body, version);
                let report = ingest.run(request, body).await.map_err(refusal)?;
                // A write makes a version that was not there when its turn came.
                let is_repeat = may_repeat && turn.seen().flatten().is_some_and(|present| report.version <= present);
                Ok(Ingested { report, is_repeat })
            })
            .await
    }
}

/// A body that ended because no turn came is not its sender's fault.
fn refusal(error: IngestError) -> EngineError {
    match error {
        IngestError::Body(source) if turns::is_no_turn(&source) => turns::busy(),
        error => error.into(),
    }
}
