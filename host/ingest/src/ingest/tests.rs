mod values; // what becomes of them

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use arrow::util::pretty::pretty_format_batches;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use lakehouse_catalog::Catalog;
use lakehouse_journal::{Journal, Stamp};
use lakehouse_storage::{BucketKind, BucketOptions, BucketSpec, Buckets, Meta, MetaOptions};
use lakehouse_tables::{TableOptions, Tables};
use lakehouse_types::{Actor, BucketName, Clock, Code, DatasetName, Fault, ManualClock, RequestId};
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::{Ingest, IngestMode, IngestOptions, IngestReport, IngestRequest, OnError};
use crate::{Format, IngestError};

pub(crate) struct Lake {
    pub(crate) ingest: Ingest,
    pub(crate) tables: Arc<Tables>,
    pub(crate) buckets: Buckets,
    _spool: TempDir,
}

impl Lake {
    pub(crate) async fn open() -> Self {
        let spec = BucketSpec { name: BucketName::primary(), kind: BucketKind::Memory };
        let buckets = Buckets::open(vec![spec], BucketOptions::new(Handle::current())).await.unwrap();
        let meta = Meta::open(&buckets.primary(), MetaOptions::default()).await.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(DateTime::<Utc>::UNIX_EPOCH));
        let journal = Journal::open(meta.clone(), Arc::clone(&clock)).await.unwrap();
        let catalog = Arc::new(Catalog::open(meta.clone(), journal.clone(), Arc::clone(&clock)).await.unwrap());
        let options = TableOptions::default();
        let tables = Tables::open(buckets.clone(), meta, catalog, journal, clock, Handle::current(), options).await.unwrap();
        let spool = TempDir::new().unwrap();
        let ingest = Ingest::new(Arc::clone(&tables), IngestOptions::new(spool.path()));
        Self { ingest, tables, buckets, _spool: spool }
    }

    async fn run(&self, request: IngestRequest, body: impl Into<Bytes>) -> Result<IngestReport, IngestError> {
        let body = body.into();
        let pieces: Vec<_> = body.chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        self.ingest.run(request, futures::stream::iter(pieces)).await
    }

    async fn csv(&self, text: &str) -> Result<IngestReport, IngestError> {
        self.run(request("t", Format::Csv), text.to_owned()).await
    }

    /// All rows of `t`, in the order in which they came.
    pub(crate) async fn rows(&self) -> RecordBatch {
        use futures::TryStreamExt;
        use object_store::ObjectStoreExt;
        use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
        let state = self.tables.dataset(&name("t")).unwrap();
        let store = self.buckets.primary().store();
        let folder = object_store::path::Path::from(format!("datasets/{}", state.id));
        let mut files: Vec<_> = object_store::ObjectStore::list(&store, Some(&folder)).try_collect::<Vec<_>>().await.unwrap();
        files.retain(|file| file.location.as_ref().ends_with(".parquet"));
        files.sort_by(|a, b| a.location.cmp(&b.location));
        let mut batches = Vec::new();
        for file in files {
            let bytes = store.get(&file.location).await.unwrap().bytes().await.unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
            batches.extend(reader.map(Result::unwrap));
        }
        arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
    }

    pub(crate) fn types(&self) -> Vec<String> {
        self.tables.dataset(&name("t")).unwrap().columns().into_iter().map(|column| column.data_type).collect()
    }
}

pub(crate) fn name(name: &str) -> DatasetName {
    DatasetName::new(name).unwrap()
}

pub(crate) fn request(dataset: &str, format: Format) -> IngestRequest {
    IngestRequest {
        dataset: name(dataset),
        bucket: None,
        mode: IngestMode::Append,
        format: Some(format),
        file_name: None,
        content_type: None,
        key: None,
        on_error: OnError::Fail,
        idempotency_key: None,
        by: Stamp {
            actor: Actor::new("ada").unwrap(),
            role: "writer".into(),
            profile: None,
            request_id: RequestId::fresh(),
            at: DateTime::<Utc>::UNIX_EPOCH,
        },
    }
}

