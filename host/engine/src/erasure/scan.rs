//! The search for what should be gone: every byte of every bucket, and of the folders beside them.
//!
//! Objects are searched as they are; Parquet files (data, checkpoints, rows of segments) are decoded, too, and what is packed with
//! gzip or zstd is unpacked. A text that stands in the code of a component as well, or in the dataset's own names, is a word that
//! points at nobody, and is not searched for.
//!
//! **Invariant**: an object that could not be read through is reported as such, never counted as clean. What is searched for is in no
//! report.

use std::{
    collections::HashSet,
    io::Read,
    path::{Path as FilePath, PathBuf},
    time::Instant,
};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::DataType,
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use lakehouse_storage::{
    Bucket,
    object_store::{Error as ObjectError, ObjectMeta, ObjectStore, ObjectStoreExt},
};
use lakehouse_types::{BucketName, Progress};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};

use crate::{Engine, EngineError};

/// Traces that are named; the others are counted.
const MAX_TRACES: usize = 1000;
/// Objects up to this size are decoded; larger ones that would have to be are reported as not read through.
const MAX_DECODED_BYTES: u64 = 2 << 30;
/// The folder of components in the primary bucket.
const COMPONENTS: &str = "_plugins";
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const PARQUET: &[u8] = b"PAR1";

/// What a search found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanReport {
    pub objects: u64,
    /// As they are stored.
    pub bytes: u64,
    /// Texts that were searched for: those that stood in the erased rows and in no other row of the dataset.
    pub needles: u64,
    /// Such texts that also stand in the code of components: they point at nobody, and were not searched for elsewhere.
    #[serde(default)]
    pub common_words: u64,
    /// Where one was found, or an object could not be read through. Empty is what everybody hopes for.
    pub traces: Vec<Trace>,
    /// Traces beyond those that are named.
    pub more_traces: u64,
    #[serde(default)]
    pub duration_ms: u64,
}

/// An object with something in it that should be gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// A bucket, or a folder of this host: `spill`, `spool`.
    pub place: String,
    pub object: String,
    /// `found`, or `unreadable`: then it may hold something.
    pub what: String,
}

/// What is searched for.
pub(super) struct Needles {
    texts: Vec<String>,
    automaton: AhoCorasick,
    /// The text that each pattern of the automaton stands for.
    of: Vec<usize>,
    longest: usize,
}

impl std::fmt::Debug for Needles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Needles").field("count", &self.texts.len()).finish_non_exhaustive()
    }
}

impl Needles {
    /// Each text as it is, and as JSON writes it; without those that stand in one of the `names`, which stay.
    pub(super) fn new(texts: impl Iterator<Item = String>, names: &[String]) -> Result<Self, EngineError> {
        let texts: Vec<String> = texts.filter(|text| !names.iter().any(|name| name.contains(text))).collect();
        let (mut patterns, mut of) = (Vec::new(), Vec::new());
        for (place, text) in texts.iter().enumerate() {
            let quoted = serde_json::to_string(text).unwrap_or_default();
            let escaped = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned();
            for pattern in [Some(text.clone()), Some(escaped).filter(|escaped| escaped != text)].into_iter().flatten() {
                patterns.push(pattern);
                of.push(place);
            }
        }
        let longest = patterns.iter().map(String::len).max().unwrap_or(0);
        // The kind that takes a few bytes for each byte of a text; others take a thousand.
        let build = || AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).build(patterns);
        let automaton = tokio::task::block_in_place(build).map_err(|_| EngineError::Lost("too much was to be searched for"))?;
        Ok(Self { texts, automaton, of, longest })
    }

    fn are_in(&self, bytes: &[u8]) -> bool {
        !self.texts.is_empty() && self.automaton.is_match(bytes)
    }

    /// The texts that stand in there, by their places.
    fn all_in(&self, bytes: &[u8], found: &mut HashSet<usize>) {
        if !self.texts.is_empty() {
            found.extend(self.automaton.find_overlapping_iter(bytes).map(|hit| self.of[hit.pattern().as_usize()]));
        }
    }

    fn without(self, places: &HashSet<usize>) -> Result<Self, EngineError> {
        let kept = self.texts.into_iter().enumerate().filter(|(place, _)| !places.contains(place)).map(|(_, text)| text);
        Self::new(kept, &[])
    }
}

