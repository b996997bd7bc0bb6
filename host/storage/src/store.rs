//! The store of one bucket: retries, counts, the right runtime, and deletes that last.
//!
//! **Invariant**: every call runs inside the I/O runtime; a delete outside the metadata store is reported only after the
//! directory that held the object was synced (object_store syncs what it writes, never what it deletes).

use std::{
    collections::BTreeSet,
    fmt,
    ops::Range,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart, path::Path,
};
use tokio::runtime::Handle;

use crate::{
    RetryPolicy,
    io::OnIo,
    meta,
    metrics::{Counters, add},
};

/// Deletes whose directories are synced together.
const SYNC_BATCH: usize = 64;

#[derive(Debug, Clone)]
pub(crate) struct BucketStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inner: Arc<dyn ObjectStore>,
    io: Handle,
    retry: RetryPolicy,
    counters: Arc<Counters>,
    /// The directory of a local bucket.
    root: Option<PathBuf>,
}

impl BucketStore {
    pub(crate) fn new(
        inner: Arc<dyn ObjectStore>,
        io: Handle,
        retry: RetryPolicy,
        counters: Arc<Counters>,
        root: Option<PathBuf>,
    ) -> Self {
        Self { shared: Arc::new(Shared { inner, io, retry, counters, root }) }
    }

    pub(crate) fn io(&self) -> &Handle {
        &self.shared.io
    }

    async fn on_io<T>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let outcome = OnIo::future(&self.shared.io, work).await;
        self.shared.counters.watch(outcome)
    }

    fn read(&self, bytes: u64) {
        add(&self.shared.counters.reads, 1);
        add(&self.shared.counters.read_bytes, bytes);
    }

    fn wrote(&self, bytes: u64) {
        add(&self.shared.counters.writes, 1);
        add(&self.shared.counters.written_bytes, bytes);
    }
}

impl fmt::Display for BucketStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketStore({})", self.shared.inner)
    }
}

#[async_trait]
impl ObjectStore for BucketStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let Shared { inner, retry, counters, .. } = &*self.shared;
        let bytes = payload.content_length() as u64;
        let outcome = if matches!(opts.mode, PutMode::Overwrite) {
            self.on_io(retry.run(counters, || inner.put_opts(location, payload.clone(), opts.clone()))).await
        } else {
            self.on_io(inner.put_opts(location, payload, opts)).await
        };
        outcome.inspect(|_| self.wrote(bytes))
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.on_io(self.shared.inner.put_multipart_opts(location, opts)).await?;
        Ok(Box::new(BucketUpload { inner: Some(inner), store: self.clone(), bytes: AtomicU64::new(0) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let Shared { inner, retry, counters, .. } = &*self.shared;
        let head = options.head;
        let mut found = self.on_io(retry.run(counters, || inner.get_opts(location, options.clone()))).await?;
        self.read(if head { 0 } else { found.range.end - found.range.start });
        if let GetResultPayload::Stream(bytes) = found.payload {
            found.payload = GetResultPayload::Stream(OnIo::stream(&self.shared.io, bytes).boxed());
        }
        Ok(found)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let Shared { inner, retry, counters, .. } = &*self.shared;
        let outcome = self.on_io(retry.run(counters, || inner.get_ranges(location, ranges))).await;
        outcome.inspect(|found| self.read(found.iter().map(|bytes| bytes.len() as u64).sum()))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let shared = Arc::clone(&self.shared);
        let deleted = shared.inner.delete_stream(locations).map({
            let shared = Arc::clone(&shared);
            move |outcome| {
                let outcome = shared.counters.watch(outcome);
                if outcome.is_ok() {
                    add(&shared.counters.deletes, 1);
                }
                outcome
            }
        });
        let Some(root) = shared.root.clone() else {
            return OnIo::stream(&shared.io, deleted.boxed()).boxed();
        };
        let synced = deleted
            .ready_chunks(SYNC_BATCH)
            .then(move |batch| sync_parents(root.clone(), batch))
            .flat_map(futures::stream::iter)
            .boxed();
        OnIo::stream(&shared.io, synced).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        add(&self.shared.counters.lists, 1);
        let shared = Arc::clone(&self.shared);
        // The listing of a local store asks for its runtime when it is made, not only when it is polled.
        let _inside = self.shared.io.enter();
        OnIo::stream(&self.shared.io, self.shared.inner.list(prefix).map(move |found| shared.counters.watch(found)).boxed())
            .boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        add(&self.shared.counters.lists, 1);
        let shared = Arc::clone(&self.shared);
        let _inside = self.shared.io.enter();
        let found = self.shared.inner.list_with_offset(prefix, offset).map(move |found| shared.counters.watch(found));
        OnIo::stream(&self.shared.io, found.boxed()).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let Shared { inner, retry, counters, .. } = &*self.shared;
        add(&counters.lists, 1);
        self.on_io(retry.run(counters, || inner.list_with_delimiter(prefix))).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.on_io(self.shared.inner.copy_opts(from, to, options)).await.inspect(|()| self.wrote(0))
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.on_io(self.shared.inner.rename_opts(from, to, options)).await.inspect(|()| self.wrote(0))
    }
}

/// Syncs the directories of what was deleted. A delete whose directory cannot be synced is reported as failed.
async fn sync_parents(root: PathBuf, batch: Vec<Result<Path>>) -> Vec<Result<Path>> {
    let parents: BTreeSet<PathBuf> = batch
        .iter()
        .flatten()
        .filter(|path| !meta::holds(path))
        .filter_map(|path| root.join(path.as_ref()).parent().map(PathBuf::from))
        .collect();
    if parents.is_empty() {
        return batch;
    }
    let synced = tokio::task::spawn_blocking(move || {
        parents.iter().try_for_each(|directory| match std::fs::File::open(directory) {
            Ok(directory) => directory.sync_all(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        })
    })
    .await
    .map_err(std::io::Error::from)
    .flatten();
    match synced {
        Ok(()) => batch,
        Err(error) => {
            let mut outcomes = batch;
            if let Some(first) = outcomes.iter_mut().find(|outcome| outcome.is_ok()) {
                *first = Err(object_store::Error::Generic { store: "local", source: Box::new(error) });
            }
            outcomes
        }
    }
}

/// A multipart upload, counted as one write when it completes.
struct BucketUpload {
    /// Taken only by `drop`.
    inner: Option<Box<dyn MultipartUpload>>,
    store: BucketStore,
    bytes: AtomicU64,
}

impl fmt::Debug for BucketUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketUpload").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl BucketUpload {
    fn inner(&mut self) -> &mut dyn MultipartUpload {
        self.inner.as_deref_mut().expect("an upload is taken only when it is dropped")
    }
}

#[async_trait]
impl MultipartUpload for BucketUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        add(&self.bytes, data.content_length() as u64);
        let io = self.store.shared.io.clone();
        let _inside = io.enter();
        let part = self.inner().put_part(data);
        Box::pin(OnIo::future(&io, part))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (store, bytes) = (self.store.clone(), *self.bytes.get_mut());
        store.on_io(self.inner().complete()).await.inspect(|_| store.wrote(bytes))
    }

    async fn abort(&mut self) -> Result<()> {
        let store = self.store.clone();
        store.on_io(self.inner().abort()).await
    }
}

impl Drop for BucketUpload {
    /// A local upload that was abandoned removes its staging file on the runtime it is dropped in.
    fn drop(&mut self) {
        let io = self.store.shared.io.clone();
        let _inside = io.enter();
        drop(self.inner.take());
    }
}