fn shown(batch: RecordBatch) -> String {
    pretty_format_batches(&[batch]).unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_csv_becomes_typed_rows() {
    let lake = Lake::open().await;
    let text = "\u{feff}id,name, rate ,zip,active,born,seen,big\r\n\
        1,\"Ann, \"\"A\"\"\",1.5,01234,true,2000-01-31,2024-01-01T10:00:00Z,1\r\n\
        \r\n\
        2,\"two\nlines\",NaN,98765,FALSE,,2024-01-01 11:00:00+01:00,99999999999999999999\r\n\
        3,,,,,1999-12-31,,\r\n";
    let report = lake.csv(text).await.unwrap();
    assert_eq!(report.rows, 3);
    let types: Vec<_> = report.columns.iter().map(|column| format!("{}: {}", column.name, column.data_type)).collect();
    let expected = "id: integer, name: text, rate: float, zip: text, active: boolean, born: date, seen: timestamp, big: text";
    assert_eq!(types.join(", "), expected);
    let rows = lake.rows().await;
    assert_eq!(rows["name"].as_string::<i32>().value(0), "Ann, \"A\"");
    assert_eq!(rows["name"].as_string::<i32>().value(1), "two\nlines");
    assert!(rows["name"].is_null(2), "an empty text is NULL");
    assert!(rows["rate"].as_primitive::<Float64Type>().value(1).is_nan());
    assert_eq!(rows["seen"].slice(0, 1).to_data(), rows["seen"].slice(1, 1).to_data(), "the same instant");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_line_counts_as_much_as_the_first() {
    let lake = Lake::open().await;
    let mut text = "a,b\n".to_owned();
    (0..20_000).for_each(|row| text.push_str(&format!("{row},{row}\n")));
    text.push_str("20000,x\n");
    let report = lake.csv(&text).await.unwrap();
    assert_eq!((report.rows, lake.types()), (20_001, vec!["integer".to_owned(), "text".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_inputs_are_named_and_leave_nothing() {
    let cases: [(Format, &[u8], Code, &str); 22] = [
        (Format::Csv, b"", Code::InvalidData, "the input is empty"),
        (Format::Csv, b"a,A\n1,2\n", Code::InvalidData, "header columns 1 and 2 are both named `A` (case does not count)"),
        (Format::Csv, b"a,b\n1,2\n3\n", Code::InvalidData, "line 3 has 1 columns, the header has 2"),
        (Format::Csv, b"a,b\n\"x\ny\",2\n1,2,3\n", Code::InvalidData, "line 4 has 3 columns, the header has 2"),
        (Format::Csv, b"a,b\n1,\"2\n3,4\n", Code::InvalidData, "line 2, column 2: a quoted value is never closed"),
        (Format::Csv, b"a,b\n1,\"2\"3\n", Code::InvalidData, "line 2, column 2: text follows the closing quote"),
        (Format::Csv, b"a\nx\n\xff\n", Code::InvalidData, "line 3, column `a`: the value is not UTF-8 text"),
        (Format::Csv, b"\xff\xfea\0", Code::InvalidData, "the input is UTF-16: send UTF-8"),
        (
            Format::Csv,
            b"a\x01\n1\n",
            Code::InvalidData,
            "the header's column 1 has no legal name: at most 255 bytes of UTF-8 without control characters",
        ),
        (Format::Ndjson, b"{\"a\":1}\n{\"a\":\n", Code::InvalidData, "line 2, column 5: this is not valid JSON"),
        (Format::Json, b"[{\"a\":1},{\"a\":x}]", Code::InvalidData, "line 1, column 15: this is not valid JSON"),
        (Format::Json, b"[{\"a\":1},\n  {\"a\":x}]", Code::InvalidData, "line 2, column 8: this is not valid JSON"),
        (Format::Json, b"[{\"a\":1},{\n\"a\":x}]", Code::InvalidData, "line 2, column 5: this is not valid JSON"),
        (Format::Ndjson, b"{\"a\":1}\n {\"a\":x}\n", Code::InvalidData, "line 2, column 7: this is not valid JSON"),
        (Format::Ndjson, b"{\"a\":1}\n[1]\n", Code::InvalidData, "line 2: a row must be a JSON object"),
        (Format::Json, b"[{\"a\":1},\n{\"a\":2}", Code::InvalidData, "line 2, column 8: the array is never closed"),
        (Format::Json, b"[]", Code::InvalidData, "the input has no columns"),
        (Format::Json, b"{\"a\":1,\"A\":2}", Code::InvalidData, "columns `a` and `A` have the same name (case does not count)"),
        (Format::Parquet, b"PAR1 no parquet at all", Code::InvalidData, "the Parquet data is broken"),
        (Format::Parquet, b"", Code::InvalidData, "the Parquet data is broken"),
        (Format::Arrow, b"ARROW1", Code::InvalidData, "the Arrow data is broken"),
        (Format::Csv, b"\x1f\x8b\x08\0\0", Code::InvalidData, "the gzip data is broken"),
    ];
    let lake = Lake::open().await;
    for (format, body, code, expected) in cases {
        let error = lake.run(request("t", format), body.to_vec()).await.unwrap_err();
        assert_eq!((error.public().as_str(), error.code()), (expected, code), "{}", String::from_utf8_lossy(body));
        assert!(lake.tables.datasets().is_empty());
    }
    let unnamed = IngestRequest { format: None, ..request("t", Format::Csv) };
    assert_eq!(lake.run(unnamed, "a\n1\n").await.unwrap_err().code(), Code::UnsupportedFormat);
    let upsert = IngestRequest { mode: IngestMode::Upsert, ..request("t", Format::Csv) };
    assert_eq!(lake.run(upsert, "a\n1\n").await.unwrap_err().code(), Code::InvalidParameter);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_with_errors_are_left_out_when_asked() {
    let lake = Lake::open().await;
    lake.csv("n,t\n1,x\n").await.unwrap();
    let skip = |format| IngestRequest { on_error: OnError::Skip, ..request("t", format) };
    let mut text = "n,t\n2,ok\nfour,bad\n3\n5,ok\n".to_owned();
    (0..500).for_each(|_| text.push_str("x,y\n"));
    let report = lake.run(skip(Format::Csv), text).await.unwrap();
    assert_eq!((report.rows, report.rejected_rows, report.rejected.len()), (2, 502, 100));
    assert_eq!(report.rejected[0].line, 3);
    assert_eq!(report.rejected[0].reason, "column `n`: the value does not fit type integer: it is text");
    assert_eq!(report.rejected[1].reason, "1 columns, the header has 2");
    let report = lake.run(skip(Format::Ndjson), "{\"n\":6}\n{\"n\":\n7\n{\"n\":\"x\"}\n").await.unwrap();
    assert_eq!((report.rows, report.rejected.iter().map(|row| row.line).collect::<Vec<_>>()), (1, vec![2, 3, 4]));
    let text = "n,t\n2,ok\n3,\"broken\nin\" two\n4,\"\"\"fine\"\n5,ok\n";
    let report = lake.run(skip(Format::Csv), text).await.unwrap();
    assert_eq!((report.rows, report.rejected_rows), (3, 1));
    assert_eq!((report.rejected[0].line, report.rejected[0].reason.as_str()), (3, "column 2: text follows the closing quote"));
    let error = lake.run(skip(Format::Csv), "n,t\n2,\"x\n").await.unwrap_err();
    assert_eq!(error.public(), "line 2, column 2: a quoted value is never closed", "where its row ends, nobody knows");
    let error = lake.csv("n\n1\nsecret\n").await.unwrap_err();
    assert_eq!(error.public(), "line 3, column `n`: the value does not fit type integer: it is text");
    assert!(!format!("{error:?}").contains("secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_column_is_inferred_from_the_rows_that_are_not_left_out() {
    let lake = Lake::open().await;
    let skipped = IngestRequest { on_error: OnError::Skip, ..request("t", Format::Csv) };
    let report = lake.run(skipped, "n,t\n1,x\ntext,\"broken\" here\n2,y\n").await.unwrap();
    assert_eq!((report.rows, report.rejected_rows), (2, 1));
    assert_eq!(lake.types(), ["integer", "text"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_members_are_rows_of_nulls() {
    let lake = Lake::open().await;
    for format in [Format::Json, Format::Ndjson] {
        let error = lake.run(request("t", format), "{}\n{}").await.unwrap_err();
        assert_eq!((error.public().as_str(), error.code()), ("the input has no columns", Code::InvalidData));
    }
    lake.csv("n,t\n1,x\n").await.unwrap();
    assert_eq!(lake.run(request("t", Format::Json), "[{},{}]").await.unwrap().rows, 2);
    assert_eq!(lake.run(request("t", Format::Ndjson), "{}\n").await.unwrap().rows, 1);
    let rows = lake.rows().await;
    assert_eq!((rows.num_rows(), rows["n"].null_count(), rows["t"].null_count()), (4, 3, 3));
    assert_eq!(lake.types(), ["integer", "text"]);
    assert_eq!(lake.run(request("t", Format::Json), "[]").await.unwrap().rows, 0);
    let replaced = IngestRequest { mode: IngestMode::Replace, ..request("t", Format::Json) };
    assert_eq!(lake.run(replaced, "[{}]").await.unwrap_err().public(), "the input has no columns");
}

#[tokio::test(flavor = "multi_thread")]
async fn ever_new_members_come_to_an_end() {
    let lake = Lake::open().await;
    let members: Vec<_> = (0..256).map(|member| format!("\"m{member}\":1")).collect();
    let rows = |count: usize| (0..count).map(|row| format!("{{\"c{row}\":{{{}}}}}\n", members.join(","))).collect::<String>();
    let error = lake.run(request("t", Format::Ndjson), rows(1021)).await.unwrap_err();
    assert_eq!(error.public(), "the objects of the input have more than 262144 different members in all");
    assert_eq!(error.code(), Code::InvalidData);
    let maps: String = (0..2000).map(|row| format!("{{\"map\":{{\"key{row}\":1}}}}\n")).collect();
    assert_eq!(lake.run(request("t", Format::Ndjson), maps).await.unwrap().rows, 2000);
    assert_eq!(lake.types(), ["text"], "an object of ever-new members is text");
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_read_by_the_types_that_are_there_and_widen() {
    let lake = Lake::open().await;
    lake.csv("phone,n\n+49 30,1.5\n").await.unwrap();
    let report = lake.csv("n,phone,new\n7,4930,2024-01-01\n").await.unwrap();
    assert_eq!(report.rows, 1);
    assert_eq!(lake.types(), ["text", "float", "date"]);
    lake.csv("only_header\n").await.unwrap();
    assert_eq!(lake.types()[3], "text");
    let replaced = IngestRequest { mode: IngestMode::Replace, ..request("t", Format::Csv) };
    lake.run(replaced, "n\n1\n").await.unwrap();
    assert_eq!(lake.types(), ["integer"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_formats_come_through_compressed_or_not() {
    let lake = Lake::open().await;
    lake.csv("n,t\n1,x\n2,y\n").await.unwrap();
    let rows = lake.rows().await;
    let mut parquet = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
    parquet.write(&rows).unwrap();
    let parquet = parquet.into_inner().unwrap();
    let mut stream = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    stream.write(&rows).unwrap();
    let stream = stream.into_inner().unwrap();
    let mut file = arrow::ipc::writer::FileWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    file.write(&rows).unwrap();
    let file = file.into_inner().unwrap();
    let zipped = zstd::encode_all(stream.as_slice(), 1).unwrap();
    for body in [parquet, stream, file, zipped] {
        let unnamed = IngestRequest { format: None, ..request("t", Format::Csv) };
        assert_eq!(lake.run(unnamed, body).await.unwrap().rows, 2, "recognized by its first bytes");
    }
    let gzipped = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"n\tt\n3\tz\n").unwrap();
        encoder.finish().unwrap()
    };
    let named = IngestRequest { format: None, file_name: Some("a.tsv.gz".to_owned()), ..request("t", Format::Csv) };
    assert_eq!(lake.run(named, gzipped).await.unwrap().rows, 1);
    let total = lake.rows().await;
    assert_eq!(arrow::compute::sum(total["n"].as_primitive::<Int64Type>()), Some(5 * 3 + 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotent_ingest_is_known_by_its_body() {
    let lake = Lake::open().await;
    let keyed = || IngestRequest { idempotency_key: Some("k".to_owned()), ..request("t", Format::Csv) };
    let first = lake.run(keyed(), "a\n1\n").await.unwrap();
    let again = lake.run(keyed(), "a\n1\n").await.unwrap();
    assert!(again.is_repeat && !first.is_repeat);
    assert_eq!(IngestReport { is_repeat: false, ..again }, first);
    assert_eq!(lake.run(keyed(), "a\n2\n").await.unwrap_err().code(), Code::IdempotencyMismatch);
    assert_eq!(lake.tables.dataset(&name("t")).unwrap().rows, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn csv_round_trips(
        rows in proptest::collection::vec(
            (any::<i64>(), "[ -~é\n]{1,12}", proptest::option::of(any::<bool>()), -1_000_000i32..1_000_000),
            1..40,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let quote = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        // A first text that no other type takes.
        let mut text = "n,t,b,x\n0,é,,0.5\n".to_owned();
        for (n, t, b, x) in &rows {
            let b = b.map_or(String::new(), |b| b.to_string());
            text.push_str(&format!("{n},{},{b},{}\n", quote(t), f64::from(*x) / 16.0));
        }
        let batch = runtime.block_on(async {
            let lake = Lake::open().await;
            lake.csv(&text).await.unwrap();
            lake.rows().await
        });
        for (index, (n, t, b, x)) in rows.iter().enumerate() {
            let row = index + 1;
            prop_assert_eq!(batch["n"].as_primitive::<Int64Type>().value(row), *n);
            prop_assert_eq!(batch["t"].as_string::<i32>().value(row), t);
            prop_assert_eq!(batch["x"].as_primitive::<Float64Type>().value(row), f64::from(*x) / 16.0);
            let column = &batch["b"];
            let read = (column.is_valid(row) && *batch.schema().field(2).data_type() == arrow::datatypes::DataType::Boolean)
                .then(|| column.as_boolean().value(row));
            prop_assert_eq!(read, *b);
        }
    }
}

/// The bar of ingest: 100,000 rows of 15 columns; prints its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_wide_rows_are_quick() {
    use std::fmt::Write;
    let lake = Lake::open().await;
    let mut text = "id,first,last,email,phone,city,state,vertical,skills,years,rate,status,zip,since,resume\n".to_owned();
    for row in 0..100_000_u32 {
        let hash = row.wrapping_mul(2_654_435_761);
        writeln!(
            text,
            "CAND-{row:06},Ann{},Lee{},ann{row}@example.org,+1 555 {:07},City{},NY,warehouse,\"forklift, picking, {}\",{},{}.{:02},active,{:05},2021-0{}-11,\"Reach me at ann{row}@example.org or 555-{:04}. {} {} {}\"",
            hash % 100, hash % 977, hash % 9_999_999, hash % 300, hash % 50, hash % 40, hash % 60, hash % 100, hash % 99_999,
            1 + hash % 9, hash % 9_999, "Worked nights on the loading dock, trained new colleagues,".repeat(2), hash, hash % 7
        ).unwrap();
    }
    let bytes = Bytes::from(text);
    let begun = std::time::Instant::now();
    let report = lake.run(request("t", Format::Csv), bytes.clone()).await.unwrap();
    println!("{} rows, {} MiB: {:?}", report.rows, bytes.len() >> 20, begun.elapsed());
    assert_eq!(report.rows, 100_000);
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}
