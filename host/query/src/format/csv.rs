//! CSV as RFC 4180 has it. NULL is nothing between commas, an empty text is `""`.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::{Encoder, json::columns};
use crate::{Outcome, QueryError};

pub(super) struct Csv {
    schema: SchemaRef,
    rows: u64,
    value: Vec<u8>,
}

impl Csv {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { schema, rows: 0, value: Vec::new() }
    }
}

impl Encoder for Csv {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        for (at, field) in self.schema.fields().iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            quote(field.name().as_bytes(), out);
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), QueryError> {
        let columns = columns(batch)?;
        for row in 0..batch.num_rows() {
            for (at, column) in columns.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                if !column.is_null(row) {
                    self.value.clear();
                    column.plain(row, &mut self.value);
                    quote(&self.value, out);
                }
            }
            out.extend_from_slice(b"\r\n");
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn end(&mut self, outcome: &Outcome, _out: &mut Vec<u8>) -> Result<(), QueryError> {
        if outcome.truncated() { Err(QueryError::TooManyRows { limit: self.rows }) } else { Ok(()) }
    }
}

fn quote(value: &[u8], out: &mut Vec<u8>) {
    let plain = !value.is_empty()
        && value.first() != Some(&b' ')
        && value.last() != Some(&b' ')
        && !value.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'));
    if plain {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    for byte in value {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}
