//! A store that writes sums beside its objects and reads nothing that they do not fit.

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, RenameTargetMode, Result,
    UploadPart, path::Path,
};
use parking_lot::Mutex;

use super::{BLOCK, Contents, FOLDER, Summing, Sums, beside, damaged, has_sums};

/// Read and checked at once.
const CHUNK: u64 = 4 << 20;
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

    /// Creates an object that another host may be creating, too: whoever does says what it is.
    async fn create(&self, object: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let beside = beside(object);
        // Of one that is gone, or never came to be.
        if self.exists(&beside).await? {
            self.forget(object).await?;
        }
        let contents = Contents::default().with(Sums::of(payload.iter()));
        let bytes: PutPayload = contents.encode().into();
        let claim = self.inner.put_opts(&beside, bytes.clone(), PutOptions::from(PutMode::Create));
        let (claimed, put) = futures::join!(claim, self.inner.put_opts(object, payload, opts));
        match (claimed, put) {
            (Ok(_), Ok(put)) => {
                self.known.lock().put(object, Some(Arc::new(contents)));
                Ok(put)
            }
            // Sums of one that came too late.
            (Err(Error::AlreadyExists { .. }), Ok(put)) => {
                self.forget(object).await?;
                self.inner.put(&beside, bytes).await?;
                self.known.lock().put(object, Some(Arc::new(contents)));
                Ok(put)
            }
            (Ok(_), Err(error @ Error::AlreadyExists { .. })) => {
                // Without sums rather than with those of another content.
                self.forget(object).await?;
                Err(error)
            }
            (Err(error), Ok(_)) | (_, Err(error)) => Err(error),
        }
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

/// Ranges in order, those that touch as one.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// Whether another host may write it anew: what tells where the newest checkpoint of a Delta log is.
fn may_change(object: &Path) -> bool {
    object.filename() == Some("_last_checkpoint")
}

/// The bytes of `range` among those of the covers.
fn part(covers: &[Range<u64>], found: &[Bytes], range: &Range<u64>) -> Bytes {
    if range.is_empty() {
        return Bytes::new();
    }
    let at = covers.partition_point(|cover| cover.start <= range.start) - 1;
    let offset = |position: u64| usize::try_from(position - covers[at].start).unwrap_or(usize::MAX);
    found[at].slice(offset(range.start)..offset(range.end))
}

/// Reads `range` of an open file.
fn read_at(mut file: &File, range: &Range<u64>) -> io::Result<Bytes> {
    let length = range.end - range.start;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.seek(SeekFrom::Start(range.start))?;
    let got = file.take(length).read_to_end(&mut bytes)? as u64;
    if got == length { Ok(bytes.into()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|source| Error::JoinError { source })?
}

fn local(error: io::Error) -> Error {
    Error::Generic { store: "local", source: Box::new(error) }
}

/// The sums among these that an open file has. Those of the only content are taken at their word: each piece is checked anyway.
fn which(contents: &Contents, file: &File, length: u64) -> Result<Option<Sums>> {
    let mut fitting = contents.0.iter().rev().filter(|sums| sums.length == length).peekable();
    if contents.0.len() == 1 || fitting.peek().is_none() {
        return Ok(fitting.next().cloned());
    }
    let bytes = read_at(file, &(0..length)).map_err(local)?;
    Ok(fitting.find(|sums| sums.fit(0, &bytes)).cloned())
}

/// The checked bytes of an open file, piece by piece.
fn pieces(object: Path, file: File, sums: Sums, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
    let (file, sums) = (Arc::new(file), Arc::new(sums));
    futures::stream::try_unfold(range, move |rest| {
        let (object, file, sums) = (object.clone(), Arc::clone(&file), Arc::clone(&sums));
        async move {
            if rest.is_empty() {
                return Ok(None);
            }
            let piece = rest.start..rest.end.min((rest.start / BLOCK * BLOCK).saturating_add(CHUNK));
            let cover = sums.cover(&piece);
            let bytes = blocking(move || {
                let bytes = read_at(&file, &cover).map_err(local)?;
                if sums.fit(cover.start, &bytes) {
                    let covers = [cover];
                    Ok(part(&covers, &[bytes], &piece))
                } else {
                    Err(damaged(&object, "its bytes are not those that were written"))
                }
            })
            .await?;
            let next = rest.start + bytes.len() as u64..rest.end;
            Ok(Some((bytes, next)))
        }
    })
    .boxed()
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
        let exists = self.exists(location).await?;
        if matches!(opts.mode, PutMode::Create) {
            return if exists {
                self.inner.put_opts(location, payload, opts).await
            } else {
                self.create(location, payload, opts).await
            };
        }
        let sums = Sums::of(payload.iter());
        // Also what is not there may have sums: of a write that failed, or whose object is gone. They must not meet another content.
        if exists || self.exists(&beside(location)).await? {
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
