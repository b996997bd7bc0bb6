//! Shapes of answers, and agreement with a slow writer on whatever rows there are.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, TimeUnit};
use futures::{StreamExt, TryStreamExt, stream};
use lakehouse_types::{Code, Fault};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Format, ProblemText, Rows, encode};
use crate::{Answer, Outcome, QueryError};

fn problem() -> ProblemText {
    Arc::new(|error| json!({ "code": error.code().as_str() }).to_string())
}

fn answer(batches: Vec<Result<RecordBatch, QueryError>>) -> Answer {
    let schema = batches.iter().find_map(|batch| batch.as_ref().ok()).map(RecordBatch::schema).unwrap();
    Answer { schema, batches: stream::iter(batches).boxed(), outcome: Arc::new(Outcome::default()) }
}

async fn bytes(answer: Answer, format: Format) -> Result<Vec<u8>, QueryError> {
    let chunks: Vec<_> = encode(answer, format, problem())?.try_collect().await?;
    Ok(chunks.concat())
}

async fn text(batch: RecordBatch, format: Format) -> String {
    String::from_utf8(bytes(answer(vec![Ok(batch)]), format).await.unwrap()).unwrap()
}

fn every_type() -> RecordBatch {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
    let fields = vec![
        (Arc::new(Field::new("x", DataType::Int32, true)), Arc::new(Int32Array::from(vec![Some(1), None, Some(3)])) as ArrayRef),
        (Arc::new(Field::new("y", DataType::Utf8, true)), Arc::new(StringArray::from(vec!["p", "q", "r"])) as ArrayRef),
    ];
    let dictionary: DictionaryArray<Int32Type> = [Some("red"), None, Some("blue")].into_iter().collect();
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    map.keys().append_value("k\"");
    map.values().append_value(1);
    map.append(true).unwrap();
    map.append(false).unwrap();
    map.append(true).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("i64", Arc::new(Int64Array::from(vec![i64::MIN, 0, i64::MAX]))),
        ("u64", Arc::new(UInt64Array::from(vec![0, 1, u64::MAX]))),
        ("f64", Arc::new(Float64Array::from(vec![Some(0.1), Some(f64::NAN), Some(1e300)]))),
        ("dec", Arc::new(Decimal128Array::from(vec![Some(12345), None, Some(-5)]).with_precision_and_scale(10, 2).unwrap())),
        ("text", Arc::new(StringArray::from(vec![Some("a\"\\\n\u{1}é"), Some(""), None]))),
        ("view", Arc::new(StringViewArray::from(vec![Some("a longer text than twelve"), None, Some("b")]))),
        ("bin", Arc::new(BinaryArray::from(vec![Some(b"\x00\xff".as_slice()), None, Some(b"")]))),
        ("date", Arc::new(Date32Array::from(vec![Some(0), Some(-1), None]))),
        ("time", Arc::new(Time64MicrosecondArray::from(vec![Some(1), None, Some(86_399_000_000)]))),
        (
            "utc",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(1_700_000_000_123_400), None, Some(-1)]).with_timezone("UTC")),
        ),
        ("naive", Arc::new(TimestampSecondArray::from(vec![Some(0), None, Some(1)]))),
        ("list", Arc::new(list)),
        ("object", Arc::new(StructArray::from(fields))),
        ("dict", Arc::new(dictionary)),
        ("map", Arc::new(map.finish())),
        ("none", Arc::new(NullArray::new(3))),
        ("span", Arc::new(DurationSecondArray::from(vec![Some(90), None, None]))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

/// The rows of [`every_type`] as NDJSON.
const LINES: &[&str] = &[
    r#"{"bool":true,"i64":-9223372036854775808,"u64":0,"f64":0.1,"dec":"123.45","text":"a\"\\\n\u0001é","view":"a longer text than twelve","bin":"AP8=","date":"1970-01-01","time":"00:00:00.000001","utc":"2023-11-14T22:13:20.1234Z","naive":"1970-01-01T00:00:00","list":[1,null],"object":{"x":1,"y":"p"},"dict":"red","map":{"k\"":1},"span":"PT90S"}"#,
    r#"{"i64":0,"u64":1,"f64":"NaN","text":"","date":"1969-12-31","object":{"y":"q"}}"#,
    r#"{"bool":false,"i64":9223372036854775807,"u64":18446744073709551615,"f64":1e300,"dec":"-0.05","view":"b","bin":"","time":"23:59:59","utc":"1969-12-31T23:59:59.999999Z","naive":"1970-01-01T00:00:01","list":[],"object":{"x":3,"y":"r"},"dict":"blue","map":{}}"#,
];

/// The same as CSV.
const CSV: &[&str] = &[
    "bool,i64,u64,f64,dec,text,view,bin,date,time,utc,naive,list,object,dict,map,none,span",
    "true,-9223372036854775808,0,0.1,123.45,\"a\"\"\\\n\u{1}é\",a longer text than twelve,AP8=,1970-01-01,00:00:00.000001,2023-11-14T22:13:20.1234Z,1970-01-01T00:00:00,\"[1,null]\",\"{\"\"x\"\":1,\"\"y\"\":\"\"p\"\"}\",red,\"{\"\"k\\\"\"\"\":1}\",,PT90S",
    ",0,1,NaN,,\"\",,,1969-12-31,,,,,\"{\"\"y\"\":\"\"q\"\"}\",,,,",
    "false,9223372036854775807,18446744073709551615,1e300,-0.05,,b,\"\",,23:59:59,1969-12-31T23:59:59.999999Z,1970-01-01T00:00:01,[],\"{\"\"x\"\":3,\"\"y\"\":\"\"r\"\"}\",blue,{},,",
    "",
];

#[tokio::test]
async fn every_type_in_every_text_format() {
    assert_eq!(text(every_type(), Format::NdJson).await, LINES.join("\n") + "\n");
    assert_eq!(text(every_type(), Format::Csv).await, CSV.join("\r\n"));

    let objects = text(every_type(), Format::Json(Rows::Objects)).await;
    assert!(objects.ends_with(&format!(r#"],"rows":[{}],"row_count":3}}"#, LINES.join(","))), "{objects}");
    let objects: Value = serde_json::from_str(&objects).unwrap();
    let arrays: Value = serde_json::from_str(&text(every_type(), Format::Json(Rows::Arrays)).await).unwrap();
    assert_eq!(objects["columns"], arrays["columns"]);
    let types = [
        "boolean",
        "integer",
        "integer",
        "float",
        "decimal(10, 2)",
        "text",
        "text",
        "binary",
        "date",
        "time",
        "timestamp",
        "timestamp without zone",
        "list of integer",
        "object(x: integer, y: text)",
        "text",
        "map of integer",
        "nothing",
        "duration",
    ];
    for (at, (column, data_type)) in arrays["columns"].as_array().unwrap().iter().zip(types).enumerate() {
        assert_eq!(column["type"], data_type);
        for row in 0..3 {
            let value = objects["rows"][row].get(column["name"].as_str().unwrap()).unwrap_or(&Value::Null);
            assert_eq!(&arrays["rows"][row][at], value, "{column}");
        }
    }
}

/// A batch of large texts is no single poll and no single chunk.
#[tokio::test]
async fn a_large_batch_is_cut() {
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..4_096).map(|n| format!("{n:01000}"))));
    let batch = RecordBatch::try_from_iter([("t", texts)]).unwrap();
    for format in [Format::Json(Rows::Objects), Format::NdJson, Format::Csv, Format::ArrowStream] {
        let chunks: Vec<_> = encode(answer(vec![Ok(batch.clone())]), format, problem()).unwrap().try_collect().await.unwrap();
        assert!(chunks.len() >= 4 && chunks.iter().all(|chunk| chunk.len() < 2 << 20), "{format:?}");
    }
    let lines = text(batch, Format::NdJson).await;
    assert_eq!(lines.lines().count(), 4_096);
    assert!(lines.lines().enumerate().all(|(n, line)| line == format!("{{\"t\":\"{n:01000}\"}}")));
}

/// A large text that is given out as many columns is shared in memory, and would not be in the answer.
#[tokio::test]
async fn a_row_has_its_limit() {
    let large: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 20)]));
    let batch = RecordBatch::try_from_iter((0..200).map(|n| (format!("c{n}"), Arc::clone(&large)))).unwrap();
    for format in [Format::Json(Rows::Objects), Format::Csv] {
        match bytes(answer(vec![Ok(batch.clone())]), format).await {
            Ok(document) => assert!(document.ends_with(br#""error":{"code":"query_failed"}}"#) && document.len() < 1 << 20),
            Err(error) => assert_eq!(error.code(), Code::QueryFailed),
        }
    }
    let list: ArrayRef =
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>((0..4_096).map(|_| Some(vec![Some(7); 1_000]))));
    let lists = RecordBatch::try_from_iter([("l", list)]).unwrap();
    assert!((8..64).contains(&super::pieces(lists).unwrap().len()), "a part of a list column is as large as its rows");
}

