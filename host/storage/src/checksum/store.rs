//! A store that writes sums beside its objects and reads nothing that they do not fit.

mod create;

use std::{collections::HashMap, fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, RenameTargetMode, Result,
    UploadPart, path::Path,
};
use parking_lot::Mutex;

use super::pieces::{blocking, merged, part, pieces, which};
use super::{Contents, FOLDER, Summing, Sums, beside, damaged, has_sums};

/// Sums that are kept in memory, counted in blocks: 16 MiB of them, for 256 GiB of data.
const MAX_BLOCKS: usize = 4 << 20;
/// Writes of one object take turns by its name, on one of so many locks.
const TURNS: usize = 64;

#[derive(Debug, Clone)]
pub(crate) struct ChecksumStore {
    inner: Arc<dyn ObjectStore>,
    known: Arc<Mutex<Known>>,
    turns: Arc<[tokio::sync::Mutex<()>]>,
}

/// Sums that were read or written before; `None` where an object has none.
#[derive(Debug, Default)]
struct Known {
    contents: HashMap<Path, Option<Arc<Contents>>>,
    blocks: usize,
}

impl Known {
    fn put(&mut self, object: &Path, contents: Option<Arc<Contents>>) {
        if may_change(object) {
            return;
        }
        if self.blocks > MAX_BLOCKS {
            *self = Self::default();
        }
        self.blocks += blocks(contents.as_ref());
        let before = self.contents.insert(object.clone(), contents);
        self.blocks -= before.map_or(0, |before| blocks(before.as_ref()));
    }

    fn remove(&mut self, object: &Path) {
        let before = self.contents.remove(object);
        self.blocks -= before.map_or(0, |before| blocks(before.as_ref()));
    }
}

fn blocks(contents: Option<&Arc<Contents>>) -> usize {
    1 + contents.map_or(0, |contents| contents.blocks())
}

