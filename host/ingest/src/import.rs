//! Files of a bucket: all that match are read, in the order of their names, into one version.
//!
//! **Invariant**: every file is the one that was listed, or the import fails; a file's columns meet those of the files before it as
//! those of the dataset; an error and a row that was left out name their file.

use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use futures::{StreamExt, TryStreamExt};
use lakehouse_journal::Stamp;
use lakehouse_storage::Bucket;
use lakehouse_tables::{Begin, Idempotency, Rejected, WriteSpec};
use lakehouse_types::{BucketName, ColumnName, DatasetName, Digest};
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::ingest::{QUEUE, Reader};
use crate::pattern::PathPattern;
use crate::rows::{LISTED, Rows};
use crate::spool::Spool;
use crate::{Format, Ingest, IngestError, IngestMode, OnError, Pulled, WholeRead};

/// Files of one import.
const MAX_FILES: usize = 1000;
/// Objects that are looked at for them.
const MAX_OBJECTS: usize = 100_000;

/// Files of a bucket that are about to become rows.
#[derive(Debug)]
pub struct ImportRequest {
    pub dataset: DatasetName,
    /// Of a new dataset.
    pub bucket: Option<BucketName>,
    pub mode: IngestMode,
    /// Where the files are.
    pub from: Bucket,
    pub path: PathPattern,
    /// As the caller says; else found by each file's name or first bytes.
    pub format: Option<Format>,
    /// The column that identifies rows.
    pub key: Option<ColumnName>,
    pub on_error: OnError,
    pub idempotency_key: Option<String>,
    pub by: Stamp,
}

impl Ingest {
    /// Reads every file that matches to its end. When the future is dropped, what was read is forgotten.
    ///
    /// # Errors
    /// When no file matches or too many do, one is broken, has changed meanwhile or does not fit; nothing is left behind.
    pub async fn import(&self, request: ImportRequest) -> Result<Pulled, IngestError> {
        let started = Instant::now();
        let mode = request.mode.into();
        let store = request.from.store();
        let files = list(&*store, &request.path).await?;
        let spec = WriteSpec {
            dataset: request.dataset.clone(),
            bucket: request.bucket.clone(),
            mode,
            key: request.key.clone(),
            idempotency: request.idempotency_key.as_ref().map(|key| fingerprint(key, &request, &files)),
            by: request.by.clone(),
            started,
        };
        let writer = match self.tables.begin(spec).await? {
            Begin::Replayed(report) => return Ok(Pulled::Replayed(report)),
            Begin::Writer(writer) => writer,
        };
        let mut whole = WholeRead { writer, rejected: Vec::new(), rejected_rows: 0 };
        for file in &files {
            if let Err(error) = self.import_one(&store, file, &request, &mut whole).await {
                whole.discard().await;
                return Err(error.in_file(file.location.as_ref()));
            }
        }
        Ok(Pulled::Whole(Box::new(whole)))
    }

    async fn import_one(
        &self,
        store: &Arc<dyn ObjectStore>,
        file: &ObjectMeta,
        request: &ImportRequest,
        whole: &mut WholeRead,
    ) -> Result<(), IngestError> {
        // Stores without tags of versions tell one by its time.
        let options = GetOptions {
            if_match: file.e_tag.clone(),
            if_unmodified_since: file.e_tag.is_none().then_some(file.last_modified),
            ..GetOptions::default()
        };
        let object = store.get_opts(&file.location, options).await.map_err(IngestError::Object)?;
        let body = object.into_stream().map_err(std::io::Error::other);
        let spool = Spool::take(&self.options.spool, self.options.max_spool_bytes, body).await?;
        let named = request.format.or_else(|| Format::of_name(file.location.as_ref()));
        let format = match named {
            Some(format) => format,
            None => Format::of_magic(&spool.head()?).ok_or(IngestError::UnknownFormat)?,
        };
        let (out, mut batches) = mpsc::channel(QUEUE);
        let rows = Rows::new(out, request.on_error);
        let existing: Option<SchemaRef> = whole.writer.schema();
        let reader = Reader { format, spool, existing, options: Arc::clone(&self.options) };
        let reading = tokio::task::spawn_blocking(move || reader.read(rows));
        while let Some(batch) = batches.recv().await {
            whole.writer.write(batch).await?;
        }
        let (rejected, rejected_rows) = reading.await??;
        let named = |row: Rejected| Rejected { reason: format!("file `{}`: {}", file.location, row.reason), ..row };
        let room = LISTED.saturating_sub(whole.rejected.len());
        whole.rejected.extend(rejected.into_iter().take(room).map(named));
        whole.rejected_rows += rejected_rows;
        Ok(())
    }
}

/// The files that match, by name.
async fn list(store: &dyn ObjectStore, pattern: &PathPattern) -> Result<Vec<ObjectMeta>, IngestError> {
    let literal = pattern.literal();
    let folder = literal.rsplit_once('/').map(|(folder, _)| Path::parse(folder)).transpose();
    let folder = folder.map_err(|error| IngestError::Object(error.into()))?;
    let mut listing = store.list(folder.as_ref());
    let (mut files, mut seen) = (Vec::new(), 0);
    while let Some(object) = listing.next().await {
        let object = object.map_err(IngestError::Object)?;
        seen += 1;
        if pattern.matches(object.location.as_ref()) {
            files.push(object);
        }
        if files.len() > MAX_FILES || seen > MAX_OBJECTS {
            return Err(IngestError::TooManyFiles { files: MAX_FILES, objects: MAX_OBJECTS });
        }
    }
    if files.is_empty() {
        return Err(IngestError::NoFiles);
    }
    files.sort_by(|a, b| a.location.cmp(&b.location));
    Ok(files)
}

/// What the request asks for, files included.
fn fingerprint(key: &str, request: &ImportRequest, files: &[ObjectMeta]) -> Idempotency {
    let mut digest = Sha256::new();
    for file in files {
        let version = file.e_tag.clone().unwrap_or_else(|| file.last_modified.to_rfc3339());
        digest.update(format!("{} {} {version}\n", file.location, file.size));
    }
    let files = Digest::from_bytes(&digest.finalize().into());
    let ImportRequest { dataset, bucket, mode, from, path, format, key: column, on_error, .. } = request;
    let asked = format!("{dataset} {bucket:?} {mode:?} {format:?} {column:?} {on_error:?}");
    Idempotency { key: key.to_owned(), fingerprint: format!("import {files} {} {path} {asked}", from.name()) }
}

#[cfg(test)]
mod tests;
