//! Batches of rows become Parquet files in the bucket.
//!
//! Encoding runs on a blocking thread of its own, uploading on the I/O runtime: a large ingest holds a few batches, one row group
//! and one part of an upload, whatever its size.
//!
//! What is small is encoded in memory, to be put where it belongs once its write is about to be committed.
//!
//! **Invariant**: each file's name begins with the id of its write, and a file that [`Encoder::finish`] names is durable.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use deltalake_core::kernel::Add;
use lakehouse_storage::Bucket;
use object_store_13::buffered::BufWriter;
use object_store_13::{ObjectStoreExt, path::Path};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::TableError;
use crate::folder::delete_objects;
use crate::schema::conform;
use crate::statistics::to_log;

/// Rows of each of the first [`SMALL_GROUPS`] row groups: few enough that 100,000 rows scan on every core.
const SMALL_GROUP_ROWS: usize = 32_768;
const SMALL_GROUPS: usize = 8;
/// Rows of each later row group.
const GROUP_ROWS: usize = 131_072;
/// A file is closed when it has grown to this.
const FILE_BYTES: usize = 256 << 20;
/// Encoded bytes that are handed to the uploader at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Files up to this size are put in one piece, larger ones in parts of it.
const PART_BYTES: usize = 16 << 20;
/// Of small files: to make ready for zstd, and to read it, costs more than their rows.
const SMALL: Compression = Compression::SNAPPY;
/// Batches, and chunks, that wait at most.
const QUEUE: usize = 4;

/// Turns batches of one schema into files of one folder.
#[derive(Debug)]
pub(crate) struct Encoder {
    batches: mpsc::Sender<RecordBatch>,
    encoding: JoinHandle<Result<(), TableError>>,
    uploading: JoinHandle<Result<Vec<Add>, TableError>>,
    cancelled: Arc<AtomicBool>,
}

/// Where an encoder writes.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) bucket: Bucket,
    pub(crate) folder: Path,
    pub(crate) write: String,
    /// Number of the next file of this write.
    pub(crate) first: usize,
}

impl Target {
    /// The name of a file, counted from the next.
    fn name(&self, number: usize, codec: &str) -> String {
        format!("{}-{:05}.{codec}.parquet", self.write, self.first + number)
    }
}

impl Encoder {
    pub(crate) fn start(io: &Handle, schema: SchemaRef, target: Target, modified_ms: i64) -> Self {
        let (batches, incoming) = mpsc::channel(QUEUE);
        let (events, encoded) = mpsc::channel(QUEUE);
        let shape = Arc::clone(&schema);
        let encoding = io.spawn_blocking(move || encode(&shape, incoming, &events));
        let cancelled = Arc::new(AtomicBool::new(false));
        let uploading = io.spawn(upload(schema, target, encoded, modified_ms, Arc::clone(&cancelled)));
        Self { batches, encoding, uploading, cancelled }
    }

    /// Takes a batch; waits while the encoder is behind.
    pub(crate) async fn write(&self, batch: RecordBatch) -> Result<(), Stopped> {
        self.batches.send(batch).await.map_err(|_| Stopped)
    }

    /// Closes the last file; answers the `add` action of each.
    pub(crate) async fn finish(self) -> Result<Vec<Add>, TableError> {
        drop(self.batches);
        let encoded = self.encoding.await?;
        let uploaded = self.uploading.await?;
        // A failed upload stops the encoder, so it is the cause to tell.
        let adds = uploaded?;
        encoded?;
        Ok(adds)
    }

    /// Stops. Afterwards no file of this encoder appears any more; some may be there.
    pub(crate) async fn discard(self) {
        self.cancelled.store(true, Ordering::Release);
        drop(self.batches);
        let _ = self.encoding.await;
        let _ = self.uploading.await;
    }
}

/// The encoder has failed; [`Encoder::finish`] tells why.
#[derive(Debug)]
pub(crate) struct Stopped;

enum Event {
    Bytes(Bytes),
    End(Box<ParquetMetaData>),
}

/// A file that nobody sees yet.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    path: Path,
    bytes: Bytes,
}

impl Held {
    /// Encodes a few batches that fit the schema.
    pub(crate) fn encode(
        schema: &SchemaRef,
        batches: &[RecordBatch],
        target: &Target,
        modified_ms: i64,
    ) -> Result<(Self, Add), TableError> {
        let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties(SMALL)))?;
        for batch in batches {
            write_rows(&mut writer, &conform(batch, schema, 1)?)?;
        }
        let footer = writer.finish()?;
        let bytes = Bytes::from(std::mem::take(writer.inner_mut()));
        let name = target.name(0, "snappy");
        let path = target.folder.clone().join(name.as_str());
        let add = add(schema, name, bytes.len() as u64, modified_ms, &footer)?;
        Ok((Self { path, bytes }, add))
    }

    /// Puts the file where it belongs. It is durable then.
    pub(crate) async fn put(&self, bucket: &Bucket) -> Result<(), TableError> {
        bucket.compat().put(&self.path, self.bytes.clone().into()).await?;
        Ok(())
    }

    /// Takes back a file that nothing names. What cannot be deleted now, a purge deletes.
    pub(crate) async fn forget(&self, bucket: &Bucket) {
        if let Err(error) = delete_objects(bucket, [self.path.clone()]).await {
            tracing::warn!(file = %self.path, %error, "a file that nothing names stays until the next purge");
        }
    }
}