#[tokio::test]
async fn no_view_is_left_at_any_depth() {
    let texts: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a text longer than twelve"), None, Some("b")]));
    let field = Arc::new(Field::new("item", DataType::Utf8View, true));
    let list: ArrayRef =
        Arc::new(ListArray::new(Arc::clone(&field), OffsetBuffer::from_lengths([2, 1]), Arc::clone(&texts), None));
    let row: ArrayRef =
        Arc::new(StructArray::from(vec![(field, texts.slice(1, 2)), (Arc::new(list_field(&list)), Arc::clone(&list))]));
    let batch = RecordBatch::try_from_iter([("list", list), ("row", row)]).unwrap();
    let bytes = bytes(answer(vec![Ok(batch.clone())]), Format::ArrowStream).await.unwrap();
    let back: Vec<RecordBatch> =
        arrow::ipc::reader::StreamReader::try_new(bytes.as_slice(), None).unwrap().map(Result::unwrap).collect();
    assert!(!format!("{:?}", back[0].schema()).contains("View"), "{:?}", back[0].schema());
    assert_eq!(text(back[0].clone(), Format::NdJson).await, text(batch, Format::NdJson).await);
}

fn list_field(list: &ArrayRef) -> Field {
    Field::new("list", list.data_type().clone(), true)
}

