//! What becomes of values on their way from a file into a table.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use lakehouse_types::Fault;
use parquet::arrow::ArrowWriter;

use super::{Lake, request, shown};
use crate::Format;

#[tokio::test(flavor = "multi_thread")]
async fn integers_beyond_64_bits_keep_their_digits() {
    let lake = Lake::open().await;
    let text = "{\"id\": 12345678901234567890123, \"o\": {\"n\": -9223372036854775809}, \"m\": {\"x\": 1}}\n\
        {\"id\": 7, \"o\": {\"n\": 1}, \"m\": [12345678901234567890123, 0.12345678901234567890]}\n";
    lake.run(request("t", Format::Ndjson), text).await.unwrap();
    assert_eq!(lake.types(), ["text", "object(n: text)", "text"]);
    let rows = lake.rows().await;
    let ids = rows["id"].as_string::<i32>();
    assert_eq!((ids.value(0), ids.value(1)), ("12345678901234567890123", "7"));
    assert_eq!(rows["o"].as_struct()["n"].as_string::<i32>().value(0), "-9223372036854775809");
    assert_eq!(rows["m"].as_string::<i32>().value(1), "[12345678901234567890123,0.12345678901234567890]");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_changes_no_number() {
    use arrow::array::{Float32Array, Float64Array};
    let lake = Lake::open().await;
    let columns: [(&str, arrow::array::ArrayRef); 2] =
        [("f", Arc::new(Float32Array::from(vec![0.5]))), ("d", Arc::new(Float64Array::from(vec![0.5])))];
    let mut parquet =
        ArrowWriter::try_new(Vec::new(), RecordBatch::try_from_iter(columns.clone()).unwrap().schema(), None).unwrap();
    parquet.write(&RecordBatch::try_from_iter(columns).unwrap()).unwrap();
    lake.run(request("t", Format::Parquet), parquet.into_inner().unwrap()).await.unwrap();
    let large = "the value does not fit type float: it is a number too large for the column";
    let rounded = "the value does not fit type float: it is an integer that the column would round";
    for (column, value, expected) in [
        ("f", "1e300", large),
        ("f", "16777217", rounded),
        ("d", "9007199254740993", rounded),
        ("d", "12345678901234567890123", rounded),
    ] {
        let error = lake.csv(&format!("{column}\n{value}\n")).await.unwrap_err();
        assert_eq!(error.public(), format!("line 2, column `{column}`: {expected}"));
        let error = lake.run(request("t", Format::Ndjson), format!("{{\"{column}\":{value}}}")).await.unwrap_err();
        assert_eq!(error.public(), format!("line 1, column `{column}`: {expected}"));
    }
    lake.csv("f,d\n16777216,9007199254740992\n").await.unwrap();
    lake.run(request("t", Format::Ndjson), "{\"f\":0.1,\"d\":100000000000000000000}").await.unwrap();
    let rows = lake.rows().await;
    assert_eq!(rows["d"].as_primitive::<Float64Type>().values(), &[0.5, 9_007_199_254_740_992.0, 1e20]);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_do_not_fit_are_named_by_their_kind() {
    let lake = Lake::open().await;
    let first = r#"{"n": 1, "b": true, "o": {"x": 1}, "l": [1]}"#;
    lake.run(request("t", Format::Ndjson), first).await.unwrap();
    let cases = [
        (Format::Csv, "n\n1.5\n", "line 2, column `n`: the value does not fit type integer: it is a fraction"),
        (
            Format::Csv,
            "n\n99999999999999999999\n",
            "line 2, column `n`: the value does not fit type integer: it is an integer too large for 64 bits",
        ),
        (Format::Csv, "b\n2024-01-01\n", "line 2, column `b`: the value does not fit type boolean: it is a date"),
        (Format::Ndjson, r#"{"n": "1"}"#, "line 1, column `n`: the value does not fit type integer: it is text"),
        (Format::Ndjson, r#"{"n": 0.5}"#, "line 1, column `n`: the value does not fit type integer: it is a fraction"),
        (
            Format::Ndjson,
            r#"{"n": 18446744073709551615}"#,
            "line 1, column `n`: the value does not fit type integer: it is an integer too large for 64 bits",
        ),
        (
            Format::Ndjson,
            r#"{"n": 99999999999999999999}"#,
            "line 1, column `n`: the value does not fit type integer: it is an integer too large for 64 bits",
        ),
        (Format::Ndjson, r#"{"b": [1]}"#, "line 1, column `b`: the value does not fit type boolean: it is a list"),
        (
            Format::Ndjson,
            r#"{"o": {"x": "y"}}"#,
            "line 1, column `o`: the value does not fit type object(x: integer): it is text",
        ),
        (
            Format::Ndjson,
            r#"{"l": [1, true]}"#,
            "line 1, column `l`: the value does not fit type list of integer: it is a boolean",
        ),
        (
            Format::Ndjson,
            r#"{"l": {"x": 1}}"#,
            "line 1, column `l`: the value does not fit type list of integer: it is an object",
        ),
    ];
    for (format, body, expected) in cases {
        assert_eq!(lake.run(request("t", format), body).await.unwrap_err().public(), expected, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_keeps_its_nesting() {
    let lake = Lake::open().await;
    let text = r#"[{"id": 1, "tags": ["a", null], "home": {"city": "Ulm", "zip": 1}, "mixed": 1},
        {"id": 2, "home": {"zip": 2.5}, "mixed": {"x": [1]}, "extra": true}]"#;
    let report = lake.run(request("t", Format::Json), text).await.unwrap();
    assert_eq!(report.rows, 2);
    assert_eq!(lake.types(), ["integer", "list of text", "object(city: text, zip: float)", "text", "boolean"]);
    let table = shown(lake.rows().await);
    assert!(table.contains("{city: Ulm, zip: 1.0}") && table.contains(r#"{"x":[1]}"#) && table.contains("[a, ]"), "{table}");
    let error = lake.run(request("t", Format::Ndjson), "{\"home\":{\"street\":\"x\"}}").await.unwrap_err();
    assert!(error.public().starts_with("line 1, column `home`: the value does not fit type object("), "{error}");
}

/// Text that shares its bytes, lists, runs and the like are what a table stores, whatever the file calls them.
#[tokio::test(flavor = "multi_thread")]
async fn nested_and_shared_values_come_through() {
    use arrow::array::{
        ArrayRef, DictionaryArray, FixedSizeListArray, Int32Array, LargeStringArray, ListArray, ListViewArray, MapBuilder,
        RunArray, StringArray, StringBuilder, StringViewArray, StructArray,
    };
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{DataType, Field, Int32Type};
    let texts = || Arc::new(StringArray::from(vec!["a", "a longer text than a view holds", "c", "a"])) as ArrayRef;
    let item = |values: &ArrayRef| Arc::new(Field::new("item", values.data_type().clone(), true));
    let keyed = || Arc::new(DictionaryArray::<Int32Type>::new(Int32Array::from(vec![1, 0, 1, 2]), texts())) as ArrayRef;
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for value in ["x", "a longer value than a view holds"] {
        map.keys().append_value("key");
        map.values().append_value(value);
        map.append(true).unwrap();
    }
    let pairs: ArrayRef = Arc::new(FixedSizeListArray::new(item(&texts()), 2, texts(), None));
    let columns: [(&str, ArrayRef); 9] = [
        ("large", Arc::new(LargeStringArray::from(vec!["x", "a longer text than a view holds"]))),
        ("view", Arc::new(StringViewArray::from(vec!["x", "a longer text than a view holds"]))),
        ("keyed", keyed().slice(0, 2)),
        ("list", Arc::new(ListArray::new(item(&keyed()), OffsetBuffer::from_lengths([3, 1]), keyed(), None))),
        ("pairs", pairs),
        ("map", Arc::new(map.finish())),
        ("object", Arc::new(StructArray::from(vec![(item(&keyed()), keyed().slice(1, 2))]))),
        ("run", Arc::new(RunArray::<Int32Type>::try_new(&Int32Array::from(vec![1, 2]), keyed().slice(2, 2).as_ref()).unwrap())),
        ("listed", Arc::new(ListViewArray::new(item(&keyed()), vec![1, 0].into(), vec![2, 4].into(), keyed(), None))),
    ];
    let of_arrow = RecordBatch::try_from_iter(columns.clone()).unwrap();
    let of_parquet = RecordBatch::try_from_iter(columns.into_iter().take(7)).unwrap();
    let mut stream = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &of_arrow.schema()).unwrap();
    stream.write(&of_arrow).unwrap();
    let mut parquet = ArrowWriter::try_new(Vec::new(), of_parquet.schema(), None).unwrap();
    parquet.write(&of_parquet).unwrap();
    let lake = Lake::open().await;
    lake.run(request("t", Format::Arrow), stream.into_inner().unwrap()).await.unwrap();
    lake.run(request("t", Format::Parquet), parquet.into_inner().unwrap()).await.unwrap();
    let types =
        ["text", "text", "text", "list of text", "list of text", "map of text", "object(item: text)", "text", "list of text"];
    assert_eq!(lake.types(), types);
    let rows = lake.rows().await;
    assert_eq!(rows.num_rows(), 4);
    for (column, batch) in [(0..7, rows.slice(0, 2)), (0..7, rows.slice(2, 2))] {
        let shown = shown(batch.project(&column.collect::<Vec<_>>()).unwrap());
        for row in [
            "| x | x | a longer text than a view holds | [a longer text than a view holds, a, a longer text than a view holds] \
             | [a, a longer text than a view holds] | {key: x} | {item: a} |",
            "| a longer text than a view holds | a longer text than a view holds | a | [c] | [c, a] \
             | {key: a longer value than a view holds} | {item: a longer text than a view holds} |",
        ] {
            let squeezed = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
            assert!(squeezed.contains(&row.to_owned()), "{row} in {shown}");
        }
    }
    let last = shown(rows.slice(0, 2).project(&[7, 8]).unwrap());
    assert!(last.contains("[a, a longer text than a view holds]"), "{last}");
    assert_eq!(
        rows["run"].as_string::<i32>().iter().take(2).collect::<Vec<_>>(),
        [Some("a longer text than a view holds"), Some("c")]
    );
    assert_eq!(rows["run"].data_type(), &DataType::Utf8);
}
