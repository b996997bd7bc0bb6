//! An S3 bucket as a store: what S3's own means make repeatable is repeated here.
//!
//! **Invariant**: a conditional write carries an id of its own, so that one whose answer was lost is told from another's: it ends
//! as done, as lost to another, or as unknown, and never as lost to itself. A list goes on at the page that failed, a read at the byte.

use std::{fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use lakehouse_types::random_bytes;
use object_store::{
    Attribute, AttributeValue, CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    aws::AmazonS3,
    list::{PaginatedListOptions, PaginatedListStore},
    path::Path,
};

use super::{body, upload::S3Upload};
use crate::{RetryPolicy, metrics::Counters, retry::Attempts};

/// Deletes of one request; S3 takes no more.
const DELETES: usize = 1000;
/// Delete requests at once.
const DELETES_AT_ONCE: usize = 4;
/// The metadata under which an object keeps the id of its write.
const PUT_ID: &str = "lakehouseput";

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct S3Store {
    pub(super) client: AmazonS3,
    bucket: Arc<str>,
    pub(super) retry: RetryPolicy,
    pub(super) counters: Arc<Counters>,
}

/// The id of one write.
#[derive(Debug, Clone)]
pub(super) struct PutId(String);

impl PutId {
    pub(super) fn fresh() -> Self {
        Self(random_bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub(super) fn attribute(&self) -> (Attribute, AttributeValue) {
        (Attribute::Metadata(PUT_ID.into()), self.0.clone().into())
    }
}

impl S3Store {
    pub(super) fn new(client: AmazonS3, bucket: &str, retry: RetryPolicy, counters: Arc<Counters>) -> Self {
        Self { client, bucket: bucket.into(), retry, counters }
    }

    /// The object, when it is the one that `id` wrote.
    ///
    /// # Errors
    /// When that cannot be found out: then nobody knows.
    pub(super) async fn written_by(&self, location: &Path, id: &PutId) -> Result<Option<PutResult>> {
        let head = GetOptions { head: true, ..GetOptions::default() };
        let found = self.retry.run(&self.counters, || self.client.get_opts(location, head.clone())).await;
        match found {
            Ok(found) if found.attributes.get(&Attribute::Metadata(PUT_ID.into())).is_some_and(|held| **held == id.0) => {
                Ok(Some(PutResult { e_tag: found.meta.e_tag, version: found.meta.version, extensions: found.extensions }))
            }
            Ok(_) | Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn put_conditionally(&self, location: &Path, payload: PutPayload, mut opts: PutOptions) -> Result<PutResult> {
        let id = PutId::fresh();
        let (key, value) = id.attribute();
        opts.attributes.insert(key, value);
        let mut attempts = Attempts::new(self.retry, Arc::clone(&self.counters));
        let mut is_first = true;
        loop {
            match self.client.put_opts(location, payload.clone(), opts.clone()).await {
                // Refused after a call whose outcome is unknown: that one may be why.
                Err(error @ (Error::AlreadyExists { .. } | Error::Precondition { .. })) if !is_first => {
                    return self.written_by(location, &id).await?.ok_or(error);
                }
                Err(error) if attempts.again(&error).await => is_first = false,
                outcome => return outcome,
            }
        }
    }

    fn pages(&self, prefix: Option<&Path>, offset: Option<String>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.filter(|prefix| !prefix.as_ref().is_empty()).map(|prefix| format!("{prefix}/"));
        let first = Some(PaginatedListOptions { offset, ..PaginatedListOptions::default() });
        let store = self.clone();
        let pages = stream::try_unfold((store, prefix, first), |(store, prefix, next)| async move {
            let Some(options) = next else { return Ok::<_, Error>(None) };
            let ask = || store.client.list_paginated(prefix.as_deref(), options.clone());
            let page = store.retry.run(&store.counters, ask).await?;
            let next = page.page_token.map(|token| PaginatedListOptions { page_token: Some(token), ..options.clone() });
            Ok(Some((page.result.objects, (store, prefix, next))))
        });
        pages.map_ok(|objects| stream::iter(objects.into_iter().map(Ok))).try_flatten().boxed()
    }

    async fn delete_batch(&self, locations: Vec<Result<Path>>) -> Vec<Result<Path>> {
        let (paths, mut outcomes): (Vec<Path>, Vec<Result<Path>>) =
            locations.into_iter().fold(Default::default(), |(mut paths, mut failed), location| {
                match location {
                    Ok(path) => paths.push(path),
                    Err(error) => failed.push(Err(error)),
                }
                (paths, failed)
            });
        // To delete what is gone is no error, so the whole batch may be asked for again.
        let delete = || {
            let locations = stream::iter(paths.clone().into_iter().map(Ok)).boxed();
            self.client.delete_stream(locations).try_collect::<Vec<Path>>()
        };
        match self.retry.run(&self.counters, delete).await {
            Ok(deleted) => outcomes.extend(deleted.into_iter().map(Ok)),
            Err(error) => outcomes.push(Err(error)),
        }
        outcomes
    }
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl fmt::Display for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3({})", self.bucket)
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        match opts.mode {
            PutMode::Overwrite => self.client.put_opts(location, payload, opts).await,
            PutMode::Create | PutMode::Update(_) => self.put_conditionally(location, payload, opts).await,
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(S3Upload::begin(self.clone(), location, opts).await?))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let found = self.client.get_opts(location, options.clone()).await?;
        Ok(if options.head { found } else { body::resuming(self, location, options, found) })
    }

    /// Whole or not at all, so that the caller may repeat it: nothing is resumed here.
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.client.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .chunks(DELETES)
            .map(move |batch| {
                let store = store.clone();
                async move { store.delete_batch(batch).await }
            })
            .buffered(DELETES_AT_ONCE)
            .flat_map(stream::iter)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.pages(prefix, None)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.pages(prefix, Some(offset.to_string()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.client.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        match options.mode {
            CopyMode::Overwrite => self.retry.run(&self.counters, || self.client.copy_opts(from, to, options.clone())).await,
            CopyMode::Create => self.client.copy_opts(from, to, options).await,
        }
    }
}
