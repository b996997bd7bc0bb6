use arrow::{
    array::{Array, AsArray},
    buffer::NullBuffer,
    datatypes::{DataType, TimeUnit},
};
use proptest::prelude::*;

use super::{Asked, accept};
use crate::{
    error::Lie,
    wit::lakehouse::plugin::types::{ColumnResult, ValuesResult, VarlenResult},
};

fn text(offsets: &[i32], data: &[u8]) -> ColumnResult {
    ColumnResult { values: ValuesResult::Text(VarlenResult { offsets: offsets.to_vec(), data: data.to_vec() }), validity: None }
}

fn check(answer: ColumnResult, rows: usize, nulls: Option<&NullBuffer>) -> Result<Vec<Option<String>>, Lie> {
    let asked = Asked { rows, data_type: &DataType::Utf8, nulls };
    let array = accept(answer, &asked)?;
    Ok(array.as_string::<i32>().iter().map(|value| value.map(str::to_owned)).collect())
}

#[test]
fn an_honest_answer_is_taken() {
    assert_eq!(check(text(&[0, 1, 3], "aé".as_bytes()), 2, None).unwrap(), [Some("a".to_owned()), Some("é".to_owned())]);
    assert_eq!(check(text(&[0], b""), 0, None).unwrap(), []);
    let nulls = NullBuffer::from(vec![true, false]);
    let with = |validity: u8| ColumnResult { validity: Some(vec![validity]), ..text(&[0, 1, 1], b"a") };
    assert_eq!(check(with(0b01), 2, Some(&nulls)).unwrap(), [Some("a".to_owned()), None]);
    assert_eq!(check(with(0b00), 2, Some(&nulls)).unwrap(), [None, None], "a value may become null");
    assert_eq!(check(with(0b1111_1101), 2, Some(&nulls)).unwrap(), [Some("a".to_owned()), None], "bits past the end");
}

#[test]
fn each_lie_is_named() {
    let nulls = NullBuffer::from(vec![true, false]);
    for (answer, lie) in [
        (text(&[0, 1], b"a"), Lie::RowCount { expected: 2, got: 1 }),
        (text(&[0, 1, 1, 1], b"a"), Lie::RowCount { expected: 2, got: 3 }),
        (text(&[], b""), Lie::OffsetsStart),
        (text(&[1, 1, 1], b"a"), Lie::OffsetsStart),
        (text(&[0, 3, 1], b"abc"), Lie::OffsetsDecrease),
        (text(&[0, -1, 1], b"a"), Lie::OffsetsDecrease),
        (text(&[0, 1, 2], b"a"), Lie::OffsetsEnd { end: 2, data: 1 }),
        (text(&[0, 1, i32::MAX], b"a"), Lie::OffsetsEnd { end: i64::from(i32::MAX), data: 1 }),
        (text(&[0, 1, 1], b"hidden"), Lie::OffsetsEnd { end: 1, data: 6 }),
        (ColumnResult { validity: Some(vec![0b01]), ..text(&[0, 2, 2], b"a\xff") }, Lie::Utf8),
        (ColumnResult { validity: Some(vec![0b01]), ..text(&[0, 1, 2], "é".as_bytes()) }, Lie::Utf8),
        (text(&[0, 1, 1], b"a"), Lie::NullToValue),
        (ColumnResult { validity: Some(vec![0b11]), ..text(&[0, 1, 1], b"a") }, Lie::NullToValue),
        (ColumnResult { validity: Some(vec![]), ..text(&[0, 1, 1], b"a") }, Lie::Validity { expected: 1, got: 0 }),
        (ColumnResult { validity: Some(vec![1, 1]), ..text(&[0, 1, 1], b"a") }, Lie::Validity { expected: 1, got: 2 }),
    ] {
        assert_eq!(check(answer, 2, Some(&nulls)).unwrap_err(), lie);
    }
}

#[test]
fn nothing_hides_under_a_null_of_the_answer() {
    let answer = ColumnResult { validity: Some(vec![0b01]), ..text(&[0, 1, 7], b"ahidden") };
    let asked = Asked { rows: 2, data_type: &DataType::Utf8, nulls: None };
    let array = accept(answer, &asked).unwrap();
    assert_eq!(array.as_string::<i32>().value_data(), b"a");
    let asked = Asked { rows: 2, data_type: &DataType::Int64, nulls: None };
    let answer = ColumnResult { values: ValuesResult::Int64(vec![1, 42]), validity: Some(vec![0b01]) };
    assert_eq!(accept(answer, &asked).unwrap().as_primitive::<arrow::datatypes::Int64Type>().values(), &[1, 0]);
}