impl ChecksumStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, known: Arc::default(), turns: (0..TURNS).map(|_| tokio::sync::Mutex::default()).collect() }
    }

    /// Held while an object or its sums are written.
    async fn turn(&self, object: &Path) -> tokio::sync::MutexGuard<'_, ()> {
        let at = crc32c::crc32c(object.as_ref().as_bytes()) as usize % TURNS;
        self.turns[at].lock().await
    }

    pub(super) async fn contents(&self, object: &Path) -> Result<Option<Arc<Contents>>> {
        if !has_sums(object) {
            return Ok(None);
        }
        if let Some(known) = self.known.lock().contents.get(object) {
            return Ok(known.clone());
        }
        let contents = match self.inner.get(&beside(object)).await {
            Ok(found) => {
                let bytes = found.bytes().await?;
                Some(Arc::new(Contents::decode(&bytes).ok_or_else(|| damaged(object, "its checksums are damaged"))?))
            }
            Err(Error::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let mut known = self.known.lock();
        // Who wrote it meanwhile knows better.
        if let Some(known) = known.contents.get(object) {
            return Ok(known.clone());
        }
        known.put(object, contents.clone());
        Ok(contents)
    }

    /// Makes `new` one of the contents that `object` may have. One that exists may still have another.
    async fn expect(&self, object: &Path, new: Sums, exists: bool) -> Result<()> {
        let before = if exists { self.contents(object).await? } else { Some(Arc::default()) };
        // One without sums stays so: nothing tells the content from before from a damaged one.
        let Some(before) = before else { return Ok(()) };
        let contents = self.present(object, &before).await?.with(new);
        let bytes = contents.encode();
        self.known.lock().put(object, Some(Arc::new(contents)));
        self.inner.put(&beside(object), bytes.into()).await.map(|_| ())
    }

    /// Of what an object may be, what it is.
    async fn present(&self, object: &Path, contents: &Contents) -> Result<Contents> {
        if contents.0.len() < 2 {
            return Ok(contents.clone());
        }
        let bytes = self.inner.get(object).await?.bytes().await?;
        let fitting = contents.0.iter().rev().find(|sums| sums.length == bytes.len() as u64 && sums.fit(0, &bytes));
        fitting
            .map(|sums| Contents(vec![sums.clone()]))
            .ok_or_else(|| damaged(object, "its bytes are not those that were written"))
    }

    async fn exists(&self, object: &Path) -> Result<bool> {
        match self.inner.head(object).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn forget(&self, object: &Path) -> Result<()> {
        self.known.lock().remove(object);
        match self.inner.delete(&beside(object)).await {
            Err(error) if !matches!(error, Error::NotFound { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    /// The bytes of these ranges, if they fit one of the contents.
    async fn checked(&self, object: &Path, contents: &Contents, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        for sums in contents.0.iter().rev() {
            if ranges.iter().any(|range| range.end > sums.length || range.start > range.end) {
                continue;
            }
            let covers = merged(ranges.iter().map(|range| sums.cover(range)).collect());
            let found = match self.inner.get_ranges(object, &covers).await {
                Ok(found) => found,
                Err(error) if self.inner.head(object).await?.size == sums.length => return Err(error),
                // It has become shorter.
                Err(_) => continue,
            };
            if covers.iter().zip(&found).all(|(cover, bytes)| sums.fit(cover.start, bytes)) {
                return Ok(ranges.iter().map(|range| part(&covers, &found, range)).collect());
            }
        }
        // Whatever is wrong with the call itself is told as the store tells it.
        self.inner.get_ranges(object, ranges).await?;
        Err(damaged(object, "its bytes are not those that were written"))
    }
}

/// Whether another host may write it anew: what tells where the newest checkpoint of a Delta log is.
fn may_change(object: &Path) -> bool {
    object.filename() == Some("_last_checkpoint")
}

impl fmt::Display for ChecksumStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChecksumStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for ChecksumStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if !has_sums(location) {
            return self.inner.put_opts(location, payload, opts).await;
        }
        let _turn = self.turn(location).await;
        let beside = beside(location);
        let (exists, has_sums) = futures::try_join!(self.exists(location), self.exists(&beside))?;
        if matches!(opts.mode, PutMode::Create) {
            return if exists {
                self.inner.put_opts(location, payload, opts).await
            } else {
                self.create(location, has_sums, payload, opts).await
            };
        }
        let sums = Sums::of(payload.iter());
        // Also what is not there may have sums: of a write that failed, or whose object is gone. They must not meet another content.
        if exists || has_sums {
            self.expect(location, sums, exists).await?;
            return self.inner.put_opts(location, payload, opts).await;
        }
        // Together: whichever of the two does not come about, no content meets other sums than its own.
        let (expected, put) = futures::join!(self.expect(location, sums, exists), self.inner.put_opts(location, payload, opts));
        expected.and(put)
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        if !has_sums(location) {
            return Ok(inner);
        }
        Ok(Box::new(ChecksumUpload { inner, store: self.clone(), location: location.clone(), summing: Summing::default() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let found = self.inner.get_opts(location, options).await?;
        if head {
            return Ok(found);
        }
        let Some(contents) = self.contents(location).await? else { return Ok(found) };
        let GetResult { payload, meta, range, attributes, extensions } = found;
        let payload = match payload {
            GetResultPayload::File(file, _) => {
                let (length, object) = (meta.size, location.clone());
                let (file, sums) = blocking(move || {
                    let sums = which(&contents, &file, length)?;
                    let sums = sums.ok_or_else(|| damaged(&object, "it is not what was written"))?;
                    Ok((file, sums))
                })
                .await?;
                pieces(location.clone(), file, sums, range.clone())
            }
            // Of a store in memory, in tests.
            GetResultPayload::Stream(_) => {
                let bytes = self.checked(location, &contents, std::slice::from_ref(&range)).await?;
                futures::stream::iter(bytes.into_iter().map(Ok)).boxed()
            }
        };
        Ok(GetResult { payload: GetResultPayload::Stream(payload), meta, range, attributes, extensions })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match self.contents(location).await? {
            Some(contents) => self.checked(location, &contents, ranges).await,
            None => self.inner.get_ranges(location, ranges).await,
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .and_then(move |location| {
                let store = store.clone();
                async move {
                    {
                        let _turn = store.turn(&location).await;
                        store.inner.delete(&location).await?;
                        if has_sums(&location) {
                            store.forget(&location).await?;
                        }
                    }
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        without_sums(prefix, self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        without_sums(prefix, self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut found = self.inner.list_with_delimiter(prefix).await?;
        if is_root(prefix) {
            found.common_prefixes.retain(|folder| folder.as_ref() != FOLDER);
        }
        Ok(found)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.follow(from, to, options.mode == CopyMode::Create).await?;
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.follow(from, to, options.target_mode == RenameTargetMode::Create).await?;
        self.inner.rename_opts(from, to, options).await?;
        if has_sums(from) { self.forget(from).await } else { Ok(()) }
    }
}

impl ChecksumStore {
    /// What `from` is, `to` may be from now on, unless it must not be there and is.
    async fn follow(&self, from: &Path, to: &Path, only_new: bool) -> Result<()> {
        let Some(contents) = self.contents(from).await?.filter(|_| has_sums(to)) else { return Ok(()) };
        let _turn = self.turn(to).await;
        let exists = self.exists(to).await?;
        if exists && only_new {
            return Ok(());
        }
        match self.present(from, &contents).await?.0.into_iter().next() {
            Some(sums) => self.expect(to, sums, exists).await,
            None => Ok(()),
        }
    }
}

fn is_root(prefix: Option<&Path>) -> bool {
    prefix.is_none_or(|prefix| prefix.as_ref().is_empty())
}

fn without_sums(prefix: Option<&Path>, found: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
    if !is_root(prefix) {
        return found;
    }
    let sums = Path::from(FOLDER);
    found.try_filter(move |meta| std::future::ready(!meta.location.prefix_matches(&sums))).boxed()
}

#[derive(Debug)]
struct ChecksumUpload {
    inner: Box<dyn MultipartUpload>,
    store: ChecksumStore,
    location: Path,
    summing: Summing,
}

#[async_trait]
impl MultipartUpload for ChecksumUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        // Parts follow one another in the order of these calls.
        data.iter().for_each(|bytes| self.summing.add(bytes));
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let _turn = self.store.turn(&self.location).await;
        let exists = self.store.exists(&self.location).await?;
        self.store.expect(&self.location, std::mem::take(&mut self.summing).end(), exists).await?;
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
