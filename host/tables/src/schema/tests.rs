use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, Int64Array, NullArray, RecordBatch, StringArray, StructArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{
    DataType, Decimal128Type, Field, Fields, Int32Type, IntervalUnit, Schema, TimeUnit, TimestampMicrosecondType,
};

use super::{MAX_COLUMNS, conform, friendly, storable, widen};
use crate::TableError;

fn schema(fields: &[(&str, DataType)]) -> Schema {
    Schema::new(fields.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect::<Fields>())
}

fn stored(values: ArrayRef) -> ArrayRef {
    let batch = RecordBatch::try_from_iter_with_nullable([("a", values, true)]).unwrap();
    let schema = widen(None, &batch.schema(), 1).unwrap();
    Arc::clone(conform(&batch, &schema, 1).unwrap().column(0))
}

#[test]
fn every_arrow_type_has_one_stored_type_or_is_refused() {
    use DataType as T;
    let item = |data_type| Arc::new(Field::new("item", data_type, false));
    let element = |data_type| T::List(Arc::new(Field::new("element", data_type, true)));
    let cases = [
        (T::UInt8, Some(T::Int16)),
        (T::UInt32, Some(T::Int64)),
        (T::UInt64, Some(T::Decimal128(20, 0))),
        (T::Float16, Some(T::Float32)),
        (T::Null, Some(T::Utf8)),
        (T::Utf8View, Some(T::Utf8)),
        (T::Dictionary(Box::new(T::Int8), Box::new(T::LargeUtf8)), Some(T::Utf8)),
        (T::FixedSizeBinary(16), Some(T::Binary)),
        (T::Timestamp(TimeUnit::Nanosecond, None), Some(T::Timestamp(TimeUnit::Microsecond, None))),
        (T::Timestamp(TimeUnit::Second, Some("+02:00".into())), Some(T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))),
        (T::Decimal256(38, 4), Some(T::Decimal128(38, 4))),
        (T::Decimal256(50, 4), Some(T::Utf8)),
        (T::Decimal128(10, -2), None),
        (T::Time32(TimeUnit::Second), Some(T::Utf8)),
        (T::FixedSizeList(item(T::UInt8), 3), Some(element(T::Int16))),
        (T::LargeList(item(T::Interval(IntervalUnit::DayTime))), None),
        (T::Struct(Fields::empty()), None),
        (T::Duration(TimeUnit::Second), None),
    ];
    for (given, expected) in cases {
        assert_eq!(storable(&given), expected, "{given}");
        if let Some(expected) = expected {
            assert_eq!(storable(&expected).as_ref(), Some(&expected), "storing {given} twice");
        }
    }
}

#[test]
fn stored_values_are_the_given_ones() {
    let decimals = stored(Arc::new(UInt64Array::from(vec![Some(u64::MAX), None])));
    assert_eq!(decimals.as_primitive::<Decimal128Type>().value(0), i128::from(u64::MAX));
    assert!(decimals.is_null(1));
    let micros = stored(Arc::new(TimestampNanosecondArray::from(vec![1_234_567])));
    assert_eq!(micros.as_primitive::<TimestampMicrosecondType>().value(0), 1_234);
    let dictionary: DictionaryArray<Int32Type> = [Some("x"), None, Some("x")].into_iter().collect();
    assert_eq!(stored(Arc::new(dictionary)).as_string::<i32>(), &StringArray::from(vec![Some("x"), None, Some("x")]));
    assert_eq!(stored(Arc::new(NullArray::new(2))).null_count(), 2);
}

#[test]
fn a_new_column_widens_and_old_rows_have_null_there() {
    let old = schema(&[("a", DataType::Int64)]);
    let batch = RecordBatch::try_from_iter([("b", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)]).unwrap();
    let wide = widen(Some(&old), &batch.schema(), 1).unwrap();
    assert_eq!(wide.as_ref(), &schema(&[("a", DataType::Int64), ("b", DataType::Utf8)]));
    assert!(conform(&batch, &wide, 1).unwrap().column(0).is_null(0));
}