fn encode(schema: &SchemaRef, mut incoming: mpsc::Receiver<RecordBatch>, events: &mpsc::Sender<Event>) -> Result<(), TableError> {
    let gone = || TableError::Internal { what: "the upload of a data file stopped" };
    let mut next = incoming.blocking_recv();
    while next.is_some() {
        let sink = Chunks { pending: Vec::with_capacity(CHUNK_BYTES), events: events.clone() };
        let mut writer =
            ArrowWriter::try_new(sink, Arc::clone(schema), Some(properties(Compression::ZSTD(ZstdLevel::try_new(1)?))))?;
        while let Some(batch) = next.take() {
            write_rows(&mut writer, &batch)?;
            next = incoming.blocking_recv();
            if writer.bytes_written() + writer.in_progress_size() >= FILE_BYTES {
                break;
            }
        }
        let footer = writer.finish()?;
        writer.inner_mut().flush()?;
        events.blocking_send(Event::End(Box::new(footer))).map_err(|_| gone())?;
    }
    Ok(())
}

/// Writes a batch, cut at the ends of row groups.
fn write_rows<W: Write + Send>(writer: &mut ArrowWriter<W>, batch: &RecordBatch) -> Result<(), TableError> {
    let mut from = 0;
    while from < batch.num_rows() {
        let small = writer.flushed_row_groups().len() < SMALL_GROUPS;
        let room = if small { SMALL_GROUP_ROWS } else { GROUP_ROWS } - writer.in_progress_rows();
        let now = (batch.num_rows() - from).min(room);
        writer.write(&batch.slice(from, now))?;
        if now == room {
            writer.flush()?;
        }
        from += now;
    }
    Ok(())
}

fn properties(compression: Compression) -> WriterProperties {
    WriterProperties::builder()
        .set_created_by(format!("lakehouse {}", env!("CARGO_PKG_VERSION")))
        .set_compression(compression)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .build()
}

/// A writer's far end: full chunks go to the uploader.
struct Chunks {
    pending: Vec<u8>,
    events: mpsc::Sender<Event>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.pending, Vec::with_capacity(CHUNK_BYTES));
        let stopped = |_| std::io::Error::new(std::io::ErrorKind::BrokenPipe, "the upload stopped");
        self.events.blocking_send(Event::Bytes(chunk.into())).map_err(stopped)
    }
}

async fn upload(
    schema: SchemaRef,
    target: Target,
    mut encoded: mpsc::Receiver<Event>,
    modified_ms: i64,
    cancelled: Arc<AtomicBool>,
) -> Result<Vec<Add>, TableError> {
    let mut adds = Vec::new();
    let mut open: Option<(String, BufWriter, u64)> = None;
    while let Some(event) = encoded.recv().await {
        if cancelled.load(Ordering::Acquire) {
            break;
        }
        match event {
            Event::Bytes(bytes) => {
                let (_, writer, size) = open.get_or_insert_with(|| {
                    let name = target.name(adds.len(), "zstd");
                    let path = target.folder.clone().join(name.as_str());
                    (name, BufWriter::with_capacity(target.bucket.compat(), path, PART_BYTES), 0)
                });
                *size += bytes.len() as u64;
                writer.write_all(&bytes).await?;
            }
            Event::End(footer) => {
                let Some((name, mut writer, size)) = open.take() else { continue };
                writer.shutdown().await?;
                adds.push(add(&schema, name, size, modified_ms, &footer)?);
            }
        }
    }
    match open {
        // The encoder stopped in the middle of a file: it tells why, if it was not told to.
        Some((_, mut writer, _)) => {
            let _ = writer.abort().await;
            Ok(Vec::new())
        }
        None => Ok(adds),
    }
}

/// What names a file in the log.
fn add(schema: &SchemaRef, path: String, bytes: u64, modified_ms: i64, footer: &ParquetMetaData) -> Result<Add, TableError> {
    Ok(Add {
        path,
        partition_values: Default::default(),
        size: i64::try_from(bytes).unwrap_or(i64::MAX),
        modification_time: modified_ms,
        data_change: true,
        stats: Some(to_log(schema, footer)?),
        tags: None,
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
        clustering_provider: None,
    })
}