/// Searches a stream of bytes, piece by piece.
struct Search<'n> {
    needles: &'n Needles,
    /// The end of what came before, where a needle may begin.
    tail: Vec<u8>,
    found: bool,
}

impl<'n> Search<'n> {
    fn new(needles: &'n Needles) -> Self {
        Self { needles, tail: Vec::new(), found: false }
    }

    fn feed(&mut self, piece: &[u8]) {
        if self.found {
            return;
        }
        let reach = self.needles.longest.saturating_sub(1);
        let joint = piece.len().min(reach);
        self.tail.extend_from_slice(&piece[..joint]);
        self.found = self.needles.are_in(&self.tail) || self.needles.are_in(piece);
        if piece.len() >= reach {
            self.tail.clear();
            self.tail.extend_from_slice(&piece[piece.len() - reach..]);
        } else {
            let excess = self.tail.len().saturating_sub(reach);
            self.tail.drain(..excess);
        }
    }
}

enum Verdict {
    Clean,
    Found,
    Unreadable,
    /// It went while it was looked at.
    Gone,
}

/// Searches everything.
pub(super) async fn scan(engine: &Engine, needles: Needles, progress: &dyn Progress) -> Result<ScanReport, EngineError> {
    let begun = Instant::now();
    progress.begin("objects", None);
    let common = common_words(engine, &needles).await?;
    let needles = &needles.without(&common)?;
    let mut report =
        ScanReport { needles: needles.texts.len() as u64, common_words: common.len() as u64, ..ScanReport::default() };
    for bucket in engine.buckets.iter() {
        let store = bucket.store();
        let objects: Vec<ObjectMeta> = store.list(None).try_collect().await.map_err(|error| bucket.error(error))?;
        for object in objects {
            // Of these all was read already, and what was found in them is searched for no more.
            let verdict = if is_code(bucket, &object) { Verdict::Clean } else { search_object(bucket, &object, needles).await? };
            report.take(bucket.name().as_str(), object.location.as_ref(), object.size, &verdict);
            progress.advance(1);
        }
    }
    let folders = [("spill", engine.settings.query.spill_path.clone()), ("spool", engine.settings.ingest.spool_path.clone())];
    for (place, folder) in folders {
        for file in files_of(folder.clone()).await? {
            let (size, verdict) = search_file(&file, needles).await;
            let name = file.strip_prefix(&folder).unwrap_or(&file).to_string_lossy().into_owned();
            report.take(place, &name, size, &verdict);
            progress.advance(1);
        }
    }
    report.duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

/// Whether it is a component: code that somebody pushed, named by its content.
fn is_code(bucket: &Bucket, object: &ObjectMeta) -> bool {
    *bucket.name() == BucketName::primary() && object.location.as_ref().starts_with(COMPONENTS)
}

/// The needles that stand in the code of components, as it was pushed and as it was compiled.
async fn common_words(engine: &Engine, needles: &Needles) -> Result<HashSet<usize>, EngineError> {
    let mut found = HashSet::new();
    let bucket = engine.buckets.primary();
    let store = bucket.store();
    let objects: Vec<ObjectMeta> =
        store.list(Some(&COMPONENTS.into())).try_collect().await.map_err(|error| bucket.error(error))?;
    for object in objects {
        match async { store.get(&object.location).await?.bytes().await }.await {
            Ok(bytes) => needles.all_in(&bytes, &mut found),
            Err(ObjectError::NotFound { .. }) => {}
            Err(error) => return Err(bucket.error(error).into()),
        }
    }
    for file in files_of(engine.settings.plugins.cache_path.clone()).await? {
        if let Ok(bytes) = tokio::fs::read(&file).await {
            needles.all_in(&bytes, &mut found);
        }
    }
    Ok(found)
}

impl ScanReport {
    fn take(&mut self, place: &str, object: &str, size: u64, verdict: &Verdict) {
        let what = match verdict {
            Verdict::Gone => return,
            Verdict::Clean => None,
            Verdict::Found => Some("found"),
            Verdict::Unreadable => Some("unreadable"),
        };
        self.objects += 1;
        self.bytes += size;
        match what {
            Some(what) if self.traces.len() < MAX_TRACES => {
                self.traces.push(Trace { place: place.to_owned(), object: object.to_owned(), what: what.to_owned() });
            }
            Some(_) => self.more_traces += 1,
            None => {}
        }
    }

    /// Whether nothing was found, and everything was read through.
    pub fn is_clean(&self) -> bool {
        self.traces.is_empty() && self.more_traces == 0
    }
}

async fn search_object(bucket: &Bucket, object: &ObjectMeta, needles: &Needles) -> Result<Verdict, EngineError> {
    let store = bucket.store();
    let found = match store.get(&object.location).await {
        Ok(found) => found,
        Err(ObjectError::NotFound { .. }) => return Ok(Verdict::Gone),
        Err(error) => return Err(bucket.error(error).into()),
    };
    let mut search = Search::new(needles);
    let mut pieces = found.into_stream();
    let mut head = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(ObjectError::NotFound { .. }) => return Ok(Verdict::Gone),
            Err(error) => return Err(bucket.error(error).into()),
        };
        if head.len() < HEAD_BYTES {
            head.extend_from_slice(&piece[..piece.len().min(HEAD_BYTES)]);
        }
        search.feed(&piece);
        if search.found {
            return Ok(Verdict::Found);
        }
    }
    if !is_packed(&head) {
        return Ok(Verdict::Clean);
    }
    if object.size > MAX_DECODED_BYTES {
        return Ok(Verdict::Unreadable);
    }
    let whole = async { store.get(&object.location).await?.bytes().await };
    match whole.await {
        Ok(bytes) => Ok(unpacked(bytes, needles).await),
        Err(ObjectError::NotFound { .. }) => Ok(Verdict::Gone),
        Err(error) => Err(bucket.error(error).into()),
    }
}