#[test]
fn a_changed_type_names_column_row_and_both_types() {
    let old = schema(&[("a", DataType::Int64)]);
    let error = widen(Some(&old), &schema(&[("a", DataType::Utf8)]), 41).unwrap_err();
    assert_eq!(error.to_string(), "column `a` is integer, the input has text (first at row 41)");
    assert!(widen(Some(&old), &schema(&[("a", DataType::Float64)]), 1).is_err(), "fractions do not fit integers");
    assert!(widen(Some(&schema(&[("a", DataType::Float64)])), &schema(&[("a", DataType::Int64)]), 1).is_err(), "2^53 + 1");
    assert!(widen(Some(&old), &schema(&[("a", DataType::UInt32)]), 1).is_ok(), "narrower integers fit");
    assert!(widen(Some(&old), &schema(&[("a", DataType::Null)]), 1).is_ok(), "nothing fits everything");
}

#[test]
fn names_that_differ_in_case_only_are_refused() {
    assert!(matches!(
        widen(None, &schema(&[("a", DataType::Int64), ("A", DataType::Int64)]), 1),
        Err(TableError::DuplicateColumn { .. })
    ));
    let old = schema(&[("a", DataType::Int64)]);
    assert!(matches!(widen(Some(&old), &schema(&[("A", DataType::Int64)]), 1), Err(TableError::NameConflict { .. })));
    assert!(matches!(widen(None, &schema(&[("a\nb", DataType::Int64)]), 1), Err(TableError::InvalidColumnName { position: 1 })));
    assert!(matches!(widen(None, &schema(&[]), 1), Err(TableError::NoColumns)));
    assert!(widen(None, &schema(&[("Größe (cm), ca.", DataType::Int64)]), 1).is_ok(), "odd names are kept");
}

#[test]
fn names_inside_are_checked_as_those_outside() {
    let object =
        |names: &[&str]| DataType::Struct(names.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect::<Fields>());
    let list = |item| DataType::List(Arc::new(Field::new("", item, true)));
    let error = |data_type| widen(None, &schema(&[("a", data_type)]), 1).unwrap_err().to_string();
    assert_eq!(error(object(&["x", "X"])), "columns `a.x` and `a.X` have the same name (case does not count)");
    let illegal = "column `a` has a member without a legal name: 1 to 255 bytes without control characters";
    assert_eq!(error(object(&["x", ""])), illegal);
    assert_eq!(error(list(object(&["x\ny"]))), illegal);
    assert!(widen(None, &schema(&[("a", list(object(&["x", "y"])))]), 1).is_ok(), "items of lists need no name");
}

#[test]
fn columns_are_bounded() {
    let columns = |from: usize, to: usize| {
        Schema::new((from..to).map(|column| Field::new(format!("c{column}"), DataType::Int64, true)).collect::<Fields>())
    };
    let full = widen(None, &columns(0, MAX_COLUMNS), 1).unwrap();
    assert_eq!(widen(Some(&full), &columns(0, MAX_COLUMNS), 1).unwrap(), full, "what is there fits");
    let error = widen(Some(&full), &columns(MAX_COLUMNS, MAX_COLUMNS + 1), 1).unwrap_err();
    assert_eq!(error.to_string(), "the dataset would have more than 4096 columns");
    assert!(matches!(widen(None, &columns(0, MAX_COLUMNS + 1), 1), Err(TableError::TooManyColumns { limit: MAX_COLUMNS })));
}

#[test]
fn nested_values_grow_by_name() {
    let point = |fields: Vec<(&str, ArrayRef)>| {
        let fields: Vec<_> = fields.into_iter().map(|(n, v)| (Arc::new(Field::new(n, v.data_type().clone(), true)), v)).collect();
        Arc::new(StructArray::from(fields)) as ArrayRef
    };
    let xy = point(vec![("x", Arc::new(Int64Array::from(vec![1]))), ("y", Arc::new(Int64Array::from(vec![2])))]);
    let y = point(vec![("y", Arc::new(Int32Array::from(vec![3])))]);
    let old = schema(&[("p", xy.data_type().clone())]);
    let batch = RecordBatch::try_from_iter([("p", y)]).unwrap();
    let wide = widen(Some(&old), &batch.schema(), 1).unwrap();
    let grown = conform(&batch, &wide, 1).unwrap();
    let grown = grown.column(0).as_struct();
    assert!(grown.column(0).is_null(0));
    assert_eq!(grown.column(1).as_primitive::<arrow::datatypes::Int64Type>().value(0), 3);
    assert_eq!(friendly(grown.data_type()), "object(x: integer, y: integer)");
}
