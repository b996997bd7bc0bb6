//! Id mappers: as many rows, nulls that stay, keys that come back.

use super::broken;
use crate::{Column, Error, IdMapper};

/// Maps text keys to document ids, and checks what the host would check: each comes back.
///
/// # Errors
/// The rule's own, or [`Error::Internal`] naming the promise that the rule broke.
pub fn doc_ids<'k, M: IdMapper>(
    rule: &M,
    keys: impl IntoIterator<Item = impl Into<Option<&'k str>>>,
) -> Result<Vec<Option<String>>, Error> {
    let keys = Column::text(keys)?;
    let doc_ids = rule.to_doc_ids(keys.clone())?;
    let mapped = checked(&keys, &doc_ids)?;
    let back = rule.to_row_keys(doc_ids.clone())?;
    if checked(&doc_ids, &back)? != texts(&keys) {
        return Err(broken("a key comes back from its document id"));
    }
    Ok(mapped)
}

/// Maps document ids to keys, and checks rows and nulls.
///
/// # Errors
/// As [`doc_ids`].
pub fn row_keys<'d, M: IdMapper>(
    rule: &M,
    doc_ids: impl IntoIterator<Item = impl Into<Option<&'d str>>>,
) -> Result<Vec<Option<String>>, Error> {
    let doc_ids = Column::text(doc_ids)?;
    checked(&doc_ids, &rule.to_row_keys(doc_ids.clone())?)
}

fn checked(asked: &Column, answer: &Column) -> Result<Vec<Option<String>>, Error> {
    if answer.rows() != asked.rows() {
        return Err(broken("as many rows out as in"));
    }
    let texts = texts(answer);
    if (0..asked.rows()).any(|row| asked.is_null(row) != texts[row].is_none()) {
        return Err(broken("a null stays null, and a value a value that is text"));
    }
    Ok(texts)
}

fn texts(column: &Column) -> Vec<Option<String>> {
    (0..column.rows()).map(|row| column.get_text(row).map(str::to_owned)).collect()
}