async fn search_file(file: &FilePath, needles: &Needles) -> (u64, Verdict) {
    match tokio::fs::read(file).await {
        Ok(bytes) => {
            let (size, is_packed) = (bytes.len() as u64, is_packed(&bytes));
            let verdict = match needles.are_in(&bytes) {
                true => Verdict::Found,
                false if is_packed => unpacked(bytes.into(), needles).await,
                false => Verdict::Clean,
            };
            (size, verdict)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (0, Verdict::Gone),
        Err(_) => (0, Verdict::Unreadable),
    }
}

/// What decides whether an object is decoded: its first bytes, and those behind a length.
const HEAD_BYTES: usize = 16;

fn is_packed(head: &[u8]) -> bool {
    head.starts_with(GZIP) || head.starts_with(ZSTD) || head.starts_with(PARQUET) || head.get(8..12) == Some(PARQUET)
}

async fn unpacked(bytes: Bytes, needles: &Needles) -> Verdict {
    // What is decoded may be large: the threads that serve do not wait for it.
    tokio::task::block_in_place(|| {
        if bytes.starts_with(GZIP) {
            return drain(flate2::read::MultiGzDecoder::new(&bytes[..]), needles);
        }
        if bytes.starts_with(ZSTD) {
            return match zstd::stream::read::Decoder::new(&bytes[..]) {
                Ok(decoder) => drain(decoder, needles),
                Err(_) => Verdict::Unreadable,
            };
        }
        if bytes.starts_with(PARQUET) {
            return parquet(bytes, needles);
        }
        // Rows of a segment: the length of the first of two Parquet files stands before it.
        let length = bytes.get(..8).and_then(|length| length.try_into().ok()).map(u64::from_le_bytes);
        let split = length.and_then(|length| usize::try_from(length).ok()).and_then(|length| length.checked_add(8));
        match split.filter(|split| *split <= bytes.len()) {
            Some(split) => match parquet(bytes.slice(8..split), needles) {
                Verdict::Clean => parquet(bytes.slice(split..), needles),
                other => other,
            },
            None => Verdict::Unreadable,
        }
    })
}

fn drain(mut reader: impl Read, needles: &Needles) -> Verdict {
    let mut search = Search::new(needles);
    let mut piece = vec![0; 1 << 20];
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return Verdict::Clean,
            Ok(read) => search.feed(&piece[..read]),
            Err(_) => return Verdict::Unreadable,
        }
        if search.found {
            return Verdict::Found;
        }
    }
}

