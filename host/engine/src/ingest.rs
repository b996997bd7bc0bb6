//! Files into tables.

use std::io;

use bytes::Bytes;
use futures::stream::BoxStream;
use lakehouse_access::{AccessError, Action, Caller};
use lakehouse_catalog::CatalogError;
use lakehouse_ingest::{Format, IngestError, IngestMode, IngestReport, IngestRequest, OnError, Pulled};
use lakehouse_tables::TableError;
use lakehouse_types::{BucketName, ColumnName, DatasetName, ViewName};

use crate::{Engine, EngineError, turns, views};

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
    /// It is the answer to an earlier request with the same idempotency key: nothing was written now.
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
    /// When the caller may not write the dataset, or its key ends or loses a grant before the body does; when the file cannot become
    /// rows of the dataset, or too many others come in.
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
        let (ingest, turns) = (self.ingest.clone(), self.turns.clone());
        let (lease, dataset) = (self.lease(caller), request.dataset.clone());
        let outcome = self
            .changes
            .to_the_end(async move {
                let _place = turns.place(&request.by.actor).await?;
                let body = lease.clone().over_body(body);
                let look = move || lease.check().map_err(io::Error::other);
                let (body, turn) = turns.when_whole(body, look);
                // What is left of an append is to wait for the disk, which many do together. Others still hold or read their keys.
                let is_light = request.mode == IngestMode::Append;
                let report = match ingest.read(request, body).await.map_err(refusal)? {
                    Pulled::Replayed(report) => report,
                    Pulled::Whole(whole) => {
                        debug_assert!(turn.seen().is_some(), "what was read whole had its turn");
                        let _turn = Some(turn).filter(|_| !is_light);
                        whole.commit().await.map_err(EngineError::from)?
                    }
                };
                Ok(Ingested { is_repeat: report.is_repeat, report })
            })
            .await;
        self.ingest_outcome(caller, dataset, outcome).await
    }

    /// What the caller is told of an ingest.
    pub(crate) async fn ingest_outcome(
        &self,
        caller: &Caller,
        dataset: DatasetName,
        outcome: Result<Ingested, EngineError>,
    ) -> Result<Ingested, EngineError> {
        match outcome {
            Err(EngineError::Access(ended)) => Err(self.denied(caller, &format!("write dataset {dataset}"), ended).await),
            // A view has the name.
            Err(EngineError::Ingest(IngestError::Table(TableError::Catalog(CatalogError::NameTaken { name, .. }))))
                if !ViewName::new(&name).is_ok_and(|view| views::sees(caller, &view)) =>
            {
                Err(EngineError::NameTaken { name: dataset })
            }
            outcome => outcome,
        }
    }
}

/// A body that ended because no turn came, or because its sender's key did, was not broken.
fn refusal(error: IngestError) -> EngineError {
    match error {
        IngestError::Body(source) if turns::is_no_turn(&source) => turns::busy(),
        IngestError::Body(source) => match source.downcast::<AccessError>() {
            Ok(ended) => ended.into(),
            Err(source) => IngestError::Body(source).into(),
        },
        error => error.into(),
    }
}
