//! What an answer is written from holds no byte of a hidden row, whatever the columns share with what was read.

use arrow::array::{
    BinaryViewArray, DictionaryArray, FixedSizeListBuilder, ListBuilder, ListViewArray, MapBuilder, StringBuilder,
    StringViewArray, StringViewBuilder, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::Int32Type;
use futures::TryStreamExt;

use super::*;
use crate::format::{Format, Rows, encode};

/// One text in columns of every kind that holds texts.
fn texts(texts: &[String]) -> RecordBatch {
    let plain: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
    let mut list = ListBuilder::new(StringViewBuilder::new());
    let mut fixed = FixedSizeListBuilder::new(StringBuilder::new(), 2);
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringViewBuilder::new());
    for text in texts {
        list.append_value([Some(text), None, Some(text)]);
        fixed.values().append_value(text);
        fixed.values().append_value(text);
        fixed.append(true);
        map.keys().append_value(text);
        map.values().append_value(text);
        map.append(true).unwrap();
    }
    let list: ArrayRef = Arc::new(list.finish());
    let item = Arc::new(Field::new("item", DataType::Utf8View, true));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new((0i64..).take(texts.len()).collect::<Int64Array>())),
        ("plain", Arc::clone(&plain)),
        ("view", Arc::new(StringViewArray::from_iter_values(texts))),
        ("binary", Arc::new(BinaryViewArray::from_iter_values(texts))),
        ("dictionary", Arc::new(texts.iter().map(String::as_str).collect::<DictionaryArray<Int32Type>>())),
        ("struct", Arc::new(StructArray::from(vec![(Arc::new(Field::new("x", DataType::Utf8, true)), plain)]))),
        ("fixed", Arc::new(fixed.finish())),
        ("map", Arc::new(map.finish())),
        ("list_view", cast(&list, &DataType::ListView(item)).unwrap()),
        ("list", list),
    ];
    assert!(columns.iter().any(|(_, column)| column.as_any().is::<ListViewArray>()));
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn no_answer_has_bytes_of_a_hidden_row() {
    const ROWS: usize = 20_000;
    // Runs that are sliced, runs that are spliced, rows that are filtered, and parts that are gathered.
    let hidden: [fn(usize) -> bool; 4] = [|at| at >= 10_000, |at| at % 50 == 7, |at| at % 2 == 0, |at| at % 100 != 3];
    for (hides, hidden) in hidden.into_iter().enumerate() {
        let value =
            |at| if hidden(at) { format!("{MARK} that nobody may see, {at}") } else { format!("what everybody may see, {at}") };
        let rows: Vec<String> = (0..ROWS).map(value).collect();
        let base = table(rows.chunks(3_000).map(texts).collect());
        let filter = RowFilter::parse(&format!("plain NOT LIKE '{MARK}%'"), &base.schema(), template().bare()).unwrap();
        let view = Governed { filter: Some(filter), ..Governed::whole("v".into(), base, None) };
        let lake = Lake::default().with("v", view.into_provider());
        let seen = (0..ROWS).filter(|&at| !hidden(at)).count();
        cpu().block_on(async {
            // Pages of Parquet are compressed, but its statistics are not.
            for format in [Format::Json(Rows::Objects), Format::NdJson, Format::Csv, Format::ArrowStream, Format::Parquet] {
                let answer = lake.start("SELECT * FROM v", &[], Duration::from_secs(60), u64::MAX).await.unwrap();
                let chunks: Vec<_> = encode(answer, format, Arc::new(ToString::to_string)).unwrap().try_collect().await.unwrap();
                let bytes = chunks.concat();
                let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
                assert!(!has(MARK), "{format:?}, {hides}");
                assert!(format == Format::Parquet || has("what everybody may see"), "{format:?}, {hides}");
            }
            assert_eq!(lake.text("SELECT count(*) FROM v").await.unwrap(), seen.to_string());
        });
    }
}
