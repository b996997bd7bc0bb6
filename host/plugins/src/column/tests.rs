use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, Date64Array, Decimal128Array, DictionaryArray, Float32Array,
        Int8Array, Int32Array, LargeStringArray, ListArray, RunArray, StringArray, StringViewArray, TimestampNanosecondArray,
        UInt64Array,
    },
    buffer::{NullBuffer, OffsetBuffer},
    compute::cast,
    datatypes::{DataType, Int8Type, Int32Type, TimeUnit},
};
use serde_json::json;

use super::{Column, called_as};
use crate::{
    testing::{Fixture, read},
    wit::lakehouse::plugin::types::ValuesParam,
};

fn text_of(column: &Column) -> (Vec<i32>, String) {
    match column.as_param().values {
        ValuesParam::Text(varlen) => (varlen.offsets.to_vec(), String::from_utf8(varlen.data.to_vec()).unwrap()),
        _ => panic!("not text"),
    }
}

fn shared(array: impl Array + 'static) -> ArrayRef {
    Arc::new(array)
}

#[test]
fn every_kind_of_text_becomes_offsets_and_data() {
    let values = vec![Some("a"), None, Some("longer than twelve bytes"), Some("")];
    for array in [
        shared(StringArray::from(values.clone())),
        shared(LargeStringArray::from(values.clone())),
        shared(StringViewArray::from(values)),
    ] {
        let column = Column::of(&array).unwrap();
        assert_eq!(text_of(&column), (vec![0, 1, 1, 25, 25], "alonger than twelve bytes".to_owned()));
        assert_eq!(column.as_param().validity, Some(&[0b1101_u8][..]));
    }
}

#[test]
fn a_slice_shows_nothing_of_its_neighbours() {
    let whole = shared(StringArray::from(vec![Some("before"), Some("in"), None, Some("also"), Some("after")]));
    let column = Column::of(&whole.slice(1, 3)).unwrap();
    assert_eq!(text_of(&column), (vec![0, 2, 2, 6], "inalso".to_owned()));
    let validity = column.as_param().validity.unwrap()[0];
    assert_eq!(validity & 0b111, 0b101);
}

#[test]
fn nothing_hides_under_a_null() {
    let nulls = Some(NullBuffer::from(vec![true, false]));
    let text = StringArray::new(OffsetBuffer::new(vec![0, 2, 8].into()), b"okhidden".as_slice().into(), nulls.clone());
    assert_eq!(text_of(&Column::of(&shared(text)).unwrap()), (vec![0, 2, 2], "ok".to_owned()));

    let number = Int32Array::new(vec![1, 42].into(), nulls.clone());
    let column = Column::of(&shared(number)).unwrap();
    assert!(matches!(column.as_param().values, ValuesParam::Int64(&[1, 0])));

    let flag = BooleanArray::new(vec![true, true].into(), nulls);
    assert!(matches!(Column::of(&shared(flag)).unwrap().as_param().values, ValuesParam::Boolean(&[1, 0])));
}

