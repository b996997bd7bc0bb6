mod hostile; // few bytes that stand for many

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int64Array, NullArray, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow::ipc::{CompressionType, MetadataVersion, root_as_message};
use lakehouse_types::{Code, Fault};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use tokio::sync::mpsc;

use super::{BATCH_BYTES, hand_on, read_arrow, read_parquet};
use crate::rows::Rows;
use crate::spool::Spool;
use crate::{Format, IngestError, IngestOptions, OnError};

/// A number that nothing but the row count of [`numbers`] is.
const ROWS: i64 = 777;
const FAR: i64 = 1 << 40;

fn numbers() -> RecordBatch {
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values((0..ROWS).map(|row| row % 100)));
    RecordBatch::try_from_iter([("n", values)]).unwrap()
}

fn stream(options: IpcWriteOptions) -> Vec<u8> {
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &numbers().schema(), options).unwrap();
    writer.write(&numbers()).unwrap();
    writer.into_inner().unwrap()
}

fn parquet(batch: &RecordBatch, properties: Option<WriterProperties>) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), properties).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

/// The rows of each batch that the table would get.
async fn read(format: Format, body: &[u8]) -> Result<Vec<usize>, IngestError> {
    Ok(batches(format, body).await?.iter().map(RecordBatch::num_rows).collect())
}

/// The batches that the table would get.
async fn batches(format: Format, body: &[u8]) -> Result<Vec<RecordBatch>, IngestError> {
    let folder = tempfile::tempdir().unwrap();
    let pieces = [Ok(bytes::Bytes::copy_from_slice(body))];
    let spool = Spool::take(folder.path(), 1 << 30, futures::stream::iter(pieces)).await?;
    let options = IngestOptions::new(folder.path());
    let (out, mut batches) = mpsc::channel(1);
    let reading = tokio::task::spawn_blocking(move || {
        let rows = Rows::new(out, OnError::Fail);
        if format == Format::Arrow { read_arrow(&spool, &options, &rows) } else { read_parquet(&spool, &options, &rows) }
    });
    let mut read = Vec::new();
    while let Some(batch) = batches.recv().await {
        read.push(batch);
    }
    reading.await.unwrap().map(|()| read)
}

/// The bytes with every `from` turned into `to`.
fn patched(bytes: &[u8], from: i64, to: i64) -> Vec<u8> {
    let mut patched = bytes.to_vec();
    let places: Vec<_> = (0..bytes.len() - 8).filter(|&at| bytes[at..at + 8] == from.to_le_bytes()).collect();
    assert!(!places.is_empty(), "{from} is not there");
    places.iter().for_each(|&at| patched[at..at + 8].copy_from_slice(&to.to_le_bytes()));
    patched
}

