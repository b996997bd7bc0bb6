//! The hash against the published vectors and against SHA-256 of the text form.

use lakehouse_sdk::{Column, Values, testing};
use proptest::prelude::*;

use super::*;

const SEVEN: &str = "7902699be42c8a8e46fbbb4501726517e86b22c56a189f7625a6da49081b2451";

fn plain(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn known_hashes_and_nulls() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let hashes = testing::redact(&Hash {}, [Some(""), Some("abc"), None, Some("7")]).unwrap();
    assert_eq!(hashes, [Some(empty.to_owned()), Some(abc.to_owned()), None, Some(SEVEN.to_owned())]);
}

#[test]
fn a_number_and_its_text_are_alike() {
    let hashed = testing::redact_column(&Hash {}, &Column::of(Values::Int64(vec![7, -12]))).unwrap();
    assert_eq!((hashed.get_text(0), hashed.get_text(1)), (Some(SEVEN), Some(plain("-12").as_str())));
    let hashed = testing::redact_column(&Hash {}, &Column::of(Values::Date32(vec![19_782]))).unwrap();
    assert_eq!(hashed.get_text(0), Some(plain("2024-02-29").as_str()));
}

#[test]
fn there_is_nothing_to_configure() {
    assert!(Hash::open("{}").is_ok());
    assert!(testing::config_error::<Hash>(r#"{"salt": "x"}"#).contains(r#"unknown key "salt""#));
}

proptest! {
    #[test]
    fn text_and_integers_hash_as_sha2_does(texts in proptest::collection::vec(proptest::option::of("\\PC{0,80}"), 0..20), number in any::<i64>()) {
        let hashes = testing::redact(&Hash {}, texts.iter().map(Option::as_deref)).unwrap();
        prop_assert_eq!(hashes, texts.iter().map(|text| text.as_deref().map(plain)).collect::<Vec<_>>());
        let hashed = testing::redact_column(&Hash {}, &Column::of(Values::Int64(vec![number]))).unwrap();
        prop_assert_eq!(hashed.get_text(0).map(str::to_owned), Some(plain(&number.to_string())));
    }
}
