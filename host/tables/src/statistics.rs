//! Minima, maxima and counts: from Parquet footers into the Delta log, from the log to DataFusion.
//!
//! **Invariant**: what is handed out as exact is exact. Text from 32 bytes on, timestamps, fractions and decimals are bounds at
//! best in the log, so scans learn nothing exact of them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{max, max_string, min, min_string, sum};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit,
    TimestampMicrosecondType,
};
use arrow::temporal_conversions::{date32_to_datetime, timestamp_us_to_datetime};
use chrono::NaiveDate;
use datafusion::common::stats::Precision;
use datafusion::common::{ScalarValue, Statistics};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::ParquetMetaData;
use serde_json::{Map, Value, json};

use crate::TableError;

/// Delta's default: engines expect statistics of this many columns.
const INDEXED_COLUMNS: usize = 32;
/// Text from this many bytes on is cut, in the log or in Parquet's footer.
const EXACT_TEXT_BYTES: usize = 32;

/// The statistics of a written file as an `add` action carries them.
pub(crate) fn to_log(schema: &Schema, footer: &ParquetMetaData) -> Result<String, TableError> {
    let (mut minima, mut maxima, mut nulls) = (Map::new(), Map::new(), Map::new());
    let rows: i64 = footer.file_metadata().num_rows();
    for field in schema.fields().iter().take(INDEXED_COLUMNS).filter(|field| !field.data_type().is_nested()) {
        let converter = StatisticsConverter::try_new(field.name(), schema, footer.file_metadata().schema_descr())?;
        let groups = footer.row_groups();
        let absent = converter.row_group_null_counts(groups.iter())?;
        if absent.null_count() == 0 {
            nulls.insert(field.name().clone(), json!(sum(&absent).unwrap_or(0)));
        }
        let (low, high) = (converter.row_group_mins(groups.iter())?, converter.row_group_maxes(groups.iter())?);
        // A group of NULLs alone has no bounds; any other group without them leaves the file without them.
        let bounded = (0..groups.len()).all(|group| {
            low.is_valid(group) && high.is_valid(group)
                || absent.is_valid(group) && i64::try_from(absent.value(group)).ok() == Some(groups[group].num_rows())
        });
        if bounded {
            if let Some(bound) = bound(&low, Side::Low) {
                minima.insert(field.name().clone(), bound);
            }
            if let Some(bound) = bound(&high, Side::High) {
                maxima.insert(field.name().clone(), bound);
            }
        }
    }
    Ok(json!({ "numRecords": rows, "minValues": minima, "maxValues": maxima, "nullCount": nulls }).to_string())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Low,
    High,
}

/// One column's bound over its row groups, as Delta writes it in JSON.
fn bound(groups: &ArrayRef, side: Side) -> Option<Value> {
    macro_rules! extreme {
        ($kind:ty) => {{
            let values = groups.as_primitive::<$kind>();
            if side == Side::Low { min(values) } else { max(values) }
        }};
    }
    match groups.data_type() {
        DataType::Int8 => extreme!(Int8Type).map(Value::from),
        DataType::Int16 => extreme!(Int16Type).map(Value::from),
        DataType::Int32 => extreme!(Int32Type).map(Value::from),
        DataType::Int64 => extreme!(Int64Type).map(Value::from),
        DataType::Float32 => extreme!(Float32Type).filter(|value| value.is_finite()).map(Value::from),
        DataType::Float64 => extreme!(Float64Type).filter(|value| value.is_finite()).map(Value::from),
        DataType::Date32 => {
            let day = date32_to_datetime(extreme!(Date32Type)?)?.date();
            in_common_era(day).then(|| day.format("%Y-%m-%d").to_string().into())
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let moment = timestamp_us_to_datetime(extreme!(TimestampMicrosecondType)?)?;
            let zone = if zone.is_some() { "Z" } else { "" };
            in_common_era(moment.date()).then(|| format!("{}{zone}", moment.format("%Y-%m-%dT%H:%M:%S%.3f")).into())
        }
        DataType::Utf8 => {
            let texts = groups.as_string::<i32>();
            let text = if side == Side::Low { min_string(texts) } else { max_string(texts) }?;
            cut(text, side)
        }
        _ => None,
    }
}

/// Years that every reader of ISO dates agrees on.
fn in_common_era(day: NaiveDate) -> bool {
    use chrono::Datelike;
    (1..=9999).contains(&day.year())
}

/// Text short enough to be exact, or a bound: a prefix below, a prefix and the last character of Unicode above.
fn cut(text: &str, side: Side) -> Option<Value> {
    if text.len() < EXACT_TEXT_BYTES {
        return Some(text.into());
    }
    // The cut text must be recognized as one: never shorter than EXACT_TEXT_BYTES.
    let end = (EXACT_TEXT_BYTES..=text.len()).find(|&end| text.is_char_boundary(end))?;
    let prefix = &text[..end];
    Some(if side == Side::Low { prefix.into() } else { format!("{prefix}\u{10FFFF}").into() })
}