#[tokio::test]
async fn arrow_comes_back_as_it_went() {
    let bytes = bytes(answer(vec![Ok(every_type()), Ok(every_type().slice(1, 2))]), Format::ArrowStream).await.unwrap();
    let back: Vec<RecordBatch> =
        arrow::ipc::reader::StreamReader::try_new(bytes.as_slice(), None).unwrap().map(Result::unwrap).collect();
    assert_eq!(back.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [3, 2]);
    let view = back[0].schema().index_of("view").unwrap();
    assert_eq!(back[0].column(view).data_type(), &DataType::Utf8);
    assert_eq!(back[0].column(0), every_type().column(0));
}

/// 1,000 letters that no dictionary holds and nothing shortens much.
fn noise(seed: i64) -> String {
    let mut state = u64::try_from(seed).unwrap_or(0).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + u8::try_from(state % 26).unwrap_or(0))
    };
    (0..1_000).map(|_| letter()).collect()
}

#[tokio::test]
async fn parquet_comes_back_as_it_went_in_row_groups() {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    let wide = |n: i64| {
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..2_000).map(|row| noise(row * 64 + n))));
        RecordBatch::try_from_iter([("t", texts)]).unwrap()
    };
    // More than one row group, and more than one chunk.
    let file = bytes(answer((0..40).map(|n| Ok(wide(n))).collect()), Format::Parquet).await.unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file)).unwrap();
    assert!(reader.metadata().num_row_groups() > 1);
    let back: Vec<RecordBatch> = reader.with_batch_size(2_000).build().unwrap().map(Result::unwrap).collect();
    assert_eq!(back, (0..40).map(wide).collect::<Vec<_>>());

    let plain = RecordBatch::try_from_iter([("n", numbers(3).column(0).clone()), ("s", every_type().column(1).clone())]).unwrap();
    let file = bytes(answer(vec![Ok(plain.clone())]), Format::Parquet).await.unwrap();
    let back: Vec<RecordBatch> = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file))
        .unwrap()
        .build()
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(text(back[0].clone(), Format::NdJson).await, text(plain, Format::NdJson).await);
}

#[tokio::test]
async fn integers_of_64_bits_are_written_in_quotes_when_that_is_asked_for() {
    let large: ArrayRef = Arc::new(Int64Array::from(vec![Some(9_007_199_254_740_993), None]));
    let small: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![1, 2]));
    let list: ArrayRef =
        Arc::new(ListArray::from_iter_primitive::<arrow::datatypes::UInt64Type, _, _>([Some(vec![Some(u64::MAX), None]), None]));
    let batch = RecordBatch::try_from_iter_with_nullable([("a", large, true), ("b", small, true), ("c", list, true)]).unwrap();
    let answer = super::with_integers_as_text(answer(vec![Ok(batch)]));
    let document: Value = serde_json::from_slice(&bytes(answer, Format::Json(Rows::Objects)).await.unwrap()).unwrap();
    let expected = json!([{"a": "9007199254740993", "b": 1, "c": ["18446744073709551615", null]}, {"b": 2}]);
    assert_eq!(document["rows"], expected);
    assert_eq!(document["columns"][0]["type"], "integer");
}

