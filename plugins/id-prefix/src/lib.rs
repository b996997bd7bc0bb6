//! Puts a prefix before each row key: with `W-`, key 17 is document `W-17`.
//!
//! **Invariant**: a document id without the prefix is refused, never taken for a key.

#[cfg(test)]
mod tests;

use lakehouse_sdk::{Config, Error, IdMapper, TextOut, export_id_mapper};

/// Makes document ids of row keys by putting a prefix before them.
#[derive(Clone, Debug, Config)]
pub struct IdPrefix {
    /// What stands before the key; empty makes the key the document's id.
    #[config(default = "".into())]
    pub prefix: String,
}

impl IdMapper for IdPrefix {
    fn doc_id(&self, key: &str, doc_id: &mut TextOut<'_>) -> Result<(), Error> {
        doc_id.push_str(&self.prefix);
        doc_id.push_str(key);
        Ok(())
    }

    fn row_key(&self, doc_id: &str, key: &mut TextOut<'_>) -> Result<(), Error> {
        // The prefix is configuration; the id is data, and is not repeated.
        let refusal = || Error::input(format!("a document id begins with {:?}", self.prefix));
        key.push_str(doc_id.strip_prefix(self.prefix.as_str()).ok_or_else(refusal)?);
        Ok(())
    }
}

export_id_mapper!(IdPrefix);
