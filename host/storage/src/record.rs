//! How a record is stored: JSON in an envelope that names its format.
//!
//! **Invariant**: a value is read only by code that knows its format; an unknown one is a named error, never a guess.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Result, StorageError};

/// A type that the metadata store keeps.
pub trait Record: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The collection's name: lower-case letters, digits and `_`. Never reused for another type.
    const COLLECTION: &'static str;
    /// The format that this release writes, from 1.
    const FORMAT: u32;

    /// Reads a value of an older format. Formats that are no longer supported are `None`.
    fn upgrade(_format: u32, _value: serde_json::Value) -> Option<Self> {
        None
    }
}

#[derive(Serialize)]
struct Written<'a, T> {
    format: u32,
    value: &'a T,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[derive(Deserialize)]
struct Read<T> {
    value: T,
}

pub(crate) fn encode<T: Record>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(&Written { format: T::FORMAT, value })
        .map_err(|source| StorageError::Encode { collection: T::COLLECTION, source })
}

pub(crate) fn decode<T: Record>(bytes: &[u8]) -> Result<T> {
    let decode = |error: serde_json::Error| StorageError::decode(T::COLLECTION, &error);
    let Format { format } = serde_json::from_slice(bytes).map_err(decode)?;
    if format == T::FORMAT {
        let Read { value } = serde_json::from_slice(bytes).map_err(decode)?;
        return Ok(value);
    }
    let unknown = || StorageError::Format { collection: T::COLLECTION, found: format, known: T::FORMAT };
    if format > T::FORMAT {
        return Err(unknown());
    }
    let Read { value } = serde_json::from_slice(bytes).map_err(decode)?;
    T::upgrade(format, value).ok_or_else(unknown)
}

/// `collection/key`: collections are told apart by the first slash, keys may hold more of them.
pub(crate) fn full_key<T: Record>(key: &str) -> String {
    format!("{}/{key}", T::COLLECTION)
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::{Record, decode, encode};
    use crate::StorageError;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        name: String,
        count: u64,
        tags: Vec<String>,
        note: Option<String>,
    }

    impl Record for Sample {
        const COLLECTION: &'static str = "sample";
        const FORMAT: u32 = 2;

        fn upgrade(format: u32, mut value: serde_json::Value) -> Option<Self> {
            if format != 1 {
                return None;
            }
            value.as_object_mut()?.insert("tags".into(), serde_json::json!([]));
            serde_json::from_value(value).ok()
        }
    }

    fn sample() -> Sample {
        Sample { name: "a/b \u{e9}".into(), count: u64::MAX, tags: vec!["x".into()], note: None }
    }

    #[test]
    fn the_stored_form_stays_as_it_is() {
        let golden = include_str!("../golden/record-1.json").trim_end();
        assert_eq!(String::from_utf8(encode(&sample()).unwrap()).unwrap(), golden);
        assert_eq!(decode::<Sample>(golden.as_bytes()).unwrap(), sample());
    }

    #[test]
    fn an_older_format_is_upgraded_and_a_newer_one_refused() {
        let old = br#"{"format":1,"value":{"name":"n","count":1,"note":null}}"#;
        assert_eq!(decode::<Sample>(old).unwrap().tags, Vec::<String>::new());
        for unknown in [r#"{"format":3,"value":{}}"#, r#"{"format":0,"value":{}}"#] {
            assert!(matches!(decode::<Sample>(unknown.as_bytes()), Err(StorageError::Format { known: 2, .. })), "{unknown}");
        }
    }

    #[test]
    fn damage_is_an_error_that_quotes_nothing() {
        let bytes = encode(&sample()).unwrap();
        for length in 0..bytes.len() {
            assert!(decode::<Sample>(&bytes[..length]).is_err(), "{length} bytes");
        }
        let error = decode::<Sample>(br#"{"format":2,"value":{"name":"n","count":"hidden","tags":[]}}"#).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hidden"), "{error:?}");
    }
}