/// The statistics that the log holds for one file, for a scan of `schema`.
pub(crate) fn from_log(schema: &SchemaRef, stats: Option<&str>, bytes: u64) -> Statistics {
    let mut statistics = Statistics::new_unknown(schema);
    statistics.total_byte_size = Precision::Inexact(usize::try_from(bytes).unwrap_or(usize::MAX));
    let Some(parsed) = stats.and_then(|stats| serde_json::from_str::<Value>(stats).ok()) else { return statistics };
    let Some(rows) = parsed["numRecords"].as_u64().and_then(|rows| usize::try_from(rows).ok()) else { return statistics };
    let tight = parsed["tightBounds"].as_bool().unwrap_or(true);
    statistics.num_rows = Precision::Exact(rows);
    for (field, column) in schema.fields().iter().zip(&mut statistics.column_statistics) {
        let value = |side: &str| parsed[side].get(field.name());
        if let Some(nulls) = value("nullCount").and_then(Value::as_u64).and_then(|nulls| usize::try_from(nulls).ok()) {
            column.null_count = Precision::Exact(nulls);
        }
        if tight {
            column.min_value = exact(field.data_type(), value("minValues"));
            column.max_value = exact(field.data_type(), value("maxValues"));
        }
    }
    statistics
}

fn exact(data_type: &DataType, bound: Option<&Value>) -> Precision<ScalarValue> {
    let scalar = || {
        let bound = bound?;
        Some(match data_type {
            DataType::Int8 => ScalarValue::Int8(Some(bound.as_i64()?.try_into().ok()?)),
            DataType::Int16 => ScalarValue::Int16(Some(bound.as_i64()?.try_into().ok()?)),
            DataType::Int32 => ScalarValue::Int32(Some(bound.as_i64()?.try_into().ok()?)),
            DataType::Int64 => ScalarValue::Int64(Some(bound.as_i64()?)),
            DataType::Date32 => {
                let day = NaiveDate::parse_from_str(bound.as_str()?, "%Y-%m-%d").ok()?;
                ScalarValue::Date32(Some(Date32Type::from_naive_date(day)))
            }
            DataType::Utf8View => {
                let text = bound.as_str().filter(|text| text.len() < EXACT_TEXT_BYTES)?;
                ScalarValue::Utf8View(Some(text.to_owned()))
            }
            _ => return None,
        })
    };
    scalar().map_or(Precision::Absent, Precision::Exact)
}

/// The statistics of all files together.
pub(crate) fn together(schema: &SchemaRef, files: &[Arc<Statistics>]) -> Statistics {
    if files.is_empty() {
        let mut none = Statistics::new_unknown(schema);
        none.num_rows = Precision::Exact(0);
        return none;
    }
    Statistics::try_merge_iter(files.iter().map(AsRef::as_ref), schema).unwrap_or_else(|_| Statistics::new_unknown(schema))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
    use datafusion::common::ScalarValue;
    use datafusion::common::stats::Precision;
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;
    use serde_json::{Value, json};

    use super::{from_log, to_log};
    use crate::schema::scanned;

    fn written(batch: &RecordBatch) -> String {
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(2)).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(batch).unwrap();
        to_log(&batch.schema(), &writer.finish().unwrap()).unwrap()
    }

    #[test]
    fn bounds_hold_over_row_groups_and_long_text_is_cut() {
        let long = "z".repeat(70);
        let columns: [(&str, ArrayRef); 5] = [
            ("n", Arc::new(Int64Array::from(vec![Some(3), None, None, None, Some(-1)]))),
            ("s", Arc::new(StringArray::from(vec!["b", "a", "c", long.as_str(), "d"]))),
            ("d", Arc::new(Date32Array::from(vec![0, 1, 2, 3, 4]))),
            ("f", Arc::new(Float64Array::from(vec![0.5, 1.5, -2.5, 0.0, f64::NAN]))),
            ("t", Arc::new(TimestampMicrosecondArray::from(vec![1_234_567, 0, 0, 0, 0]))),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, values)| (name, values, true))).unwrap();
        let stats = written(&batch);
        let parsed: Value = serde_json::from_str(&stats).unwrap();
        assert_eq!(parsed["numRecords"], 5);
        assert_eq!(parsed["nullCount"], json!({ "n": 3, "s": 0, "d": 0, "f": 0, "t": 0 }));
        assert_eq!((&parsed["minValues"]["n"], &parsed["maxValues"]["n"]), (&json!(-1), &json!(3)));
        assert_eq!((&parsed["minValues"]["d"], &parsed["maxValues"]["d"]), (&json!("1970-01-01"), &json!("1970-01-05")));
        assert_eq!(parsed["maxValues"]["t"], "1970-01-01T00:00:01.234");
        let high = parsed["maxValues"]["s"].as_str().unwrap();
        assert!(high > long.as_str() && high.len() < 70, "{high}");

        let schema = scanned(&batch.schema());
        let read = from_log(&schema, Some(&stats), 10);
        assert_eq!(read.num_rows, Precision::Exact(5));
        let column = |name: &str| &read.column_statistics[schema.index_of(name).unwrap()];
        assert_eq!(column("n").min_value, Precision::Exact(ScalarValue::Int64(Some(-1))));
        assert_eq!(column("s").min_value, Precision::Exact(ScalarValue::Utf8View(Some("a".to_owned()))));
        assert_eq!(column("s").max_value, Precision::Absent, "cut text is no exact bound");
        assert_eq!(column("t").max_value, Precision::Absent, "the log rounds to milliseconds");
        assert_eq!(column("f").max_value, Precision::Absent, "NaN is in no footer");
    }

    #[test]
    fn a_file_without_statistics_is_unknown_not_empty() {
        let batch = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
        assert_eq!(from_log(&batch.schema(), None, 1).num_rows, Precision::Absent);
        assert_eq!(from_log(&batch.schema(), Some("{"), 1).num_rows, Precision::Absent);
    }
}
