//! The search for what should be gone: every byte of every bucket, and of the folders beside them.
//!
//! A local bucket is read as the files that it is, so that what no listing shows is read, too. All is searched as it is; Parquet files
//! (data, checkpoints, rows of segments) and Arrow streams (spilled batches) are decoded, what is packed with gzip or zstd is unpacked.
//! A text that stands in the code of a component as well is a word that points at nobody, and is not searched for elsewhere.
//!
//! **Invariant**: what could not be read through is reported as such, never counted as clean. What is searched for is in no report.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, ErrorKind, Read, Seek},
    path::{Path, PathBuf},
    time::Instant,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::DataType,
    ipc::reader::StreamReader,
};
use bytes::{Buf, Bytes};
use futures::{StreamExt, TryStreamExt};
use lakehouse_storage::{
    Bucket,
    object_store::{Error as ObjectError, ObjectMeta, ObjectStore, ObjectStoreExt},
};
use lakehouse_types::{BucketName, Progress};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};

use super::needles::{Needles, Search};
use crate::{Engine, EngineError};

/// Traces that are named; the others are counted.
const MAX_TRACES: usize = 1000;
/// What is decoded is held in memory: up to this size. Larger things that would have to be are reported as not read through.
const MAX_DECODED_BYTES: u64 = 2 << 30;
/// The folder of components in the primary bucket.
const COMPONENTS: &str = "_plugins";
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const PARQUET: &[u8] = b"PAR1";
/// What an Arrow stream begins with.
const ARROW: &[u8] = &[0xff; 4];
/// What decides whether something is decoded: its first bytes, those behind a length among them.
const HEAD_BYTES: usize = 16;

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    let mut report = ScanReport::default();
    let common = common_words(engine, &needles, &mut report).await?;
    let needles = &needles.without(&common)?;
    (report.needles, report.common_words) = (needles.len(), common.len() as u64);
    for bucket in engine.buckets.iter() {
        let place = bucket.name().as_str();
        match bucket.local_path() {
            Some(root) => search_folder(place, root, needles, &mut report, progress, |file| is_code(bucket, file)),
            None => search_objects(bucket, needles, &mut report, progress).await?,
        }
    }
    search_folder("spill", &engine.settings.query.spill_path, needles, &mut report, progress, |_| false);
    search_folder("spool", &engine.settings.ingest.spool_path, needles, &mut report, progress, |_| false);
    report.duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

/// Whether it is a component: code that somebody pushed. All of it was read by [`common_words`].
fn is_code(bucket: &Bucket, path: &Path) -> bool {
    *bucket.name() == BucketName::primary() && path.starts_with(COMPONENTS)
}

/// The needles that stand in the code of components, as it was pushed and as it was compiled.
async fn common_words(engine: &Engine, needles: &Needles, report: &mut ScanReport) -> Result<HashSet<usize>, EngineError> {
    let mut found = HashSet::new();
    let bucket = engine.buckets.primary();
    let store = bucket.store();
    let objects: Vec<ObjectMeta> =
        store.list(Some(&COMPONENTS.into())).try_collect().await.map_err(|error| bucket.error(error))?;
    for object in objects {
        match async { store.get(&object.location).await?.bytes().await }.await {
            Ok(bytes) => needles.all_in(&bytes, &mut found),
            Err(ObjectError::NotFound { .. }) => continue,
            Err(error) => return Err(bucket.error(error).into()),
        }
        report.take(bucket.name().as_str(), object.location.as_ref(), object.size, Verdict::Clean);
    }
    tokio::task::block_in_place(|| {
        walk(&engine.settings.plugins.cache_path, &mut |file, name| {
            let (size, verdict) = match std::fs::read(file) {
                Ok(bytes) => {
                    needles.all_in(&bytes, &mut found);
                    (bytes.len() as u64, Verdict::Clean)
                }
                Err(error) => (0, verdict_of(&error)),
            };
            report.take("component cache", name, size, verdict);
        });
    });
    Ok(found)
}