/// The body of the second message, the first being a schema.
fn body_bytes(stream: &[u8]) -> i64 {
    let word = |at: usize| i32::from_le_bytes(stream[at..at + 4].try_into().unwrap()) as usize;
    let batch = 8 + word(4);
    root_as_message(&stream[batch + 8..batch + 8 + word(batch + 4)]).unwrap().bodyLength()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_whole_is_read() {
    let plain = stream(IpcWriteOptions::default());
    let file = |alignment| {
        let options = IpcWriteOptions::try_new(alignment, false, MetadataVersion::V5).unwrap();
        let mut file = FileWriter::try_new_with_options(Vec::new(), &numbers().schema(), options).unwrap();
        file.write(&numbers()).unwrap();
        file.into_inner().unwrap()
    };
    let compressed = |kind| stream(IpcWriteOptions::default().try_with_compression(Some(kind)).unwrap());
    for body in [plain, file(8), file(64), compressed(CompressionType::ZSTD), compressed(CompressionType::LZ4_FRAME)] {
        assert_eq!(read(Format::Arrow, &body).await.unwrap(), [0, 777]);
    }
    assert_eq!(read(Format::Parquet, &parquet(&numbers(), None)).await.unwrap(), [0, 777]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arrow_stream_that_claims_more_than_it_has_is_refused() {
    let plain = stream(IpcWriteOptions::default());
    let zstd = stream(IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD)).unwrap());
    let cases = [
        ("no end", plain[..plain.len() - 8].to_vec()),
        ("half an end", plain[..plain.len() - 4].to_vec()),
        ("cut in the body", plain[..plain.len() - 100].to_vec()),
        ("two streams", [plain.as_slice(), plain.as_slice()].concat()),
        ("long metadata", vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ("negative metadata", vec![0xff, 0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff]),
        ("long body", patched(&plain, body_bytes(&plain), FAR)),
        ("negative body", patched(&plain, body_bytes(&plain), -1)),
        ("long buffer", patched(&plain, ROWS * 8, FAR)),
        ("many rows", patched(&plain, ROWS, FAR)),
        ("a file's magic", b"ARROW1\0\0".to_vec()),
    ];
    for (what, body) in cases {
        let error = read(Format::Arrow, &body).await.unwrap_err();
        assert!(matches!(error, IngestError::Broken { what: "Arrow", .. }), "{what}: {error}");
    }
    let bomb = patched(&zstd, ROWS * 8, FAR);
    let error = read(Format::Arrow, &bomb).await.unwrap_err();
    assert_eq!(error.public(), "a batch of the Arrow stream is larger than 1024 MiB: write it in smaller ones");
    assert_eq!(error.code(), Code::InvalidData);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_nothing_are_bounded() {
    let nulls = |rows: usize| {
        let values: ArrayRef = Arc::new(NullArray::new(rows));
        let batch = RecordBatch::try_from_iter_with_nullable([("n", values, true)]).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    };
    assert_eq!(read(Format::Arrow, &nulls(20_000)).await.unwrap(), [0, 5000, 5000, 5000, 5000]);
    assert!(matches!(read(Format::Arrow, &nulls(1 << 40)).await, Err(IngestError::Broken { .. })));
}

/// A file of nothing but this footer.
fn footer(thrift: &[u8]) -> Vec<u8> {
    let length = u32::try_from(thrift.len()).unwrap().to_le_bytes();
    [&b"PAR1"[..], thrift, &length, b"PAR1"].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parquet_file_that_claims_more_than_it_has_is_refused() {
    // version 1; a schema of a root `r` without children; no rows
    let begin = [0x15, 2, 0x19, 0x1c, 0x48, 1, b'r', 0x15, 0, 0, 0x16, 0];
    let many = [0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 7];
    let whole = parquet(&numbers(), None);
    // The dictionary page of 100 numbers, made to claim 8191.
    let mut dictionary = whole.clone();
    let at = dictionary.windows(4).position(|bytes| bytes == [0x4c, 0x15, 0xc8, 1]).unwrap();
    dictionary[at + 2..at + 4].copy_from_slice(&[0xfe, 0x7f]);
    let cases = [
        ("row groups", footer(&[&begin[..], &many, &[0]].concat())),
        ("row groups said to be text", footer(&[&begin[..], &[0x18, 6, 0xfc, 0xff, 0xff, 0xff, 0xff, 7, 0]].concat())),
        ("schema", footer(&[&[0x15, 2][..], &many, &[0]].concat())),
        ("text", footer(&[&begin[..], &[0x38, 0xff, 0xff, 0xff, 0xff, 7, 0]].concat())),
        ("footer", [&b"PAR1"[..], &[0xff, 0xff, 0xff, 0xff], b"PAR1"].concat()),
        ("dictionary", dictionary),
        ("cut", whole[..whole.len() - 20].to_vec()),
    ];
    for (what, body) in cases {
        let error = read(Format::Parquet, &body).await.unwrap_err();
        assert!(matches!(error, IngestError::Broken { what: "Parquet", .. }), "{what}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bytes_never_end_the_process() {
    for (format, body) in [(Format::Arrow, stream(IpcWriteOptions::default())), (Format::Parquet, parquet(&numbers(), None))] {
        for at in (0..body.len()).step_by(body.len() / 200 + 1) {
            let mut flipped = body.clone();
            flipped[at] ^= 0xff;
            let _ = read(format, &flipped).await;
        }
    }
}

#[test]
fn large_batches_go_on_in_parts() {
    let (out, mut batches) = mpsc::channel(100);
    let rows = Rows::new(out, OnError::Fail);
    let options = IngestOptions::new("unused");
    let text = "x".repeat(BATCH_BYTES / 2 + 1);
    let wide: DictionaryArray<Int32Type> = [text.as_str(); 4].into_iter().collect();
    let narrow: ArrayRef = Arc::new(StringArray::from_iter_values((0..20_000).map(|_| "x")));
    hand_on(&RecordBatch::try_from_iter([("a", Arc::new(wide) as ArrayRef)]).unwrap(), "Arrow", &options, &rows).unwrap();
    hand_on(&RecordBatch::try_from_iter([("a", narrow)]).unwrap(), "Arrow", &options, &rows).unwrap();
    drop(rows);
    let counts: Vec<_> = std::iter::from_fn(|| batches.blocking_recv()).map(|batch| batch.num_rows()).collect();
    assert_eq!(counts, [1, 1, 1, 1, 5000, 5000, 5000, 5000]);
}