/// Every text and binary value of a Parquet file.
fn parquet(bytes: Bytes, needles: &Needles) -> Verdict {
    let Ok(reader) = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(ParquetRecordBatchReaderBuilder::build) else {
        return Verdict::Unreadable;
    };
    for batch in reader {
        let Ok(batch) = batch else { return Verdict::Unreadable };
        if says(&batch, needles) {
            return Verdict::Found;
        }
    }
    Verdict::Clean
}

fn says(batch: &RecordBatch, needles: &Needles) -> bool {
    batch.columns().iter().any(|column| holds(column, needles))
}

fn holds(values: &ArrayRef, needles: &Needles) -> bool {
    match values.data_type() {
        DataType::Utf8 => values.as_string::<i32>().iter().flatten().any(|text| needles.are_in(text.as_bytes())),
        DataType::LargeUtf8 => values.as_string::<i64>().iter().flatten().any(|text| needles.are_in(text.as_bytes())),
        DataType::Utf8View => values.as_string_view().iter().flatten().any(|text| needles.are_in(text.as_bytes())),
        DataType::Binary => values.as_binary::<i32>().iter().flatten().any(|bytes| needles.are_in(bytes)),
        DataType::LargeBinary => values.as_binary::<i64>().iter().flatten().any(|bytes| needles.are_in(bytes)),
        DataType::BinaryView => values.as_binary_view().iter().flatten().any(|bytes| needles.are_in(bytes)),
        DataType::FixedSizeBinary(_) => values.as_fixed_size_binary().iter().flatten().any(|bytes| needles.are_in(bytes)),
        DataType::List(_) => holds(values.as_list::<i32>().values(), needles),
        DataType::LargeList(_) => holds(values.as_list::<i64>().values(), needles),
        DataType::Struct(_) => values.as_struct().columns().iter().any(|member| holds(member, needles)),
        DataType::Map(_, _) => values.as_map().entries().columns().iter().any(|part| holds(part, needles)),
        DataType::Dictionary(_, _) => values.as_any_dictionary_opt().is_some_and(|values| holds(values.values(), needles)),
        _ => false,
    }
}

async fn files_of(folder: PathBuf) -> Result<Vec<PathBuf>, EngineError> {
    let walk = move || {
        let (mut found, mut open) = (Vec::new(), vec![folder]);
        while let Some(directory) = open.pop() {
            // Folders come and go.
            let Ok(entries) = std::fs::read_dir(directory) else { continue };
            for entry in entries.flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => open.push(entry.path()),
                    Ok(kind) if kind.is_file() => found.push(entry.path()),
                    _ => {}
                }
            }
        }
        found
    };
    tokio::task::spawn_blocking(walk).await.map_err(|_| EngineError::Lost("a folder could not be walked"))
}

#[cfg(test)]
mod tests {
    use super::{Needles, Search};

    #[tokio::test(flavor = "multi_thread")]
    async fn needles_are_found_across_pieces_and_as_json_writes_them() {
        let texts = ["needle-one", "with \"quotes\"", "column"].map(str::to_owned);
        let needles = Needles::new(texts.into_iter(), &["the_column".to_owned()]).unwrap();
        assert_eq!(needles.texts.len(), 2, "what stands in a name is not searched for");
        let text = b"hay hay needle-one hay";
        for cut in 0..text.len() {
            let mut search = Search::new(&needles);
            search.feed(&text[..cut]);
            search.feed(&text[cut..]);
            assert!(search.found, "{cut}");
        }
        let mut bytewise = Search::new(&needles);
        text.iter().for_each(|byte| bytewise.feed(&[*byte]));
        assert!(bytewise.found);
        assert!(needles.are_in(br#"{"name":"with \"quotes\""}"#));
        let mut clean = Search::new(&needles);
        b"needle-on and needle-two".chunks(3).for_each(|piece| clean.feed(piece));
        assert!(!clean.found);
        let mut common = std::collections::HashSet::new();
        needles.all_in(b"code with needle-one in it", &mut common);
        let left = needles.without(&common).unwrap();
        assert!(!left.are_in(b"needle-one") && left.are_in(b"with \"quotes\""));
    }
}