#[test]
fn the_type_is_the_inputs_or_text() {
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let plain = |values| ColumnResult { values, validity: None };
    let ask = |answer, data_type: &DataType| accept(answer, &Asked { rows: 1, data_type, nulls: None });
    let types =
        [DataType::Utf8, DataType::Binary, DataType::Int64, DataType::Float64, DataType::Boolean, DataType::Date32, zoned];
    let answers = || {
        [
            plain(ValuesResult::Text(VarlenResult { offsets: vec![0, 0], data: vec![] })),
            plain(ValuesResult::Binary(VarlenResult { offsets: vec![0, 0], data: vec![] })),
            plain(ValuesResult::Int64(vec![1])),
            plain(ValuesResult::Float64(vec![1.0])),
            plain(ValuesResult::Boolean(vec![1])),
            plain(ValuesResult::Date32(vec![1])),
            plain(ValuesResult::TimestampMicros(vec![1])),
        ]
    };
    for (asked, data_type) in types.iter().enumerate() {
        for (answered, answer) in answers().into_iter().enumerate() {
            let outcome = ask(answer, data_type);
            if answered == 0 || answered == asked {
                let expected = if answered == 0 { &DataType::Utf8 } else { data_type };
                assert_eq!(outcome.unwrap().data_type(), expected);
            } else {
                assert!(matches!(outcome, Err(Lie::Type { .. })), "{data_type} answered as {answered}");
            }
        }
    }
    assert_eq!(ask(plain(ValuesResult::Boolean(vec![2])), &DataType::Boolean).unwrap_err(), Lie::Boolean);
    assert_eq!(ask(plain(ValuesResult::Boolean(vec![])), &DataType::Boolean).unwrap_err(), Lie::RowCount { expected: 1, got: 0 });
    assert_eq!(ask(plain(ValuesResult::Int64(vec![1, 2])), &DataType::Int64).unwrap_err(), Lie::RowCount { expected: 1, got: 2 });
}

proptest! {
    /// Whatever a guest returns, it is refused by name or becomes an array that Arrow itself finds valid, of the right length, with
    /// no value where there was none.
    #[test]
    fn whatever_comes_is_refused_or_valid(
        rows in 0_usize..20,
        offsets in prop::collection::vec(-3_i32..12, 0..22),
        sorted in any::<bool>(),
        data in prop::collection::vec(prop_oneof![Just(b'a'), Just(0xc3), Just(0xa9), any::<u8>()], 0..12),
        fit in any::<bool>(),
        validity in prop::option::of(prop::collection::vec(any::<u8>(), 0..4)),
        hidden in prop::option::of(prop::collection::vec(any::<bool>(), 20)),
        binary in any::<bool>(),
    ) {
        let (mut offsets, mut data) = (offsets, data);
        if sorted {
            offsets.iter_mut().for_each(|offset| *offset = (*offset).max(0));
            offsets.sort_unstable();
            offsets.resize(rows + 1, offsets.last().copied().unwrap_or(0));
            offsets[0] = 0;
        }
        if fit && let Some(end) = offsets.last().and_then(|end| usize::try_from(*end).ok()) {
            data.resize(end, b'z');
        }
        let nulls = hidden.map(|mut hidden| { hidden.truncate(rows); NullBuffer::from(hidden) });
        let varlen = VarlenResult { offsets, data };
        let (values, data_type) = if binary { (ValuesResult::Binary(varlen), DataType::Binary) } else { (ValuesResult::Text(varlen), DataType::Utf8) };
        let asked = Asked { rows, data_type: &data_type, nulls: nulls.as_ref() };
        if let Ok(array) = accept(ColumnResult { values, validity }, &asked) {
            prop_assert_eq!(array.len(), rows);
            prop_assert!(array.to_data().validate_full().is_ok());
            for row in 0..rows {
                if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                    prop_assert!(array.is_null(row));
                }
            }
        }
    }

    /// An honest answer is never refused.
    #[test]
    fn what_is_honest_is_taken(values in prop::collection::vec(prop::option::of(".{0,6}"), 0..40)) {
        let (mut offsets, mut data, mut validity) = (vec![0], Vec::new(), vec![0_u8; values.len().div_ceil(8)]);
        for (row, value) in values.iter().enumerate() {
            if let Some(value) = value {
                data.extend_from_slice(value.as_bytes());
                validity[row / 8] |= 1 << (row % 8);
            }
            offsets.push(i32::try_from(data.len()).unwrap());
        }
        let nulls = NullBuffer::from(values.iter().map(Option::is_some).collect::<Vec<_>>());
        let answer = ColumnResult { validity: Some(validity), ..text(&offsets, &data) };
        prop_assert_eq!(check(answer, values.len(), Some(&nulls)).unwrap(), values);
    }
}