#[test]
fn other_types_widen_or_become_text() {
    let int = Column::of(&shared(Int8Array::from(vec![-1, 2]))).unwrap();
    assert!(matches!(int.as_param().values, ValuesParam::Int64(&[-1, 2])));
    let float = Column::of(&shared(Float32Array::from(vec![0.5]))).unwrap();
    assert!(matches!(float.as_param().values, ValuesParam::Float64(values) if *values == [0.5]));
    for (narrow, shown) in
        [(0.1_f32, 0.1), (-1.5, -1.5), (123_456_792.0, 123_456_790.0), (1e30, 1e30), (f32::MIN_POSITIVE, 1.175_494_4e-38)]
    {
        let float = Column::of(&shared(Float32Array::from(vec![Some(narrow), None]))).unwrap();
        assert!(matches!(float.as_param().values, ValuesParam::Float64(values) if *values == [shown, 0.0]), "{narrow}");
    }
    let special = Column::of(&shared(Float32Array::from(vec![f32::NAN, f32::NEG_INFINITY, -0.0]))).unwrap();
    let ValuesParam::Float64(values) = special.as_param().values else { panic!("not numbers") };
    assert!(values[0].is_nan() && values[1] == f64::NEG_INFINITY && values[2].is_sign_negative());
    let runs = RunArray::try_new(&Int32Array::from(vec![2]), &Float32Array::from(vec![0.1])).unwrap();
    assert!(
        matches!(Column::of(&shared(runs)).unwrap().as_param().values, ValuesParam::Float64(values) if *values == [0.1, 0.1])
    );
    let half = cast(&shared(Float32Array::from(vec![0.1])), &DataType::Float16).unwrap();
    let shown = cast(&half, &DataType::Utf8).unwrap();
    let column = Column::of(&half).unwrap();
    let ValuesParam::Float64(values) = column.as_param().values else { panic!("not numbers") };
    assert_eq!(values[0].to_string(), shown.as_string::<i32>().value(0));
    let nanos = Column::of(&shared(TimestampNanosecondArray::from(vec![1_500]).with_timezone("UTC"))).unwrap();
    assert!(matches!(nanos.as_param().values, ValuesParam::TimestampMicros(&[1])));
    assert_eq!(*nanos.data_type(), DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
    let millis = Column::of(&shared(Date64Array::from(vec![2]))).unwrap();
    assert!(matches!(millis.as_param().values, ValuesParam::TimestampMicros(&[2000])));
    let bytes = Column::of(&shared(BinaryViewArray::from(vec![&b"\xff"[..]]))).unwrap();
    assert!(matches!(bytes.as_param().values, ValuesParam::Binary(varlen) if varlen.data == b"\xff"));

    let large = Column::of(&shared(UInt64Array::from(vec![u64::MAX]))).unwrap();
    assert_eq!(text_of(&large).1, u64::MAX.to_string());
    let decimal = Decimal128Array::from(vec![12_345]).with_precision_and_scale(10, 2).unwrap();
    assert_eq!(text_of(&Column::of(&shared(decimal)).unwrap()).1, "123.45");
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]);
    let column = Column::of(&shared(list)).unwrap();
    assert_eq!(text_of(&column), (vec![0, 8, 8], "[1,null]".to_owned()));
    let dictionary: DictionaryArray<Int32Type> = [Some("x"), None, Some("x")].into_iter().collect();
    assert_eq!(text_of(&Column::of(&shared(dictionary)).unwrap()).1, "xx");
}

#[test]
fn a_column_of_any_type_is_called_as_its_own_kind() {
    for (given, called) in [
        (DataType::Utf8View, DataType::Utf8),
        (DataType::UInt32, DataType::Int64),
        (DataType::UInt64, DataType::Utf8),
        (DataType::Decimal128(20, 0), DataType::Utf8),
        (DataType::Time64(TimeUnit::Microsecond), DataType::Utf8),
        (DataType::Null, DataType::Utf8),
        (DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Date32)), DataType::Date32),
    ] {
        assert_eq!(called_as(&given).unwrap(), called, "{given}");
        assert_eq!(*Column::of(&arrow::array::new_empty_array(&given)).unwrap().data_type(), called, "{given}");
        let nulls = arrow::array::new_null_array(&given, 3);
        let column = Column::of(&nulls).unwrap();
        assert_eq!((column.len(), column.nulls().map(NullBuffer::null_count)), (3, Some(3)), "{given}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_number_is_hashed_as_it_is_written() {
    let fixture = Fixture::with(&["redact-hash"]).await;
    let mut hash = fixture.redactor("redact-hash", json!({})).await.unwrap();
    let numbers = [0.1, -1.5, 7.0, 1e-5, 123_456_790.0, 8e12, f32::NAN, f32::INFINITY];
    let narrow: ArrayRef = Arc::new(numbers.into_iter().map(Some).chain([None]).collect::<Float32Array>());
    let hashed = read(&hash.redact(&narrow).await.unwrap());
    assert_eq!(hashed[0].as_deref(), Some("14be4b45f18e0d8c67b4f719b5144eee88497e413709d11d85b096d8e2346310"), "sha256 of 0.1");
    let written = cast(&narrow, &DataType::Utf8).unwrap();
    assert_eq!(hashed, read(&hash.redact(&written).await.unwrap()), "{:?}", read(&written));

    let dictionary: ArrayRef = Arc::new(DictionaryArray::<Int8Type>::new(Int8Array::from(vec![0, 0]), narrow.slice(0, 1)));
    assert_eq!(read(&hash.redact(&dictionary).await.unwrap()), [hashed[0].clone(), hashed[0].clone()]);
}
