//! The objects of segments, and what was made of them in memory.
//!
//! **Invariant**: bytes are used only when their length and checksum are those of the record; an object that is missing or differs is
//! damage, named, never an empty segment.

use std::{num::NonZeroU16, sync::Arc};

use bytes::Bytes;
use lakehouse_catalog::{FileRecord, IndexRecord, SegmentRecord};
use lakehouse_faiss::{Bitmap, Builder, Index};
use lakehouse_storage::{
    Bucket, Buckets, is_damage,
    object_store::{Error as ObjectError, ObjectStoreExt, path::Path},
};
use lakehouse_types::{BucketName, IndexId};

use crate::{
    Result, VectorError,
    cache::{Cache, Part},
    index::metric_of,
    litter::{folder_of_index, folder_of_segment},
    rows::Rows,
    text::Texts,
};

/// Every index's parts. One of a server.
#[derive(Debug)]
pub struct Indexes {
    buckets: Buckets,
    cache: Cache,
    pub(crate) builder: Arc<Builder>,
}

impl Indexes {
    /// Keeps at most `cache_bytes` in memory, beside what searches use at the moment.
    pub fn new(buckets: Buckets, cache_bytes: u64) -> Self {
        Self { buckets, cache: Cache::new(cache_bytes), builder: Arc::new(Builder::new(NonZeroU16::MIN)) }
    }

    /// What is in memory, bytes.
    pub fn cached_bytes(&self) -> u64 {
        self.cache.bytes()
    }

    /// Lets go of an index's parts.
    pub fn forget(&self, index: &IndexId) {
        self.cache.forget(&format!("{}/", folder_of_index(index)));
    }

    pub(crate) fn bucket(&self, name: &BucketName) -> Result<Bucket> {
        Ok(self.buckets.get(name)?)
    }

    /// Whether nothing of the segment's structure has to be read before it can be searched.
    pub(crate) fn has_structure(&self, index: &IndexRecord, segment: &SegmentRecord) -> bool {
        let needed = segment.files.faiss.as_ref().map_or(&segment.files.vectors, |faiss| &faiss.file);
        self.cache.holds(&path_of(index, segment, needed))
    }

    pub(crate) async fn rows(&self, index: &IndexRecord, segment: &SegmentRecord) -> Result<Arc<Rows>> {
        let file = &segment.files.rows;
        let load = || async move {
            let bytes = self.fetch(index, segment, file).await?;
            let (rows, chunks) = (segment.rows, segment.chunks);
            let read = on_blocking(move || Rows::read(&bytes)).await?;
            let read = read.filter(|read| (read.len() as u64, read.ordinals() as u64) == (rows, chunks));
            Ok(Part::Rows(Arc::new(read.ok_or_else(|| damaged(index, segment, file))?)))
        };
        match self.cache.get(&path_of(index, segment, file), load).await? {
            Part::Rows(rows) => Ok(rows),
            _ => Err(MIXED_UP),
        }
    }

    pub(crate) async fn texts(&self, index: &IndexRecord, segment: &SegmentRecord) -> Result<Option<Arc<Texts>>> {
        let Some(file) = &segment.files.text else { return Ok(None) };
        let load = || async move {
            let (bytes, count) = (self.fetch(index, segment, file).await?, as_usize(segment.chunks));
            let texts = on_blocking(move || Texts::read(count, bytes)).await?;
            Ok(Part::Texts(Arc::new(texts.ok_or_else(|| damaged(index, segment, file))?)))
        };
        match self.cache.get(&path_of(index, segment, file), load).await? {
            Part::Texts(texts) => Ok(Some(texts)),
            _ => Err(MIXED_UP),
        }
    }

    pub(crate) async fn vectors(&self, index: &IndexRecord, segment: &SegmentRecord) -> Result<Arc<Vec<f32>>> {
        let file = &segment.files.vectors;
        let load = || async move {
            let bytes = self.fetch(index, segment, file).await?;
            let numbers = segment.chunks.saturating_mul(index.dimensions.unwrap_or_default().into());
            if bytes.len() as u64 != numbers.saturating_mul(4) {
                return Err(damaged(index, segment, file));
            }
            let vectors = on_blocking(move || numbers_of(&bytes)).await?;
            Ok(Part::Vectors(Arc::new(vectors)))
        };
        match self.cache.get(&path_of(index, segment, file), load).await? {
            Part::Vectors(vectors) => Ok(vectors),
            _ => Err(MIXED_UP),
        }
    }

