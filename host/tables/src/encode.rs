//! Batches of rows become Parquet files in the bucket.
//!
//! Encoding runs on a blocking thread of its own, uploading on the I/O runtime: a large ingest holds a few batches, one row group
//! and one part of an upload, whatever its size.
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
use object_store_13::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::TableError;
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

fn encode(schema: &SchemaRef, mut incoming: mpsc::Receiver<RecordBatch>, events: &mpsc::Sender<Event>) -> Result<(), TableError> {
    let gone = || TableError::Internal { what: "the upload of a data file stopped" };
    let mut next = incoming.blocking_recv();
    while next.is_some() {
        let sink = Chunks { pending: Vec::with_capacity(CHUNK_BYTES), events: events.clone() };
        let mut writer = ArrowWriter::try_new(sink, Arc::clone(schema), Some(properties()?))?;
        while let Some(batch) = next.take() {
            let mut rest = batch;
            while rest.num_rows() > 0 {
                let small = writer.flushed_row_groups().len() < SMALL_GROUPS;
                let room = if small { SMALL_GROUP_ROWS } else { GROUP_ROWS } - writer.in_progress_rows();
                let now = rest.num_rows().min(room);
                writer.write(&rest.slice(0, now))?;
                if now == room {
                    writer.flush()?;
                }
                rest = rest.slice(now, rest.num_rows() - now);
            }
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

fn properties() -> Result<WriterProperties, TableError> {
    Ok(WriterProperties::builder()
        .set_created_by(format!("lakehouse {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .build())
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
    let mut open: Option<(String, BufWriter, i64)> = None;
    while let Some(event) = encoded.recv().await {
        if cancelled.load(Ordering::Acquire) {
            break;
        }
        match event {
            Event::Bytes(bytes) => {
                let (_, writer, size) = open.get_or_insert_with(|| {
                    let name = format!("{}-{:05}.zstd.parquet", target.write, target.first + adds.len());
                    let path = target.folder.clone().join(name.as_str());
                    (name, BufWriter::with_capacity(target.bucket.compat(), path, PART_BYTES), 0)
                });
                *size += i64::try_from(bytes.len()).unwrap_or(i64::MAX);
                writer.write_all(&bytes).await?;
            }
            Event::End(footer) => {
                let Some((name, mut writer, size)) = open.take() else { continue };
                writer.shutdown().await?;
                adds.push(Add {
                    path: name,
                    size,
                    modification_time: modified_ms,
                    data_change: true,
                    stats: Some(to_log(&schema, &footer)?),
                    ..empty_add()
                });
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

fn empty_add() -> Add {
    Add {
        path: String::new(),
        partition_values: Default::default(),
        size: 0,
        modification_time: 0,
        data_change: true,
        stats: None,
        tags: None,
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
        clustering_provider: None,
    }
}
