//! The prefix, forth and back.

use lakehouse_sdk::{Column, Values, testing};
use proptest::prelude::*;

use super::*;

fn with(prefix: &str) -> IdPrefix {
    IdPrefix { prefix: prefix.into() }
}

#[test]
fn texts_and_integers_get_the_prefix_and_nulls_stay() {
    let mapped = testing::doc_ids(&with("CAND-"), [Some("000001"), None, Some("")]).unwrap();
    assert_eq!(mapped, [Some("CAND-000001".into()), None, Some("CAND-".into())]);
    let numbers = with("W500K-").to_doc_ids(Column::of(Values::Int64(vec![17, -3]))).unwrap();
    assert_eq!((numbers.get_text(0), numbers.get_text(1)), (Some("W500K-17"), Some("W500K--3")));
    assert_eq!(testing::doc_ids(&IdPrefix::open("{}").unwrap(), ["7"]).unwrap(), [Some("7".into())], "raw ids");
}

#[test]
fn an_id_without_the_prefix_is_refused_by_row_and_not_repeated() {
    assert_eq!(testing::row_keys(&with("W-"), ["W-1", "W-W-2"]).unwrap(), [Some("1".into()), Some("W-2".into())]);
    let refused = testing::row_keys(&with("W-"), ["W-1", "secret"]).unwrap_err();
    assert_eq!(refused, Error::at_row(1, "a document id begins with \"W-\""));
    let floats = with("W-").to_doc_ids(Column::of(Values::Float64(vec![1.0])));
    assert!(matches!(floats, Err(Error::Unsupported(_))));
}

proptest! {
    #[test]
    fn every_key_comes_back(prefix in "\\PC{0,6}", keys in prop::collection::vec(prop::option::of("\\PC{0,12}"), 0..20)) {
        let mapped = testing::doc_ids(&with(&prefix), keys.iter().map(Option::as_deref)).unwrap();
        let back = testing::row_keys(&with(&prefix), mapped.iter().map(Option::as_deref)).unwrap();
        prop_assert_eq!(back, keys);
    }

    #[test]
    fn integers_and_their_texts_are_one_key(prefix in "[A-Z]{0,4}-?", key in any::<i64>()) {
        let number = with(&prefix).to_doc_ids(Column::of(Values::Int64(vec![key]))).unwrap();
        let text = testing::doc_ids(&with(&prefix), [key.to_string().as_str()]).unwrap();
        prop_assert_eq!(number.get_text(0), text[0].as_deref());
    }
}
