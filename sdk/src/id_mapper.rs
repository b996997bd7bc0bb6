//! Rules that make document ids of row keys, and back.
//!
//! **Invariant**: a null stays null and everything else is a value, in both directions; what a rule cannot map is an error that
//! names its row.

use crate::{Column, Config, Error, TextMut, TextOut, Values, config};

/// A rule that maps keys of rows to ids of documents and back: `row_key(doc_id(key)) = key` for every key.
///
/// Keys are text or integers; a rule sees them in text form, so that 7 and `7` are one key.
///
/// ```
/// use lakehouse_sdk::{Config, Error, IdMapper, TextOut, export_id_mapper, testing};
///
/// /// `7` becomes `#7`.
/// #[derive(Config)]
/// struct Hashed {}
///
/// impl IdMapper for Hashed {
///     fn doc_id(&self, key: &str, doc_id: &mut TextOut<'_>) -> Result<(), Error> {
///         doc_id.push('#');
///         doc_id.push_str(key);
///         Ok(())
///     }
///
///     fn row_key(&self, doc_id: &str, key: &mut TextOut<'_>) -> Result<(), Error> {
///         key.push_str(doc_id.strip_prefix('#').ok_or_else(|| Error::input("an id begins with `#`"))?);
///         Ok(())
///     }
/// }
///
/// export_id_mapper!(Hashed);
///
/// # fn main() -> Result<(), Error> {
/// assert_eq!(testing::doc_ids(&Hashed::open("{}")?, ["7"])?, [Some("#7".into())]);
/// # Ok(())
/// # }
/// ```
pub trait IdMapper: Config {
    /// Writes the document id of one key.
    ///
    /// # Errors
    /// Any [`Error`] fails the request.
    fn doc_id(&self, key: &str, doc_id: &mut TextOut<'_>) -> Result<(), Error>;

    /// Writes the key of one document id.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for what is no document id of this rule's.
    fn row_key(&self, doc_id: &str, key: &mut TextOut<'_>) -> Result<(), Error>;

    /// A column of keys. Without an override, [`IdMapper::doc_id`] for each.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for columns that are neither text nor integers, else the rule's own.
    fn to_doc_ids(&self, keys: Column) -> Result<Column, Error> {
        if !matches!(keys.values, Values::Text(_) | Values::Int64(_)) {
            return Err(Error::Unsupported(format!("a column of {}; keys are text or int64", keys.values.type_name())));
        }
        mapped(keys.into_text()?, |key, out| self.doc_id(key, out))
    }

    /// A column of document ids. Without an override, [`IdMapper::row_key`] for each.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for columns that are not text, else the rule's own.
    fn to_row_keys(&self, doc_ids: Column) -> Result<Column, Error> {
        if !matches!(doc_ids.values, Values::Text(_)) {
            return Err(Error::Unsupported(format!("a column of {}; document ids are text", doc_ids.values.type_name())));
        }
        mapped(doc_ids.into_text()?, |doc_id, out| self.row_key(doc_id, out))
    }

    config::opening!();
}

fn mapped(mut values: TextMut, map: impl Fn(&str, &mut TextOut<'_>) -> Result<(), Error>) -> Result<Column, Error> {
    values.try_rewrite(map)?;
    Ok(values.into_column())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConfigError, Value, schema::Schema};

    /// Letters double, and only even lengths come back.
    #[derive(Debug)]
    struct Twice;

    impl Config for Twice {
        const SCHEMA: Schema = Schema::Any;

        fn from_value(_: Value) -> Result<Self, ConfigError> {
            Ok(Self)
        }
    }

    impl IdMapper for Twice {
        fn doc_id(&self, key: &str, doc_id: &mut TextOut<'_>) -> Result<(), Error> {
            doc_id.push_str(key);
            doc_id.push_str(key);
            Ok(())
        }

        fn row_key(&self, doc_id: &str, key: &mut TextOut<'_>) -> Result<(), Error> {
            let half = doc_id.get(..doc_id.len() / 2).filter(|half| doc_id.ends_with(half) && doc_id.len() == 2 * half.len());
            key.push_str(half.ok_or_else(|| Error::input("not twice the same"))?);
            Ok(())
        }
    }

    #[test]
    fn integers_and_texts_map_alike_and_nulls_stay() {
        let texts = Column::text([Some("7"), None, Some("é")]).unwrap();
        let mapped = Twice.to_doc_ids(texts).unwrap();
        assert_eq!((mapped.get_text(0), mapped.get_text(1), mapped.get_text(2)), (Some("77"), None, Some("éé")));
        let numbers = Twice.to_doc_ids(Column::of(Values::Int64(vec![7]))).unwrap();
        assert_eq!(numbers.get_text(0), Some("77"));
        let back = Twice.to_row_keys(mapped).unwrap();
        assert_eq!((back.get_text(0), back.is_null(1), back.get_text(2)), (Some("7"), true, Some("é")));
    }

    #[test]
    fn what_does_not_map_is_named_by_its_row() {
        let ids = Column::text(["aa", "ab"]).unwrap();
        assert_eq!(Twice.to_row_keys(ids), Err(Error::at_row(1, "not twice the same")));
        let floats = Column::of(Values::Float64(vec![1.0]));
        assert_eq!(
            Twice.to_doc_ids(floats.clone()),
            Err(Error::Unsupported("a column of float64; keys are text or int64".into()))
        );
        assert!(matches!(Twice.to_row_keys(floats), Err(Error::Unsupported(_))));
    }
}
