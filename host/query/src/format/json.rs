//! JSON documents and JSON lines.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use lakehouse_tables::friendly;

use super::{
    Encoder, ProblemText, Rows,
    cell::{Column, member_name},
};
use crate::{Outcome, QueryError};

/// `{"columns": […], "rows": […], "row_count": n}`.
pub(super) struct Document {
    schema: SchemaRef,
    names: Vec<Vec<u8>>,
    rows: Rows,
    count: u64,
}

impl Document {
    pub(super) fn new(schema: SchemaRef, rows: Rows) -> Self {
        Self { names: names(&schema), schema, rows, count: 0 }
    }
}

impl Encoder for Document {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        out.extend_from_slice(b"{\"columns\":[");
        for (at, field) in self.schema.fields().iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"{\"name\":" } else { b",{\"name\":" });
            escape(field.name().as_bytes(), out);
            out.extend_from_slice(b",\"type\":");
            escape(friendly(field.data_type()).as_bytes(), out);
            out.push(b'}');
        }
        out.extend_from_slice(b"],\"rows\":[");
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), QueryError> {
        let columns = columns(batch)?;
        for row in 0..batch.num_rows() {
            if self.count > 0 {
                out.push(b',');
            }
            self.count += 1;
            match self.rows {
                Rows::Objects => object(&self.names, &columns, row, out),
                Rows::Arrays => array(&columns, row, out),
            }
        }
        Ok(())
    }

    fn end(&mut self, outcome: &Outcome, out: &mut Vec<u8>) -> Result<(), QueryError> {
        out.extend_from_slice(format!("],\"row_count\":{}", self.count).as_bytes());
        if outcome.truncated() {
            out.extend_from_slice(b",\"truncated\":true");
        }
        if let Some(next) = outcome.next() {
            out.extend_from_slice(format!(",\"next\":\"{next}\"").as_bytes());
        }
        out.push(b'}');
        Ok(())
    }

    fn fail(&mut self, error: QueryError, problem: &ProblemText, out: &mut Vec<u8>) -> Result<(), QueryError> {
        out.extend_from_slice(format!("],\"row_count\":{},\"error\":{}}}", self.count, problem(&error)).as_bytes());
        Ok(())
    }
}

/// One object a line; a cut or an error is a last line of its own, `{"truncated":true}` or `{"error":{…}}`.
pub(super) struct Lines {
    names: Vec<Vec<u8>>,
}

impl Lines {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        Self { names: names(schema) }
    }
}

impl Encoder for Lines {
    fn begin(&mut self, _out: &mut Vec<u8>) -> Result<(), QueryError> {
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), QueryError> {
        let columns = columns(batch)?;
        for row in 0..batch.num_rows() {
            object(&self.names, &columns, row, out);
            out.push(b'\n');
        }
        Ok(())
    }

    fn end(&mut self, outcome: &Outcome, out: &mut Vec<u8>) -> Result<(), QueryError> {
        if outcome.truncated() {
            out.extend_from_slice(b"{\"truncated\":true}\n");
        }
        Ok(())
    }

    fn fail(&mut self, error: QueryError, problem: &ProblemText, out: &mut Vec<u8>) -> Result<(), QueryError> {
        out.extend_from_slice(format!("{{\"error\":{}}}\n", problem(&error)).as_bytes());
        Ok(())
    }
}

fn names(schema: &SchemaRef) -> Vec<Vec<u8>> {
    schema.fields().iter().map(|field| member_name(field.name())).collect()
}

pub(super) fn columns(batch: &RecordBatch) -> Result<Vec<Column<'_>>, QueryError> {
    batch.columns().iter().map(Column::new).collect()
}

/// `{"a":1}` without the members that are NULL.
pub(super) fn object(names: &[Vec<u8>], columns: &[Column<'_>], row: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut first = true;
    for (name, column) in names.iter().zip(columns) {
        if column.is_null(row) {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        out.extend_from_slice(name);
        column.json(row, out);
    }
    out.push(b'}');
}

fn array(columns: &[Column<'_>], row: usize, out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, column) in columns.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if column.is_null(row) { out.extend_from_slice(b"null") } else { column.json(row, out) }
    }
    out.push(b']');
}

/// What a byte needs in a JSON text: 0 nothing, `u` a number, else the letter after the backslash.
const ESCAPES: [u8; 256] = {
    let mut table = [0u8; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = b'u';
        control += 1;
    }
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table[b'\n' as usize] = b'n';
    table[b'\r' as usize] = b'r';
    table[b'\t' as usize] = b't';
    table[0x08] = b'b';
    table[0x0c] = b'f';
    table
};

/// UTF-8 as a JSON text in quotes; runs that need no escape are copied whole.
pub(super) fn escape(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut start = 0;
    for (at, byte) in text.iter().enumerate() {
        let escape = ESCAPES[usize::from(*byte)];
        if escape == 0 {
            continue;
        }
        out.extend_from_slice(&text[start..at]);
        out.push(b'\\');
        out.push(escape);
        if escape == b'u' {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(&[b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        start = at + 1;
    }
    out.extend_from_slice(&text[start..]);
    out.push(b'"');
}
