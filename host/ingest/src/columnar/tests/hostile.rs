use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, Int64Array, ListArray, NullArray, RecordBatch, RunArray, StringArray,
    StringViewArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};

use super::super::pages::rows_at_once;
use super::super::plain::plain;
use super::{batches, parquet, read};
use crate::{Format, IngestError};

const MIB: usize = 1 << 20;

fn plain_pages(compression: Compression) -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(compression)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
}

fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn batch<const N: usize>(columns: [ArrayRef; N]) -> RecordBatch {
    let columns = columns.into_iter().enumerate().map(|(index, column)| (format!("c{index}"), column, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// The rows that the first row group is read in.
fn span(body: &[u8]) -> Result<usize, IngestError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(body).unwrap();
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).unwrap();
    rows_at_once(&file, body.len() as u64, metadata.metadata().row_group(0), 8192)
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(read: Result<T, IngestError>, why: &str) {
    let error = read.unwrap_err();
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(format!("{error}: {source}").contains(why), "{error}: {source}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_pages_of_many_columns_are_counted_together() {
    let long = texts(["0".repeat(100 * MIB).as_str()]);
    let properties = || Some(plain_pages(Compression::ZSTD(Default::default())).build());
    let body = parquet(&batch([&long; 11].map(Arc::clone)), properties());
    assert!(body.len() < MIB, "{}", body.len());
    assert_refused(
        read(Format::Parquet, &body).await,
        "of each column of the Parquet file, all together, is larger than 1024 MiB",
    );
    let body = parquet(&batch([long]), properties());
    assert_eq!(read(Format::Parquet, &body).await.unwrap(), [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_value_of_a_dictionary_stays_one() {
    let long: ArrayRef = texts(["x".repeat(250 << 10).as_str()]);
    let keyed = DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0; 8192]), long);
    let body = parquet(&batch([Arc::new(keyed) as ArrayRef]), None);
    assert!(body.len() < MIB, "{}", body.len());
    let read = batches(Format::Parquet, &body).await.unwrap();
    assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), 8192);
    for batch in read.iter().skip(1) {
        let views = batch["c0"].as_string_view();
        assert!(batch.num_rows() <= 256, "{} rows of 250 KiB", batch.num_rows());
        assert!(views.data_buffers().iter().map(arrow::buffer::Buffer::len).sum::<usize>() < MIB, "the value is shared");
    }
}

#[test]
fn rows_are_read_by_the_pages_that_they_lie_in() {
    let wide = "0".repeat(8 * MIB);
    let skewed = std::iter::repeat_n(wide.as_str(), 64).chain(std::iter::repeat_n("", 100_000));
    let properties =
        plain_pages(Compression::ZSTD(Default::default())).set_write_batch_size(1).set_data_page_row_count_limit(1000);
    let wide = span(&parquet(&batch([texts(skewed)]), Some(properties.build()))).unwrap();
    assert!((4..=32).contains(&wide), "{wide} rows of 8 MiB at once");
    let narrow = texts(std::iter::repeat_n("narrow", 20_000));
    assert_eq!(span(&parquet(&batch([narrow]), None)).unwrap(), 8192);
}

#[test]
fn values_that_are_put_together_count_whole() {
    let long = "x".repeat(MIB);
    let properties = plain_pages(Compression::UNCOMPRESSED).set_encoding(Encoding::DELTA_BYTE_ARRAY).build();
    let body = parquet(&batch([texts(std::iter::repeat_n(long.as_str(), 64))]), Some(properties));
    assert!(body.len() < 2 * MIB, "{}", body.len());
    let rows = span(&body).unwrap();
    assert!((32..=256).contains(&rows), "{rows} rows of 1 MiB at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_decompresses_to_more_than_it_claims_is_refused() {
    let long = texts(["0".repeat(64 * MIB).as_str()]);
    let body = parquet(&batch([long]), Some(plain_pages(Compression::GZIP(Default::default())).build()));
    // The page is 64 MiB and 4 bytes of length; that it is 2 MiB takes as many bytes to say.
    let (truth, lie) = (varint(zigzag(64 * MIB as i64 + 10)), varint(zigzag(2 * MIB as i64)));
    let truths: Vec<_> = (0..body.len()).filter(|&at| body[at..].starts_with(&truth)).collect();
    assert!(!truths.is_empty(), "the size of the page is not there");
    let mut lying = body.clone();
    truths.iter().for_each(|&at| lying[at..at + lie.len()].copy_from_slice(&lie));
    assert_refused(read(Format::Parquet, &lying).await, "a page holds more than it claims");
    assert_eq!(read(Format::Parquet, &body).await.unwrap(), [0, 1]);
}

/// Thrift's compact protocol, written.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// A field that is `delta` after the one before.
fn field(delta: u8, kind: u8, value: &[u8]) -> Vec<u8> {
    [&[delta << 4 | kind], value].concat()
}

fn int(delta: u8, value: usize) -> Vec<u8> {
    field(delta, 5, &varint(zigzag(value as i64)))
}

fn long(delta: u8, value: usize) -> Vec<u8> {
    field(delta, 6, &varint(zigzag(value as i64)))
}

fn text(delta: u8, value: &str) -> Vec<u8> {
    field(delta, 8, &[&varint(value.len() as u64), value.as_bytes()].concat())
}

fn structure(delta: u8, fields: &[Vec<u8>]) -> Vec<u8> {
    field(delta, 12, &[fields.concat(), vec![0]].concat())
}

fn list(delta: u8, kind: u8, items: &[Vec<u8>]) -> Vec<u8> {
    field(delta, 9, &[vec![(items.len() as u8) << 4 | kind], items.concat()].concat())
}

fn ended(fields: &[Vec<u8>]) -> Vec<u8> {
    [fields.concat(), vec![0]].concat()
}

/// A page with its header; `header` is of the page's own kind.
fn page(kind: usize, header: Vec<u8>, body: &[u8]) -> Vec<u8> {
    [ended(&[int(1, kind), int(1, body.len()), int(1, body.len()), header]), body.to_vec()].concat()
}

/// A data page of the first version.
fn data(values: usize, encoding: usize, body: &[u8]) -> Vec<u8> {
    page(0, structure(2, &[int(1, values), int(1, encoding), int(1, 3), int(1, 3)]), body)
}

fn dictionary(values: usize, body: &[u8]) -> Vec<u8> {
    page(2, structure(4, &[int(1, values), int(1, 0)]), body)
}

const REQUIRED: usize = 0;
const REPEATED: usize = 2;
const INT64: usize = 2;
const BYTE_ARRAY: usize = 6;
const JSON: usize = 19;

/// A file of one column, with these pages.
fn file_of(kind: usize, repetition: usize, converted: Option<usize>, pages: &[Vec<u8>]) -> Vec<u8> {
    let pages = pages.concat();
    let leaf = [int(1, kind), int(2, repetition), text(1, "n"), converted.map_or_else(Vec::new, |converted| int(2, converted))];
    let schema = [ended(&[text(4, "root"), int(1, 1)]), ended(&leaf)];
    let column = [
        int(1, kind),
        list(1, 5, &[varint(zigzag(0))]),
        list(1, 8, &[[&[1_u8][..], b"n"].concat()]),
        int(1, 0),
        long(1, 1),
        long(1, pages.len()),
        long(1, pages.len()),
        long(2, 4),
    ];
    let chunk = ended(&[long(2, 4), structure(1, &column)]);
    let group = ended(&[list(1, 12, &[chunk]), long(1, 1), long(1, 1)]);
    let footer = ended(&[int(1, 1), list(1, 12, &schema), long(1, 1), list(1, 12, &[group])]);
    let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
    [b"PAR1".as_slice(), &pages, &footer, &length, b"PAR1"].concat()
}

/// A run of the hybrid encoding.
fn run(count: usize, value: u8) -> Vec<u8> {
    [varint((count as u64) << 1), vec![value]].concat()
}

fn prefixed(levels: &[u8]) -> Vec<u8> {
    [&u32::try_from(levels.len()).unwrap().to_le_bytes(), levels].concat()
}

/// One row of so many numbers, all the same.
fn repeated(values: usize) -> Vec<u8> {
    let repetitions = prefixed(&[run(1, 0), run(values - 1, 1)].concat());
    let body = [repetitions, prefixed(&run(values, 1)), vec![1], run(values, 0)].concat();
    file_of(INT64, REPEATED, None, &[dictionary(1, &7_i64.to_le_bytes()), data(values, 8, &body)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_more_values_than_fit_is_refused() {
    let read = batches(Format::Parquet, &repeated(1000)).await.unwrap();
    assert_eq!(read[1]["n"].as_list::<i32>().values().len(), 1000);
    let body = repeated(1 << 30);
    assert!(body.len() < 1000, "{}", body.len());
    assert_refused(batches(Format::Parquet, &body).await, "is larger than 1024 MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_that_a_page_has_no_values_for_are_refused() {
    for (encoding, name) in [(6, "lengths"), (7, "prefixes")] {
        let lengths = |count: u64| [vec![0x80, 1, 4], varint(count), vec![0]].concat();
        let file = |count| file_of(BYTE_ARRAY, REQUIRED, Some(0), &[data(1, encoding, &[lengths(count), lengths(1)].concat())]);
        assert_eq!(read(Format::Parquet, &file(1)).await.unwrap(), [0, 1], "{name}");
        assert_refused(read(Format::Parquet, &file(1 << 40)).await, "a page is damaged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_header_holds_back_or_repeats_is_refused() {
    let one = dictionary(1, &7_i64.to_le_bytes());
    let values = data(1, 8, &[&[1][..], &run(1, 0)].concat());
    let file = |pages: &[Vec<u8>]| file_of(INT64, REQUIRED, None, pages);
    assert_eq!(read(Format::Parquet, &file(&[one.clone(), values.clone()])).await.unwrap(), [0, 1]);
    let twice = file(&[one.clone(), values.clone(), one, values.clone()]);
    assert_refused(read(Format::Parquet, &twice).await, "a column has two dictionaries");
    // A dictionary of 2^30 values, then a field that nobody knows: a struct with a 7 with a 1, which says 0.
    let header = [structure(4, &[int(1, 1 << 30), int(1, 0)]), structure(2, &[structure(7, &[int(1, 0)])])].concat();
    let hidden = file(&[page(2, header, &7_i64.to_le_bytes()), values]);
    assert_refused(read(Format::Parquet, &hidden).await, "a page claims more than it has");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_the_reader_does_not_look_at_is_looked_at() {
    let file = |value: &[u8]| file_of(BYTE_ARRAY, REQUIRED, Some(JSON), &[data(1, 0, &prefixed(value))]);
    assert_eq!(read(Format::Parquet, &file(b"{\"a\":1, \"b\": \"a long text\"}")).await.unwrap(), [0, 1]);
    for value in [&b"\xff"[..], b"a long text with one bad byte: \xff"] {
        assert_refused(read(Format::Parquet, &file(value)).await, "text is not UTF-8");
    }
}

fn stream(batch: &RecordBatch) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD)).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

/// Keys of one value of 200 KiB, beside a million empty ones.
fn keyed(keys: usize) -> ArrayRef {
    let long = "x".repeat(200 << 10);
    let values = texts(std::iter::once(long.as_str()).chain(std::iter::repeat_n("", 1_000_000)));
    Arc::new(DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0; keys]), values))
}

fn lists(lengths: impl IntoIterator<Item = usize>, values: ArrayRef) -> ArrayRef {
    let item = Arc::new(Field::new("item", values.data_type().clone(), true));
    Arc::new(ListArray::new(item, OffsetBuffer::from_lengths(lengths), values, None))
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_one_long_value_go_on_in_parts() {
    let body = stream(&batch([keyed(1000)]));
    assert!(body.len() < MIB, "{}", body.len());
    let rows = read(Format::Arrow, &body).await.unwrap();
    assert_eq!((rows[0], rows.iter().sum::<usize>()), (0, 1000));
    assert!(rows.iter().all(|rows| *rows <= 327), "{rows:?}: of 200 KiB each, at most 64 MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_has_nothing_of_the_others() {
    let runs: ArrayRef = Arc::new(RunArray::<Int32Type>::try_new(&Int32Array::from(vec![1, 2]), keyed(2).as_ref()).unwrap());
    let read = batches(Format::Arrow, &stream(&batch([lists([300, 300], keyed(600)), runs]))).await.unwrap();
    assert_eq!(read.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [0, 1, 1]);
    for batch in &read[1..] {
        assert_eq!(batch["c0"].as_list::<i32>().values().len(), 300);
        assert_eq!((batch["c1"].len(), batch["c1"].data_type()), (1, keyed(0).data_type()));
    }
    // Nor has a whole batch what no row of it names.
    let behind = Arc::new(ListArray::new(
        Arc::new(Field::new("item", keyed(0).data_type().clone(), true)),
        OffsetBuffer::new(vec![0, 1].into()),
        keyed(1000),
        None,
    ));
    let plain = plain(&batch([behind as ArrayRef])).unwrap();
    assert_eq!(plain["c0"].as_list::<i32>().values().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_stands_for_too_much_is_refused() {
    let body = stream(&batch([lists([2000], keyed(2000))]));
    assert!(body.len() < MIB, "{}", body.len());
    assert_refused(read(Format::Arrow, &body).await, "a row of the file is larger than 256 MiB");
}

#[test]
fn a_dictionary_of_what_is_shared_is_undone() {
    let long = "x".repeat(200 << 10);
    let shared: ArrayRef = Arc::new(StringViewArray::from_iter_values([long.as_str(), "b"]));
    let nested = lists([3, 1], keyed(4));
    for (values, expected) in [(shared, DataType::Utf8View), (Arc::clone(&nested), nested.data_type().clone())] {
        let keyed = DictionaryArray::<Int32Type>::new(Int32Array::from(vec![Some(1), None, Some(1)]), values);
        let plain = plain(&batch([Arc::new(keyed) as ArrayRef])).unwrap();
        assert_eq!((plain["c0"].data_type(), plain["c0"].len(), plain["c0"].null_count()), (&expected, 3, 1));
    }
}

#[test]
fn what_needs_nothing_stays_as_it_is() {
    let columns = [texts(["a", "b"]), keyed(2), Arc::new(Int64Array::from(vec![1, 2])), Arc::new(NullArray::new(2))];
    let before = batch(columns);
    assert_eq!(plain(&before).unwrap(), before);
}
