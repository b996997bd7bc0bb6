//! Small reads of what the page cache has, on the spot.
//!
//! A local store hands each read to a thread that may wait for the disk. To wake that thread, and to be woken by it, takes several times
//! as long as to copy some kilobytes out of memory.
//!
//! **Invariant**: nothing here waits for a disk, and nothing is answered but the very bytes that were asked for: whatever is not in memory,
//! not whole or not as it should be is left to the store below, which tells what is wrong.

use std::{
    fmt,
    io::IoSliceMut,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, RenameOptions, Result, local::LocalFileSystem, path::Path,
};
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
    io::{Errno, ReadWriteFlags, preadv2},
};

/// More than this is left to a thread of its own, in memory or not.
const MAX_BYTES: u64 = 256 << 10;

#[derive(Debug)]
pub(crate) struct WarmStore {
    inner: Arc<LocalFileSystem>,
    root: PathBuf,
    /// The system does not know how to, or does not let us.
    refused: AtomicBool,
}

impl WarmStore {
    pub(crate) fn new(inner: LocalFileSystem, root: PathBuf) -> Self {
        Self { inner: Arc::new(inner), root, refused: AtomicBool::new(false) }
    }

    /// The bytes of all ranges, if they are in memory.
    fn warm(&self, location: &Path, ranges: &[Range<u64>]) -> Option<Vec<Bytes>> {
        let total = ranges.iter().try_fold(0u64, |total, range| {
            i64::try_from(range.end).ok()?;
            total.checked_add(range.end.checked_sub(range.start)?)
        })?;
        // Half-written objects have a `#` in their names, and are none.
        let is_object = location.filename().is_some_and(|name| !name.contains('#'));
        if total == 0 || total > MAX_BYTES || !is_object || self.refused.load(Relaxed) {
            return None;
        }
        self.read(location, ranges)
            .inspect_err(|error| {
                if matches!(*error, Errno::NOSYS | Errno::INVAL | Errno::PERM | Errno::OPNOTSUPP) {
                    tracing::debug!(%error, "reads from memory are not possible here");
                    self.refused.store(true, Relaxed);
                }
            })
            .ok()
    }

    fn read(&self, location: &Path, ranges: &[Range<u64>]) -> rustix::io::Result<Vec<Bytes>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat2(CWD, self.root.join(location.as_ref()), flags, Mode::empty(), ResolveFlags::CACHED)?;
        let read = |range: &Range<u64>| {
            let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(|_| Errno::OVERFLOW)?];
            let read = preadv2(&file, &mut [IoSliceMut::new(&mut bytes)], range.start, ReadWriteFlags::NOWAIT)?;
            if read == bytes.len() { Ok(Bytes::from(bytes)) } else { Err(Errno::AGAIN) }
        };
        ranges.iter().map(read).collect()
    }
}

impl fmt::Display for WarmStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for WarmStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match self.warm(location, ranges) {
            Some(found) => Ok(found),
            None => self.inner.get_ranges(location, ranges).await,
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use object_store::{Error, ObjectStoreExt};
    use tempfile::TempDir;

    use super::*;

    fn store() -> (WarmStore, TempDir) {
        let folder = TempDir::new().unwrap();
        (WarmStore::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap(), folder.path().to_owned()), folder)
    }

    #[tokio::test]
    async fn what_is_in_memory_is_what_the_disk_has() {
        let (store, folder) = store();
        let whole: Bytes = (0..300_000u32).map(|at| (at % 251) as u8).collect::<Vec<_>>().into();
        for name in ["datasets/a/part.parquet", "a b/100%/é.json"] {
            let object = Path::from(name);
            store.put(&object, whole.clone().into()).await.unwrap();
            for ranges in [vec![0..10, 10..20], vec![70_000..80_000, 5..6, 299_999..300_000], vec![0..1, 1..MAX_BYTES]] {
                let warm = store.warm(&object, &ranges);
                assert!(warm.is_some() || store.refused.load(Relaxed), "{ranges:?}");
                let found = store.get_ranges(&object, &ranges).await.unwrap();
                assert_eq!(found, store.inner.get_ranges(&object, &ranges).await.unwrap());
                assert_eq!(
                    found,
                    ranges.iter().map(|range| whole.slice(range.start as usize..range.end as usize)).collect::<Vec<_>>()
                );
            }
        }
        drop(folder);
    }

    #[tokio::test]
    async fn what_is_not_as_it_should_be_is_left_to_the_store_below() {
        let (store, folder) = store();
        let object = Path::from("x");
        store.put(&object, vec![7; 100].into()).await.unwrap();
        std::fs::write(folder.path().join("x#1"), [7; 100]).unwrap();
        let large = Path::from("large");
        store.put(&large, vec![7; MAX_BYTES as usize + 1].into()).await.unwrap();
        // Some file systems, like that of memory, have no such reads.
        let can = store.warm(&object, from_ref(&(0..10))).is_some();
        let left =
            |object: &Path, range: Range<u64>| assert_eq!(store.warm(object, from_ref(&range)), None, "{object} {range:?}");
        left(&object, 90..101);
        left(&object, 200..300);
        left(&object, Range { start: 5, end: 4 });
        left(&object, 0..0);
        left(&Path::from("x#1"), 0..10);
        left(&large, 0..MAX_BYTES + 1);
        left(&Path::from("none"), 0..10);
        assert!(!can || !store.refused.load(Relaxed), "none of this is about the system");
        let missing = store.get_ranges(&Path::from("none"), from_ref(&(0..10))).await;
        assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
        assert!(store.get_ranges(&object, from_ref(&(200..300))).await.is_err());
    }
}
