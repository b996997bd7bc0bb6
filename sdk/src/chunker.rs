//! Rules that cut documents into pieces.
//!
//! **Invariant**: what [`Chunks`] collects is what the host accepts: spans inside their document, on character boundaries, in
//! order. A cut that breaks this is the rule's error, named before the host sees it.

use crate::{Column, Config, Error, Values, config};

/// A rule that cuts documents. It answers with places in the document, never with text of its own.
///
/// A rule is deterministic, and cuts a document alike whatever its neighbours. Spans may overlap; what no span covers is not found.
///
/// ```
/// use lakehouse_sdk::{Chunker, Chunks, Config, Error, export_chunker, testing};
///
/// /// A chunk for each line.
/// #[derive(Config)]
/// struct Lines {}
///
/// impl Chunker for Lines {
///     fn chunk_document(&self, document: &str, chunks: &mut Chunks<'_>) -> Result<(), Error> {
///         let mut start = 0;
///         for line in document.split_inclusive('\n') {
///             chunks.push(start, start + line.trim_end().len())?;
///             start += line.len();
///         }
///         Ok(())
///     }
/// }
///
/// export_chunker!(Lines);
///
/// # fn main() -> Result<(), Error> {
/// assert_eq!(testing::chunk(&Lines::open("{}")?, "one\ntwo")?, ["one", "two"]);
/// # Ok(())
/// # }
/// ```
pub trait Chunker: Config {
    /// One document: pushes the spans of its chunks, in order.
    ///
    /// # Errors
    /// Any [`Error`] fails the request; no chunk leaves.
    fn chunk_document(&self, document: &str, chunks: &mut Chunks<'_>) -> Result<(), Error>;

    /// A column of documents. Without an override, [`Chunker::chunk_document`] for each that is not null.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a column that is not text, else the rule's own.
    fn chunk_column(&self, documents: Column) -> Result<Spans, Error> {
        let Values::Text(_) = documents.values else {
            return Err(Error::Unsupported(format!("a column of {}; documents are text", documents.values.type_name())));
        };
        let documents = documents.into_text()?;
        let mut spans = Spans::default();
        for (row, document) in documents.iter().enumerate() {
            let Some(document) = document else { continue };
            let mut chunks = Chunks::of(row, document, &mut spans)?;
            self.chunk_document(document, &mut chunks).map_err(|error| error.in_row(row))?;
        }
        Ok(spans)
    }

    config::opening!();
}

/// Where chunks lie: three lists of one length, an entry for each span. Rows count from 0 within the call; starts and ends are
/// bytes within their document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    pub rows: Vec<u32>,
    pub starts: Vec<u32>,
    pub ends: Vec<u32>,
}

/// Collects the spans of one document.
#[derive(Debug)]
pub struct Chunks<'c> {
    row: u32,
    document: &'c str,
    spans: &'c mut Spans,
    /// The span before, within this document.
    last: Option<(u32, u32)>,
}

impl<'c> Chunks<'c> {
    fn of(row: usize, document: &'c str, spans: &'c mut Spans) -> Result<Self, Error> {
        let row = u32::try_from(row).map_err(|_| Error::input("more than 4,294,967,295 documents in one call"))?;
        Ok(Self { row, document, spans, last: None })
    }

    /// Adds the chunk from byte `start` to before byte `end`.
    ///
    /// # Errors
    /// [`Error::Internal`] when this is no span of the document, or does not lie behind the one before.
    pub fn push(&mut self, start: usize, end: usize) -> Result<(), Error> {
        if self.document.get(start..end).is_none() {
            return Err(Error::Internal(format!("{start}..{end} is no span of a document of {} bytes", self.document.len())));
        }
        let span = match (u32::try_from(start), u32::try_from(end)) {
            (Ok(start), Ok(end)) => (start, end),
            _ => return Err(Error::input("more than 4 GiB in one document")),
        };
        if self.last.is_some_and(|last| last >= span) {
            return Err(Error::Internal(format!("{start}..{end} does not lie behind the span before it")));
        }
        self.last = Some(span);
        self.spans.rows.push(self.row);
        self.spans.starts.push(span.0);
        self.spans.ends.push(span.1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConfigError, Value, schema::Schema};

    /// Pushes what it is told to.
    #[derive(Debug)]
    struct Told(Vec<(usize, usize)>);

    impl Config for Told {
        const SCHEMA: Schema = Schema::Any;

        fn from_value(_: Value) -> Result<Self, ConfigError> {
            Ok(Self(Vec::new()))
        }
    }

    impl Chunker for Told {
        fn chunk_document(&self, _: &str, chunks: &mut Chunks<'_>) -> Result<(), Error> {
            self.0.iter().try_for_each(|&(start, end)| chunks.push(start, end))
        }
    }

    #[test]
    fn spans_name_their_rows_and_nulls_have_none() {
        let documents = Column::text([Some("aé"), None, Some("bc")]).unwrap();
        let spans = Told(vec![(0, 1), (1, 1), (1, 2)]).chunk_column(documents.clone());
        assert_eq!(spans, Err(Error::Internal("1..2 is no span of a document of 3 bytes".into())), "inside a character");
        let spans = Told(vec![(0, 1), (0, 0)]).chunk_column(documents.clone());
        assert_eq!(spans, Err(Error::Internal("0..0 does not lie behind the span before it".into())));
        let spans = Told(vec![(0, 1), (1, 1)]).chunk_column(documents).unwrap();
        assert_eq!(spans, Spans { rows: vec![0, 0, 2, 2], starts: vec![0, 1, 0, 1], ends: vec![1, 1, 1, 1] });
    }

    #[test]
    fn what_is_no_text_is_not_cut() {
        let numbers = Column::of(Values::Int64(vec![1]));
        assert_eq!(Told(vec![]).chunk_column(numbers), Err(Error::Unsupported("a column of int64; documents are text".into())));
    }
}
