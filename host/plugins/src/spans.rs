//! Where the chunks of documents lie.
//!
//! **Invariant**: whatever a chunker returned, a span here lies inside its document and between two characters, and spans are in
//! order: by row, then by start and end, none twice. Nothing is believed.

use arrow::array::{Array, StringArray};

use crate::{error::Lie, wit::exports::lakehouse::plugin::chunker::Spans as Answer};

/// Spans of one document.
const MAX_SPANS: usize = 1_000_000;

/// The spans of some documents, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spans(Vec<Span>);

/// A part of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Which document, counted from 0.
    pub row: u32,
    /// The first byte within the document.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Spans {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Span> {
        self.0.iter().copied()
    }

    /// The text of each span, in order.
    ///
    /// # Panics
    /// When `documents` are not those that were cut.
    pub fn texts(&self, documents: &StringArray) -> StringArray {
        let text = |span: &Span| &documents.value(span.row as usize)[span.start as usize..span.end as usize];
        StringArray::from_iter_values(self.0.iter().map(text))
    }

    /// What a chunker says of `documents`, checked.
    pub(crate) fn accept(answer: Answer, documents: &StringArray) -> Result<Self, Lie> {
        let Answer { rows, starts, ends } = answer;
        if rows.len() != starts.len() || rows.len() != ends.len() {
            return Err(Lie::SpanLists { rows: rows.len(), starts: starts.len(), ends: ends.len() });
        }
        let mut spans: Vec<Span> = Vec::with_capacity(rows.len());
        let mut of_this_row = 0;
        for ((row, start), end) in rows.into_iter().zip(starts).zip(ends) {
            let span = Span { row, start, end };
            check(span, documents)?;
            if let Some(last) = spans.last() {
                if *last >= span {
                    return Err(Lie::SpanOrder);
                }
                of_this_row = if last.row == row { of_this_row + 1 } else { 0 };
                if of_this_row >= MAX_SPANS {
                    return Err(Lie::SpanCount { limit: MAX_SPANS });
                }
            }
            spans.push(span);
        }
        Ok(Self(spans))
    }

    /// Adds the spans of the documents from `first_row` on.
    pub(crate) fn append(&mut self, next: Self, first_row: usize) {
        let moved = u32::try_from(first_row).expect("an Arrow text column of 32-bit offsets has fewer rows");
        self.0.extend(next.0.into_iter().map(|span| Span { row: span.row + moved, ..span }));
    }
}

fn check(Span { row, start, end }: Span, documents: &StringArray) -> Result<(), Lie> {
    let at = row as usize;
    if at >= documents.len() {
        return Err(Lie::SpanRow { documents: documents.len() });
    }
    if documents.is_null(at) {
        return Err(Lie::SpanOfNull);
    }
    if start > end {
        return Err(Lie::SpanBackwards);
    }
    let document = documents.value(at);
    if end as usize > document.len() {
        return Err(Lie::SpanOutside);
    }
    if !document.is_char_boundary(start as usize) || !document.is_char_boundary(end as usize) {
        return Err(Lie::SpanInsideCharacter);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accept(documents: &[Option<&str>], spans: &[(u32, u32, u32)]) -> Result<Spans, Lie> {
        let answer = Answer {
            rows: spans.iter().map(|span| span.0).collect(),
            starts: spans.iter().map(|span| span.1).collect(),
            ends: spans.iter().map(|span| span.2).collect(),
        };
        Spans::accept(answer, &StringArray::from(documents.to_vec()))
    }

    #[test]
    fn honest_spans_are_taken_and_slice_their_documents() {
        let documents = [Some("one é"), None, Some(""), Some("two")];
        let spans = accept(&documents, &[(0, 0, 3), (0, 0, 4), (0, 4, 6), (2, 0, 0), (3, 1, 3)]).unwrap();
        let texts = spans.texts(&StringArray::from(documents.to_vec()));
        assert_eq!(texts.iter().flatten().collect::<Vec<_>>(), ["one", "one ", "é", "", "wo"]);
        assert!(accept(&documents, &[]).unwrap().is_empty());
    }

    #[test]
    fn each_lie_is_named() {
        let documents = [Some("one é"), None, Some("two")];
        let lie = |spans: &[(u32, u32, u32)]| accept(&documents, spans).unwrap_err();
        assert_eq!(lie(&[(3, 0, 0)]), Lie::SpanRow { documents: 3 });
        assert_eq!(lie(&[(1, 0, 0)]), Lie::SpanOfNull);
        assert_eq!(lie(&[(0, 2, 1)]), Lie::SpanBackwards);
        assert_eq!(lie(&[(0, 0, 7)]), Lie::SpanOutside);
        assert_eq!(lie(&[(0, u32::MAX, u32::MAX)]), Lie::SpanOutside);
        assert_eq!(lie(&[(0, 0, 5)]), Lie::SpanInsideCharacter);
        assert_eq!(lie(&[(0, 5, 6)]), Lie::SpanInsideCharacter);
        assert_eq!(lie(&[(2, 0, 1), (0, 0, 1)]), Lie::SpanOrder);
        assert_eq!(lie(&[(0, 1, 2), (0, 0, 3)]), Lie::SpanOrder);
        assert_eq!(lie(&[(0, 1, 2), (0, 1, 2)]), Lie::SpanOrder);
        let uneven = Answer { rows: vec![0], starts: vec![], ends: vec![0, 1] };
        let lie = Spans::accept(uneven, &StringArray::from(vec!["a"])).unwrap_err();
        assert_eq!(lie, Lie::SpanLists { rows: 1, starts: 0, ends: 2 });
    }

    #[test]
    fn the_number_of_spans_is_bounded() {
        let document = "x".repeat(2000);
        let spans: Vec<_> = (0..1001).flat_map(|start| (0..1000).map(move |length| (0, start, start + length))).collect();
        assert!(accept(&[Some(&document)], &spans[..MAX_SPANS]).is_ok());
        assert_eq!(accept(&[Some(&document)], &spans[..=MAX_SPANS]).unwrap_err(), Lie::SpanCount { limit: MAX_SPANS });
    }

    proptest! {
        /// Whatever a guest returns, it is refused or every span can be sliced.
        #[test]
        fn what_is_taken_can_be_sliced(
            documents in prop::collection::vec(prop::option::weighted(0.8, "[aé日]{0,6}"), 0..4),
            mut spans in prop::collection::vec((0_u32..4, 0_u32..14, 0_u32..14), 0..8),
            sorted in any::<bool>(),
        ) {
            if sorted {
                spans.iter_mut().for_each(|span| if span.1 > span.2 { std::mem::swap(&mut span.1, &mut span.2) });
                spans.sort_unstable();
                spans.dedup();
            }
            let documents: Vec<Option<&str>> = documents.iter().map(Option::as_deref).collect();
            if let Ok(taken) = accept(&documents, &spans) {
                prop_assert_eq!(taken.len(), spans.len());
                let texts = taken.texts(&StringArray::from(documents.clone()));
                for (span, text) in taken.iter().zip(texts.iter().flatten()) {
                    prop_assert_eq!(&documents[span.row as usize].unwrap()[span.start as usize..span.end as usize], text);
                }
            }
        }
    }
}
