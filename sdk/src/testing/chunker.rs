//! Chunkers: sound spans, cut alike whatever the neighbours.

use super::broken;
use crate::{Chunker, Column, Error};

/// Cuts one document and checks what the host would check.
///
/// # Errors
/// The rule's own, or [`Error::Internal`] naming the promise that the rule broke.
pub fn chunk<'d, C: Chunker>(rule: &C, document: &'d str) -> Result<Vec<&'d str>, Error> {
    let spans = rule.chunk_column(Column::text([Some(document), None, Some("neighbour"), Some(document)])?)?;
    if spans.rows.len() != spans.starts.len() || spans.rows.len() != spans.ends.len() {
        return Err(broken("one start and one end for each span"));
    }
    if !spans.rows.is_sorted() || spans.rows.iter().any(|&row| row == 1 || row > 3) {
        return Err(broken("spans name documents that are there, in order"));
    }
    let of = |wanted: u32| {
        let all = spans.rows.iter().zip(spans.starts.iter().zip(&spans.ends));
        all.filter(move |&(&row, _)| row == wanted).map(|(_, (&start, &end))| (start as usize, end as usize)).collect::<Vec<_>>()
    };
    let (first, last) = (of(0), of(3));
    if first != last {
        return Err(broken("a document is cut alike whatever its neighbours"));
    }
    if !first.windows(2).all(|pair| pair[0] < pair[1]) {
        return Err(broken("within a document (start, end) increases from span to span"));
    }
    let sliced = first.into_iter().map(|(start, end)| document.get(start..end));
    sliced.map(|chunk| chunk.ok_or_else(|| broken("a span lies inside its document, between characters"))).collect()
}