    pub(crate) async fn faiss(&self, index: &IndexRecord, segment: &SegmentRecord) -> Result<Option<Arc<Index>>> {
        let Some(faiss) = &segment.files.faiss else { return Ok(None) };
        let file = &faiss.file;
        let load = || async move {
            let bytes = self.fetch(index, segment, file).await?;
            let read = on_blocking(move || Index::read(&bytes)).await?;
            let expected =
                (as_usize(segment.chunks), index.dimensions.unwrap_or_default() as usize, metric_of(index.recipe.metric));
            let read = read.ok().filter(|read| (read.len(), read.dimensions(), read.metric()) == expected);
            Ok(Part::Faiss(Arc::new(read.ok_or_else(|| damaged(index, segment, file))?)))
        };
        match self.cache.get(&path_of(index, segment, file), load).await? {
            Part::Faiss(faiss) => Ok(Some(faiss)),
            _ => Err(MIXED_UP),
        }
    }

    /// Rows that are dead; `None` when all live.
    pub(crate) async fn dead(&self, index: &IndexRecord, segment: &SegmentRecord) -> Result<Option<Bitmap>> {
        let Some(file) = &segment.files.dead else { return Ok(None) };
        let bytes = self.fetch(index, segment, file).await?;
        let dead = Bitmap::from_bytes(as_usize(segment.rows), &bytes).map_err(|_| damaged(index, segment, file))?;
        Ok(Some(dead))
    }

    /// Ordinals of live rows; `None` when all are.
    pub(crate) async fn live(&self, index: &IndexRecord, segment: &SegmentRecord) -> Result<Option<Arc<Bitmap>>> {
        let Some(file) = &segment.files.dead else { return Ok(None) };
        let load = || async move {
            let rows = self.rows(index, segment).await?;
            let dead = self.dead(index, segment).await?;
            let mut live = Bitmap::full(rows.ordinals());
            for row in dead.iter().flat_map(Bitmap::iter) {
                for ordinal in rows.ordinals_of(row) {
                    live.remove(ordinal)?;
                }
            }
            Ok(Part::Live(Arc::new(live)))
        };
        match self.cache.get(&path_of(index, segment, file), load).await? {
            Part::Live(live) => Ok(Some(live)),
            _ => Err(MIXED_UP),
        }
    }

    async fn fetch(&self, index: &IndexRecord, segment: &SegmentRecord, file: &FileRecord) -> Result<Bytes> {
        let bucket = self.bucket(&index.bucket)?;
        let found = match bucket.store().get(&Path::from(path_of(index, segment, file))).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        let bytes = match found {
            Ok(bytes) => bytes,
            Err(ObjectError::NotFound { .. }) => return Err(damaged(index, segment, file)),
            Err(error) if is_damage(&error) => return Err(damaged(index, segment, file)),
            Err(error) => return Err(bucket.error(error).into()),
        };
        let (length, crc) = (file.bytes, file.crc32c);
        let checked =
            on_blocking(move || (bytes.len() as u64 == length && crc32c::crc32c(&bytes) == crc).then_some(bytes)).await?;
        checked.ok_or_else(|| damaged(index, segment, file))
    }

    /// Writes an object, durably when it returns.
    pub(crate) async fn store(&self, bucket: &Bucket, folder: &str, name: &str, bytes: Vec<u8>) -> Result<FileRecord> {
        let (bytes, crc32c) = on_blocking(move || {
            let crc = crc32c::crc32c(&bytes);
            (Bytes::from(bytes), crc)
        })
        .await?;
        let record = FileRecord { name: name.to_owned(), bytes: bytes.len() as u64, crc32c };
        let put = bucket.store().put(&Path::from(format!("{folder}/{name}")), bytes.into()).await;
        put.map_err(|error| bucket.error(error))?;
        Ok(record)
    }
}

const MIXED_UP: VectorError = VectorError::Internal("a part of a segment was taken for another");

fn path_of(index: &IndexRecord, segment: &SegmentRecord, file: &FileRecord) -> String {
    format!("{}/{}", folder_of_segment(&index.id, &segment.id), file.name)
}

fn damaged(index: &IndexRecord, segment: &SegmentRecord, file: &FileRecord) -> VectorError {
    VectorError::Damaged { index: index.name.clone(), file: path_of(index, segment, file) }
}

fn numbers_of(bytes: &[u8]) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks::<4>();
    numbers.iter().map(|number| f32::from_le_bytes(*number)).collect()
}

/// Numbers as they stand in objects.
pub(crate) fn bytes_of(numbers: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of_val(numbers));
    numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    bytes
}

pub(crate) fn as_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Work of milliseconds and more, off the threads that serve.
pub(crate) async fn on_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| VectorError::Internal("a task ended early"))
}