impl ScanReport {
    fn take(&mut self, place: &str, object: &str, size: u64, verdict: Verdict) {
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

async fn search_objects(
    bucket: &Bucket,
    needles: &Needles,
    report: &mut ScanReport,
    progress: &dyn Progress,
) -> Result<(), EngineError> {
    let objects: Vec<ObjectMeta> = bucket.store().list(None).try_collect().await.map_err(|error| bucket.error(error))?;
    for object in objects {
        let name = object.location.as_ref();
        if !is_code(bucket, Path::new(name)) {
            let verdict = match search_object(bucket, &object, needles).await {
                Ok(verdict) => verdict,
                Err(ObjectError::NotFound { .. }) => Verdict::Gone,
                Err(error) => return Err(bucket.error(error).into()),
            };
            report.take(bucket.name().as_str(), name, object.size, verdict);
        }
        progress.advance(1);
    }
    Ok(())
}

async fn search_object(bucket: &Bucket, object: &ObjectMeta, needles: &Needles) -> Result<Verdict, ObjectError> {
    let store = bucket.store();
    let head = match object.size {
        0 => return Ok(Verdict::Clean),
        size => store.get_range(&object.location, 0..size.min(HEAD_BYTES as u64)).await?,
    };
    if is_packed(&head) && object.size <= MAX_DECODED_BYTES {
        let bytes = store.get(&object.location).await?.bytes().await?;
        return Ok(tokio::task::block_in_place(|| match needles.are_in(&bytes) {
            true => Verdict::Found,
            false => unpacked(bytes, needles),
        }));
    }
    let mut search = Search::new(needles);
    let mut pieces = store.get(&object.location).await?.into_stream();
    while let Some(piece) = pieces.next().await {
        search.feed(&piece?);
        if search.found {
            return Ok(Verdict::Found);
        }
    }
    Ok(if is_packed(&head) { Verdict::Unreadable } else { Verdict::Clean })
}

/// Reads every file under a folder, on this thread: the others that serve go on.
fn search_folder(
    place: &str,
    folder: &Path,
    needles: &Needles,
    report: &mut ScanReport,
    progress: &dyn Progress,
    is_known: impl Fn(&Path) -> bool,
) {
    tokio::task::block_in_place(|| {
        walk(folder, &mut |file, name| {
            if !is_known(Path::new(name)) {
                let (size, verdict) = match search_file(file, needles) {
                    Ok(found) => found,
                    Err(error) => (0, verdict_of(&error)),
                };
                report.take(place, name, size, verdict);
            }
            progress.advance(1);
        });
    });
}

fn search_file(path: &Path, needles: &Needles) -> io::Result<(u64, Verdict)> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    if drain(&mut file, needles)? {
        return Ok((size, Verdict::Found));
    }
    file.rewind()?;
    let mut head = Vec::with_capacity(HEAD_BYTES);
    file.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    if !is_packed(&head) {
        return Ok((size, Verdict::Clean));
    }
    if size > MAX_DECODED_BYTES {
        return Ok((size, Verdict::Unreadable));
    }
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(MAX_DECODED_BYTES).read_to_end(&mut bytes)?;
    Ok((size, unpacked(bytes.into(), needles)))
}

fn verdict_of(error: &io::Error) -> Verdict {
    if error.kind() == ErrorKind::NotFound { Verdict::Gone } else { Verdict::Unreadable }
}

fn is_packed(head: &[u8]) -> bool {
    [GZIP, ZSTD, PARQUET, ARROW].iter().any(|magic| head.starts_with(magic)) || head.get(8..12) == Some(PARQUET)
}

fn unpacked(bytes: Bytes, needles: &Needles) -> Verdict {
    let drained = |reader: &mut dyn Read| match drain(reader, needles) {
        Ok(true) => Verdict::Found,
        Ok(false) => Verdict::Clean,
        Err(_) => Verdict::Unreadable,
    };
    if bytes.starts_with(GZIP) {
        return drained(&mut flate2::read::MultiGzDecoder::new(&bytes[..]));
    }
    if bytes.starts_with(ZSTD) {
        return zstd::stream::read::Decoder::new(&bytes[..]).map_or(Verdict::Unreadable, |mut decoder| drained(&mut decoder));
    }
    if bytes.starts_with(ARROW) {
        return StreamReader::try_new(bytes.reader(), None).map_or(Verdict::Unreadable, |batches| said_in(batches, needles));
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
}

/// Whether a needle is in what is read.
fn drain(reader: &mut dyn Read, needles: &Needles) -> io::Result<bool> {
    let mut search = Search::new(needles);
    let mut piece = vec![0; 1 << 20];
    while !search.found {
        match reader.read(&mut piece)? {
            0 => break,
            read => search.feed(&piece[..read]),
        }
    }
    Ok(search.found)
}

fn parquet(bytes: Bytes, needles: &Needles) -> Verdict {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(ParquetRecordBatchReaderBuilder::build);
    reader.map_or(Verdict::Unreadable, |batches| said_in(batches, needles))
}

/// Whether a text or binary value of the batches holds a needle.
fn said_in<E>(batches: impl Iterator<Item = Result<RecordBatch, E>>, needles: &Needles) -> Verdict {
    for batch in batches {
        match batch {
            Ok(batch) if batch.columns().iter().any(|column| holds(column, needles)) => return Verdict::Found,
            Ok(_) => {}
            Err(_) => return Verdict::Unreadable,
        }
    }
    Verdict::Clean
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

/// Hands out every file under a folder with its name in it, by name. A folder that cannot be read through is handed out as a file that
/// cannot.
fn walk(folder: &Path, take: &mut dyn FnMut(&Path, &str)) {
    let mut open = vec![PathBuf::from(folder)];
    while let Some(path) = open.pop() {
        let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
        let listed = std::fs::read_dir(&path).and_then(|entries| {
            let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
            paths.sort_unstable_by(|a, b| b.cmp(a));
            Ok(paths)
        });
        match listed {
            Ok(paths) => open.extend(paths),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // A file, or what no one may list.
            Err(_) => take(&path, &name),
        }
    }
}