fn numbers(count: i64) -> RecordBatch {
    RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from_iter_values(0..count)) as ArrayRef)]).unwrap()
}

#[tokio::test]
async fn an_error_after_the_first_byte_is_told_where_there_is_a_place() {
    let broken = || answer(vec![Ok(numbers(2)), Err(QueryError::Memory), Ok(numbers(1))]);
    let document: Value = serde_json::from_slice(&bytes(broken(), Format::Json(Rows::Objects)).await.unwrap()).unwrap();
    assert_eq!((&document["rows"], &document["error"]), (&json!([{"n": 0}, {"n": 1}]), &json!({"code": "memory_exceeded"})));
    let lines = String::from_utf8(bytes(broken(), Format::NdJson).await.unwrap()).unwrap();
    assert_eq!(lines, "{\"n\":0}\n{\"n\":1}\n{\"error\":{\"code\":\"memory_exceeded\"}}\n");
    for format in [Format::Csv, Format::ArrowStream, Format::Parquet] {
        assert!(matches!(bytes(broken(), format).await, Err(QueryError::Memory)), "{format:?}");
    }
}

#[tokio::test]
async fn two_columns_of_one_name_need_arrays() {
    let schema = Schema::new(vec![Field::new("a", DataType::Int64, true), Field::new("a", DataType::Int64, true)]);
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let batch = || RecordBatch::try_new(Arc::new(schema.clone()), vec![Arc::clone(&column), Arc::clone(&column)]).unwrap();
    for format in [Format::Json(Rows::Objects), Format::NdJson] {
        assert_eq!(bytes(answer(vec![Ok(batch())]), format).await.unwrap_err().code(), Code::DuplicateColumn);
    }
    assert!(text(batch(), Format::Json(Rows::Arrays)).await.contains("[[1,1]]"));
}

#[tokio::test]
async fn no_rows_and_no_columns_are_answers_too() {
    let empty = RecordBatch::new_empty(numbers(0).schema());
    assert_eq!(
        text(empty, Format::Json(Rows::Objects)).await,
        r#"{"columns":[{"name":"n","type":"integer"}],"rows":[],"row_count":0}"#
    );
    let options = RecordBatchOptions::new().with_row_count(Some(2));
    let bare = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    assert_eq!(text(bare, Format::Json(Rows::Objects)).await, r#"{"columns":[],"rows":[{},{}],"row_count":2}"#);
}

proptest! {
    #[test]
    fn any_row_reads_back_as_it_was(rows in proptest::collection::vec((any::<Option<i64>>(), any::<Option<f64>>(), any::<Option<String>>()), 1..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("i", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0))) as ArrayRef, true),
            ("f", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.1))) as ArrayRef, true),
            ("s\"", Arc::new(StringArray::from_iter(rows.iter().map(|row| row.2.as_deref()))) as ArrayRef, true),
        ]).unwrap();
        let document: Value = serde_json::from_str(&runtime.block_on(text(batch, Format::Json(Rows::Objects)))).unwrap();
        for (written, (i, f, s)) in document["rows"].as_array().unwrap().iter().zip(&rows) {
            prop_assert_eq!(written.get("i").and_then(Value::as_i64), *i);
            if let Some(f) = f && f.is_finite() {
                prop_assert_eq!(written["f"].as_f64(), Some(*f));
            }
            prop_assert_eq!(written.get("s\"").and_then(Value::as_str), s.as_deref());
        }
    }

    #[test]
    fn timestamps_of_every_unit_are_one_moment(seconds in -100_000_000_000i64..100_000_000_000) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let zone = |unit| DataType::Timestamp(unit, Some("UTC".into()));
        let base: ArrayRef = Arc::new(TimestampSecondArray::from(vec![seconds]).with_timezone("UTC"));
        let mut written = std::collections::BTreeSet::new();
        for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond] {
            let column = arrow::compute::cast(&base, &zone(unit)).unwrap();
            let batch = RecordBatch::try_from_iter([("t", column)]).unwrap();
            written.insert(runtime.block_on(text(batch, Format::Csv)));
        }
        prop_assert_eq!(written.len(), 1, "{:?}", written);
    }
}
