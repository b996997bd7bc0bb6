//! Files that are in a bucket already.
//!
//! **Invariant**: nothing is listed or read that does not stand in a folder which the settings name.

use lakehouse_access::{AccessError, Caller};
use lakehouse_ingest::{Format, ImportRequest, IngestMode, OnError, PathPattern, Pulled};
use lakehouse_types::{BucketName, ColumnName, DatasetName};
use tokio::sync::oneshot;

use crate::{Engine, EngineError, Ingested};

/// Files of a bucket, and what is to become of them.
#[derive(Debug)]
pub struct IngestBucket {
    pub dataset: DatasetName,
    /// Of a new dataset; `primary` when absent.
    pub bucket: Option<BucketName>,
    pub mode: IngestMode,
    /// Where the files are.
    pub from: BucketName,
    pub path: PathPattern,
    /// Else each file's name, its first bytes tell.
    pub format: Option<Format>,
    /// The column whose values name the rows.
    pub key: Option<ColumnName>,
    pub on_error: OnError,
    pub idempotency_key: Option<String>,
}

impl Engine {
    /// Ingests every file that matches, as one version; durable and visible to the next query when this returns. A caller who leaves
    /// before the last file was read leaves nothing.
    ///
    /// # Errors
    /// When the caller may not write the dataset, or its key ends before the read does; when the path may not be imported from; when
    /// the files cannot become rows of the dataset, or too many others come in.
    pub async fn ingest_bucket(&self, caller: &Caller, wanted: IngestBucket) -> Result<Ingested, EngineError> {
        self.require_ingest(caller, &wanted.dataset).await?;
        let from = self.buckets.get(&wanted.from)?;
        let literal = wanted.path.literal();
        let may = self.settings.ingest.import.iter();
        if !may.clone().any(|folder| folder.bucket == wanted.from && literal.starts_with(&folder.prefix)) {
            let refusal = EngineError::NoImport { bucket: wanted.from };
            return Err(self.denied(caller, "import from a bucket", refusal).await);
        }
        let dataset = wanted.dataset.clone();
        let request = ImportRequest {
            dataset: wanted.dataset,
            bucket: wanted.bucket,
            mode: wanted.mode,
            from,
            path: wanted.path,
            format: wanted.format,
            key: wanted.key,
            on_error: wanted.on_error,
            idempotency_key: wanted.idempotency_key,
            by: self.stamp(caller),
        };
        let (ingest, turns, lease) = (self.ingest.clone(), self.turns.clone(), self.lease(caller));
        // Dropped with the caller.
        let (stays, left) = oneshot::channel::<()>();
        let work = async move {
            let actor = request.by.actor.clone();
            let read = async {
                let place = turns.place(&actor).await?;
                let turn = turns.turn().await?;
                Ok::<_, EngineError>((ingest.import(request).await?, place, turn))
            };
            let (pulled, _place, _turn) = tokio::select! {
                read = read => read?,
                _ = left => return Err(EngineError::Lost("a caller left while files were read")),
                ended = lease.lost() => return Err(ended.into()),
            };
            settle(pulled, lease.check()).await
        };
        let outcome = self.changes.to_the_end(Box::pin(work)).await;
        drop(stays);
        self.ingest_outcome(caller, dataset, outcome).await
    }
}

/// Commits what was read, while the key of whoever asked still holds.
pub(crate) async fn settle(pulled: Pulled, held: Result<(), AccessError>) -> Result<Ingested, EngineError> {
    match (pulled, held) {
        (Pulled::Replayed(report), _) => Ok(Ingested { report, is_repeat: true }),
        (Pulled::Whole(rows), Ok(())) => {
            let report = rows.commit().await?;
            Ok(Ingested { is_repeat: report.is_repeat, report })
        }
        (Pulled::Whole(rows), Err(ended)) => {
            rows.discard().await;
            Err(ended.into())
        }
    }
}
