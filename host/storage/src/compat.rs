//! A bucket as DataFusion and Delta see it: the object_store 0.13 trait over the bucket's 0.14 store.
//!
//! **Invariant**: it answers as the 0.14 store does, and file bytes are read on the I/O runtime: no open file is handed to
//! the caller's runtime.

use std::{
    fmt,
    fs::File,
    io::{Read, Seek, SeekFrom},
    ops::Range,
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::ObjectStore as _;
use object_store_13::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart, path::Path,
};
use tokio::runtime::Handle;

use crate::{
    convert::{
        attributes_to_old, copy_options_to_new, error_to_new, error_to_old, get_options_to_new, list_to_old, meta_to_old,
        multipart_options_to_new, path_to_new, path_to_old, payload_to_new, put_options_to_new, put_result_to_old,
        rename_options_to_new,
    },
    store::BucketStore,
};

/// Bodies are fetched in ranges of this size; one that fits is fetched whole.
const CHUNK_BYTES: u64 = 4 << 20;

#[derive(Debug)]
pub(crate) struct CompatStore {
    inner: Arc<BucketStore>,
}

impl CompatStore {
    pub(crate) fn new(inner: Arc<BucketStore>) -> Self {
        Self { inner }
    }
}

impl fmt::Display for CompatStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CompatStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for CompatStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let (location, payload, opts) = (path_to_new(location)?, payload_to_new(payload), put_options_to_new(opts));
        self.inner.put_opts(&location, payload, opts).await.map(put_result_to_old).map_err(error_to_old)
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let (location, opts) = (path_to_new(location)?, multipart_options_to_new(opts));
        let inner = self.inner.put_multipart_opts(&location, opts).await.map_err(error_to_old)?;
        Ok(Box::new(CompatUpload { inner }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (location, options) = (path_to_new(location)?, get_options_to_new(options));
        let head = options.head;
        let found = self.inner.get_opts(&location, options).await.map_err(error_to_old)?;
        let (meta, range) = (meta_to_old(found.meta.clone())?, found.range.clone());
        let attributes = attributes_to_old(&found.attributes);
        let payload = if head { futures::stream::empty().boxed() } else { self.body(found).await? };
        Ok(GetResult { payload: GetResultPayload::Stream(payload), meta, range, attributes })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(&path_to_new(location)?, ranges).await.map_err(error_to_old)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let locations = locations.map(|location| location.and_then(|path| path_to_new(&path)).map_err(error_to_new)).boxed();
        self.inner.delete_stream(locations).map_err(error_to_old).and_then(|path| async move { path_to_old(&path) }).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match prefix.map(path_to_new).transpose() {
            Ok(prefix) => metas(self.inner.list(prefix.as_ref())),
            Err(error) => failed(error),
        }
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        match (prefix.map(path_to_new).transpose(), path_to_new(offset)) {
            (Ok(prefix), Ok(offset)) => metas(self.inner.list_with_offset(prefix.as_ref(), &offset)),
            (Err(error), _) | (_, Err(error)) => failed(error),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix = prefix.map(path_to_new).transpose()?;
        list_to_old(self.inner.list_with_delimiter(prefix.as_ref()).await.map_err(error_to_old)?)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (from, to) = (path_to_new(from)?, path_to_new(to)?);
        self.inner.copy_opts(&from, &to, copy_options_to_new(options)).await.map_err(error_to_old)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let (from, to) = (path_to_new(from)?, path_to_new(to)?);
        self.inner.rename_opts(&from, &to, rename_options_to_new(options)).await.map_err(error_to_old)
    }
}

impl CompatStore {
    /// The bytes of an answer. An open file is read on the bucket's runtime.
    async fn body(&self, found: object_store::GetResult) -> Result<BoxStream<'static, Result<Bytes>>> {
        let range = found.range;
        let (file, path) = match found.payload {
            object_store::GetResultPayload::Stream(stream) => return Ok(stream.map_err(error_to_old).boxed()),
            object_store::GetResultPayload::File(file, path) => (Arc::new(file), path),
        };
        let io = self.inner.io().clone();
        if range.end - range.start <= CHUNK_BYTES {
            let bytes = read_at(&io, file, range, &path).await?;
            return Ok(futures::stream::once(async move { Ok(bytes) }).boxed());
        }
        let chunks = futures::stream::try_unfold(range, move |rest| {
            let (io, file, path) = (io.clone(), Arc::clone(&file), path.clone());
            async move {
                if rest.is_empty() {
                    return Ok(None);
                }
                let end = rest.end.min(rest.start + CHUNK_BYTES);
                let bytes = read_at(&io, file, rest.start..end, &path).await?;
                Ok(Some((bytes, end..rest.end)))
            }
        });
        Ok(chunks.boxed())
    }
}

async fn read_at(io: &Handle, file: Arc<File>, range: Range<u64>, path: &std::path::Path) -> Result<Bytes> {
    let read = io.spawn_blocking(move || {
        let mut file = &*file;
        file.seek(SeekFrom::Start(range.start))?;
        let length = range.end - range.start;
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        let got = file.take(length).read_to_end(&mut bytes)? as u64;
        if got == length { Ok(Bytes::from(bytes)) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
    });
    let outcome = match read.await {
        Ok(outcome) => outcome,
        Err(source) => return Err(Error::JoinError { source }),
    };
    outcome.map_err(|source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => Error::NotFound { path: path.display().to_string(), source: source.into() },
        _ => Error::Generic { store: "local", source: source.into() },
    })
}

fn metas(stream: BoxStream<'static, object_store::Result<object_store::ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
    stream.map(|found| found.map_err(error_to_old).and_then(meta_to_old)).boxed()
}

fn failed<T: Send + 'static>(error: Error) -> BoxStream<'static, Result<T>> {
    futures::stream::once(async move { Err(error) }).boxed()
}

#[derive(Debug)]
struct CompatUpload {
    inner: Box<dyn object_store::MultipartUpload>,
}

#[async_trait]
impl MultipartUpload for CompatUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let part = self.inner.put_part(payload_to_new(data));
        Box::pin(async move { part.await.map_err(error_to_old) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.inner.complete().await.map(put_result_to_old).map_err(error_to_old)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await.map_err(error_to_old)
    }
}

#[cfg(test)]
mod tests;
