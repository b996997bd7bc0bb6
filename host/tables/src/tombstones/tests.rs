use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, DictionaryArray, Int32Array, Int64Array, StringArray, StringViewArray, UInt64Array,
};
use arrow::datatypes::Int32Type;
use proptest::prelude::*;
use serde_json::json;

use super::{Tombstones, key_text};

fn visible(keys: &[&str], column: impl arrow::array::Array + 'static) -> Vec<bool> {
    let column: ArrayRef = Arc::new(column);
    let tombstones = Tombstones::new(None, keys.iter().copied());
    tombstones.keep_mask(&column).values().iter().collect()
}

#[test]
fn keys_are_compared_by_text_form_whatever_the_column() {
    assert_eq!(visible(&["7", "x"], Int64Array::from(vec![Some(7), None, Some(8)])), [false, true, true]);
    assert_eq!(visible(&["07"], Int32Array::from(vec![7])), [true], "07 is no integer's text form");
    assert_eq!(visible(&["18446744073709551615"], UInt64Array::from(vec![u64::MAX, 1])), [false, true]);
    let decimals = Decimal128Array::from(vec![Some(i128::from(u64::MAX)), None, Some(1)]);
    let decimals = decimals.with_precision_and_scale(20, 0).unwrap();
    assert_eq!(visible(&["18446744073709551615"], decimals), [false, true, true]);
    let texts = vec![Some("a"), None, Some("b"), Some("")];
    assert_eq!(visible(&["a", ""], StringArray::from(texts.clone())), [false, true, true, false]);
    assert_eq!(visible(&["b"], StringViewArray::from(texts.clone())), [true, true, false, true]);
    let dictionary: DictionaryArray<Int32Type> = texts.into_iter().collect();
    assert_eq!(visible(&["b"], dictionary), [true, true, false, true]);
}

#[test]
fn rows_in_order_are_hidden_as_rows_in_none() {
    let rows = |step: usize| (0..4_000).step_by(step).flat_map(|n| [format!("C-{n:05}"), format!("C-{n:05}")]);
    let ascending =
        StringViewArray::from_iter_values(std::iter::once(String::from("B")).chain(rows(1)).chain(["C-00000-".into()]));
    for keys in [&[][..], &["B"], &["C-00000-", "C-03999"], &["C-00000", "C-00000x", "C-01000", "A", "C-9", "x", "C-00000-+"]] {
        let tombstones = Tombstones::new(None, keys.iter().copied());
        let found = tombstones.keep_ascending(ascending.views()).expect("they are in order, and the keys are few");
        assert_eq!(found, tombstones.keep_each(&ascending, ascending.views(), None), "{keys:?}");
        let hidden = ascending.iter().flatten().filter(|row| keys.contains(row)).count();
        assert_eq!(found.len() - found.count_set_bits(), hidden, "{keys:?}");
    }
    let tombstones = Tombstones::new(None, rows(40));
    assert_eq!(tombstones.keep_ascending(ascending.views()).map(|kept| kept.count_set_bits()), Some(8_002 - 200));
    let not_such = |rows: &[&str]| Tombstones::new(None, ["a"]).keep_ascending(StringViewArray::from(rows.to_vec()).views());
    let few = [["b"; 40].as_slice(), &["a"]].concat();
    assert_eq!(not_such(&few), None, "not in order");
    assert_eq!(not_such(&[["b"; 40].as_slice(), &["longer than a view holds"]].concat()), None);
    assert_eq!(not_such(&["a", "b"]), None, "many keys for so few rows");
    assert_eq!(not_such(&[]), None);
}

#[test]
fn only_text_and_integers_are_keys() {
    assert_eq!(key_text(&json!("A-1")).as_deref(), Some("A-1"));
    assert_eq!(key_text(&json!(-5)).as_deref(), Some("-5"));
    for none in [json!(null), json!(1.5), json!(1e3), json!(true), json!([1]), json!({"a": 1})] {
        assert_eq!(key_text(&none), None, "{none}");
    }
}

proptest! {
    #[test]
    fn a_row_is_hidden_exactly_if_its_text_form_is_a_key(
        keys in proptest::collection::vec(-50i64..50, 0..20),
        rows in proptest::collection::vec(proptest::option::of(-60i64..60), 0..100),
    ) {
        let texts: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let tombstones = Tombstones::new(None, texts.iter().map(String::as_str));
        let expected: Vec<bool> = rows.iter().map(|row| row.is_none_or(|row| !keys.contains(&row))).collect();
        let integers: ArrayRef = Arc::new(Int64Array::from(rows.clone()));
        prop_assert_eq!(&tombstones.keep_mask(&integers).values().iter().collect::<Vec<_>>(), &expected);
        let texts = || rows.iter().map(|row| row.map(|row| row.to_string()));
        let strings: ArrayRef = Arc::new(StringArray::from_iter(texts()));
        prop_assert_eq!(&tombstones.keep_mask(&strings).values().iter().collect::<Vec<_>>(), &expected);
        let views: ArrayRef = Arc::new(StringViewArray::from_iter(texts()));
        prop_assert_eq!(&tombstones.keep_mask(&views).values().iter().collect::<Vec<_>>(), &expected);
    }

    /// Texts about as long as what a view holds by itself, in order or not, slices of an array among them.
    #[test]
    fn views_hide_what_texts_hide(
        keys in proptest::collection::vec("[ab]{10,15}", 0..20),
        rows in proptest::collection::vec(proptest::option::of("[ab]{10,15}"), 1..200),
        from in 0usize..200,
        order in 0..3,
    ) {
        let mut rows: Vec<Option<&String>> = rows.iter().map(Option::as_ref).chain(keys.iter().map(Some)).collect();
        if order > 0 {
            rows.retain(|row| row.is_some_and(|row| row.len() <= 12 + usize::from(order > 1)));
            rows.sort_by_key(|row| row.map(|row| (row.len(), row.clone())));
            rows.push(rows.last().copied().flatten());
        }
        let from = from % rows.len();
        let tombstones = Tombstones::new(None, keys.iter().map(String::as_str));
        let views: ArrayRef = Arc::new(StringViewArray::from_iter(rows.iter().copied()).slice(from, rows.len() - from));
        let texts: ArrayRef = Arc::new(StringArray::from_iter(rows[from..].iter().copied()));
        prop_assert_eq!(tombstones.keep_mask(&views), tombstones.keep_mask(&texts));
    }
}
