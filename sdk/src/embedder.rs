//! Rules that compute embeddings.
//!
//! **Invariant**: as many vectors as texts, each as long as [`Embedder::dimensions`] says.

use crate::{Column, Config, Error, Values, config};

/// A model that turns texts into vectors inside the sandbox.
///
/// A model is deterministic: equal texts have equal vectors, whatever their neighbours.
///
/// ```
/// use lakehouse_sdk::{Config, Embedder, Error, export_embedder, testing};
///
/// /// How many words, how many bytes.
/// #[derive(Config)]
/// struct Sizes {}
///
/// impl Embedder for Sizes {
///     fn dimensions(&self) -> u32 {
///         2
///     }
///
///     fn embed_text(&self, text: &str, vector: &mut [f32]) -> Result<(), Error> {
///         vector[0] = text.split_whitespace().count() as f32;
///         vector[1] = text.len() as f32;
///         Ok(())
///     }
/// }
///
/// export_embedder!(Sizes);
///
/// # fn main() -> Result<(), Error> {
/// assert_eq!(testing::embed(&Sizes::open("{}")?, ["two words", ""])?, [[2.0, 9.0], [0.0, 0.0]]);
/// # Ok(())
/// # }
/// ```
pub trait Embedder: Config {
    /// Numbers in a vector, 1 to 4096; always the same for one configuration.
    fn dimensions(&self) -> u32;

    /// Writes the vector of one text; `vector` comes filled with zeros.
    ///
    /// # Errors
    /// Any [`Error`] fails the request.
    fn embed_text(&self, text: &str, vector: &mut [f32]) -> Result<(), Error>;

    /// The vectors of a column of texts, one after the other. Without an override, [`Embedder::embed_text`] for each.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a column that is not text, [`Error::InvalidInput`] for a null, else the model's own.
    fn embed_column(&self, texts: Column) -> Result<Vec<f32>, Error> {
        let Values::Text(_) = texts.values else {
            return Err(Error::Unsupported(format!("a column of {}; only text is embedded", texts.values.type_name())));
        };
        let texts = texts.into_text()?;
        let dimensions = self.dimensions() as usize;
        if dimensions == 0 {
            return Err(Error::Internal("a vector has at least one number".into()));
        }
        let mut vectors = vec![0.0; texts.rows() * dimensions];
        for (row, (text, vector)) in texts.iter().zip(vectors.chunks_exact_mut(dimensions)).enumerate() {
            let text = text.ok_or_else(|| Error::at_row(row, "a null has no embedding"))?;
            self.embed_text(text, vector).map_err(|error| error.in_row(row))?;
        }
        Ok(vectors)
    }

    config::opening!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConfigError, Value, schema::Schema};

    /// The length, then zeros.
    #[derive(Debug)]
    struct Length(u32);

    impl Config for Length {
        const SCHEMA: Schema = Schema::Any;

        fn from_value(_: Value) -> Result<Self, ConfigError> {
            Ok(Self(1))
        }
    }

    impl Embedder for Length {
        fn dimensions(&self) -> u32 {
            self.0
        }

        fn embed_text(&self, text: &str, vector: &mut [f32]) -> Result<(), Error> {
            if text == "refused" {
                return Err(Error::input("refused"));
            }
            vector[0] = text.len() as f32;
            Ok(())
        }
    }

    #[test]
    fn vectors_lie_one_after_the_other() {
        let texts = Column::text(["abc", "", "é"]).unwrap();
        assert_eq!(Length(2).embed_column(texts).unwrap(), [3.0, 0.0, 0.0, 0.0, 2.0, 0.0]);
        assert_eq!(Length(2).embed_column(Column::text(Vec::<&str>::new()).unwrap()).unwrap(), [0.0; 0]);
    }

    #[test]
    fn what_has_no_vector_is_named() {
        let texts = Column::text([Some("a"), None]).unwrap();
        assert_eq!(Length(1).embed_column(texts), Err(Error::at_row(1, "a null has no embedding")));
        let texts = Column::text(["a", "b", "refused"]).unwrap();
        assert_eq!(Length(1).embed_column(texts), Err(Error::at_row(2, "refused")));
        assert!(matches!(Length(1).embed_column(Column::of(Values::Int64(vec![1]))), Err(Error::Unsupported(_))));
        assert!(matches!(Length(0).embed_column(Column::text(["a"]).unwrap()), Err(Error::Internal(_))));
    }
}
