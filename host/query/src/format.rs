//! Answers as bytes: JSON, NDJSON, CSV, Arrow IPC, Parquet.
//!
//! **Invariant**: bytes are written column by column straight from Arrow, one chunk for each piece of about 1 MiB. What goes wrong after the first byte
//! ends JSON and NDJSON with an `error` member and aborts the others; a cut at the row limit is marked, or refused where the format
//! has no place for a mark.
//!
//! | type | JSON, NDJSON | CSV |
//! |---|---|---|
//! | integers | all digits, as a number | digits |
//! | floats | shortest digits that read back the same; `"NaN"`, `"Infinity"`, `"-Infinity"` as text | the same |
//! | decimals | text, so that no digit is lost | digits |
//! | timestamps | RFC 3339 in UTC with `Z`; without a zone, the same without `Z` | the same |
//! | dates, times | `2026-01-31`, `13:05:00.25` | the same |
//! | binary | base64 | base64 |
//! | lists, structs, maps | arrays, objects | JSON text |
//! | NULL | member left out of an object, `null` in an array | empty; an empty text is `""` |

mod cell;
mod csv;
mod digits; // integers as text
mod ipc;
mod json;
mod parquet;
mod temporal;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};

pub use self::{digits::with_integers_as_text, ipc::Plain};
use crate::{Answer, Outcome, QueryError, functions::array_bytes};

/// Bytes of a batch that are written at once.
const PIECE_BYTES: u64 = 1024 * 1024;
/// Bytes of one row, which cannot be cut: a statement may name a large text as many columns.
const MAX_ROW_BYTES: u64 = 128 * 1024 * 1024;

/// How rows are written in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rows {
    /// `{"a": 1}`, NULLs left out.
    #[default]
    Objects,
    /// `[1, null]`, in the order of `columns`.
    Arrays,
}

/// What an answer is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `{"columns": [{"name", "type"}], "rows": […], "row_count": n}`, and `"truncated": true` after a cut.
    Json(Rows),
    /// One object a line.
    NdJson,
    /// RFC 4180 with a header line.
    Csv,
    /// The Arrow IPC stream format; text and binary views become plain text and binary.
    ArrowStream,
    /// One file with plain columns, zstd.
    Parquet,
}

impl Format {
    /// The media type of the bytes.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json(_) => "application/json",
            Self::NdJson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::ArrowStream => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

/// Writes the problem of an error as a JSON object; the gateway knows how.
pub type ProblemText = Arc<dyn Fn(&QueryError) -> String + Send + Sync>;

/// Chunks of an answer. An `Err` aborts the body: the format has no place to say it.
pub type Chunks = BoxStream<'static, Result<Bytes, QueryError>>;

/// Something that turns batches into bytes.
trait Encoder: Send {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), QueryError>;
    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), QueryError>;
    fn end(&mut self, outcome: &Outcome, out: &mut Vec<u8>) -> Result<(), QueryError>;
    /// Writes the error into the body, or gives it back where that cannot be: what has no end is no answer.
    fn fail(&mut self, error: QueryError, _problem: &ProblemText, _out: &mut Vec<u8>) -> Result<(), QueryError> {
        Err(error)
    }
}

/// Encodes an answer as it comes.
///
/// # Errors
/// [`QueryError::DuplicateColumn`] where rows are objects and two columns have one name.
pub fn encode(answer: Answer, format: Format, problem: ProblemText) -> Result<Chunks, QueryError> {
    let encoder: Box<dyn Encoder> = match format {
        Format::Json(rows) => {
            if rows == Rows::Objects {
                check_names(&answer.schema)?;
            }
            Box::new(json::Document::new(Arc::clone(&answer.schema), rows))
        }
        Format::NdJson => {
            check_names(&answer.schema)?;
            Box::new(json::Lines::new(&answer.schema))
        }
        Format::Csv => Box::new(csv::Csv::new(Arc::clone(&answer.schema))),
        Format::ArrowStream => Box::new(ipc::ArrowStream::new(&answer.schema)?),
        Format::Parquet => {
            check_names(&answer.schema)?;
            Box::new(parquet::File::new(&answer.schema)?)
        }
    };
    Ok(chunks(answer, encoder, problem))
}

fn chunks(answer: Answer, mut encoder: Box<dyn Encoder>, problem: ProblemText) -> Chunks {
    let Answer { mut batches, outcome, .. } = answer;
    let body = async_stream::stream! {
        let mut out = Vec::with_capacity(16 * 1024);
        if let Err(error) = encoder.begin(&mut out) {
            yield Err(error);
            return;
        }
        while let Some(batch) = batches.next().await {
            let pieces = match batch.and_then(pieces) {
                Ok(pieces) => pieces.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            for piece in pieces {
                let whole = out.len();
                let written = piece.and_then(|piece| encoder.batch(&piece, &mut out));
                if let Err(error) = written {
                    match encoder.fail(error, &problem, &mut out) {
                        Ok(()) => yield Ok(Bytes::from(out)),
                        Err(error) => {
                            // What came before the break is whole, and has waited long enough.
                            out.truncate(whole);
                            yield Ok(Bytes::from(out));
                            yield Err(error);
                        }
                    }
                    return;
                }
                // Small pieces share a chunk; the capacity for the next is what this one took.
                if out.len() >= 16 * 1024 {
                    let size = out.len();
                    yield Ok(Bytes::from(std::mem::replace(&mut out, Vec::with_capacity(size + size / 8))));
                }
            }
        }
        let whole = out.len();
        let ended = encoder.end(&outcome, &mut out);
        if ended.is_err() {
            out.truncate(whole);
        }
        yield Ok(Bytes::from(out));
        if let Err(error) = ended {
            yield Err(error);
        }
    };
    body.boxed()
}

/// Rows of about [`PIECE_BYTES`] each, in order: writing one takes a poll and a chunk.
///
/// # Errors
/// When one row is larger than [`MAX_ROW_BYTES`].
fn pieces(batch: RecordBatch) -> Result<Vec<RecordBatch>, QueryError> {
    let mut pieces = Vec::new();
    let mut waiting = vec![batch];
    while let Some(batch) = waiting.pop() {
        let bytes = batch.columns().iter().map(array_bytes).fold(0u64, u64::saturating_add);
        let half = batch.num_rows() / 2;
        if bytes > PIECE_BYTES && half > 0 {
            waiting.extend([batch.slice(half, batch.num_rows() - half), batch.slice(0, half)]);
        } else if bytes > MAX_ROW_BYTES {
            return Err(QueryError::Failed { operation: "a row of the result has more than 128 MiB" });
        } else {
            pieces.push(batch);
        }
    }
    Ok(pieces)
}

fn check_names(schema: &SchemaRef) -> Result<(), QueryError> {
    let mut seen = std::collections::HashSet::new();
    match schema.fields().iter().find(|field| !seen.insert(field.name().as_str())) {
        Some(field) => Err(QueryError::DuplicateColumn { column: field.name().clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
