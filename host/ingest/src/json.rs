//! JSON and NDJSON: one pass to find the shape of all rows, one to read.
//!
//! Nested objects and lists stay structs and lists where all rows agree; where they do not, the column is text: strings as they
//! are, everything else as JSON. Strings stay text unless the dataset's column says otherwise; so do integers beyond 64 bits, which
//! no number would keep.

mod build; // values → arrays
mod documents; // bytes → rows
mod shape; // what all rows have in common
mod value; // a value with all its digits

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use lakehouse_tables::friendly;

use self::build::Builder;
use self::documents::{Document, Documents};
use self::shape::Members;
use self::value::{Object, Value};
use crate::delimited::{BATCH_BYTES, MAX_COLUMNS};
use crate::rows::Rows;
use crate::spool::Spool;
use crate::{IngestError, IngestOptions};

/// Members of all objects on all levels that inference holds, each counted when it is first seen; a name counts once more for
/// each 256 bytes.
const MAX_SHAPES: usize = 1 << 18;

/// Reads a whole file: one object a line if `lines`, else an array of objects or objects one after the other.
pub(crate) fn read(
    spool: &Spool,
    lines: bool,
    existing: Option<&Schema>,
    options: &IngestOptions,
    rows: &mut Rows,
) -> Result<(), IngestError> {
    let open = || Documents::open(spool.reader()?, lines, options.max_record_bytes);
    if spool.head()?.is_empty() {
        return Err(IngestError::Empty);
    }
    let schema = infer(open()?, lines, existing, rows)?;
    build(open()?, lines, &schema, options, rows)
}

/// A row, or why it is none.
fn parse(document: &Document<'_>) -> Result<Object, IngestError> {
    match Value::parse(document.bytes) {
        Ok(Value::Object(row)) => Ok(row),
        Ok(_) => Err(IngestError::NotAnObject { line: document.line }),
        Err(error) => {
            let lines_down = error.line().saturating_sub(1);
            let before = if lines_down == 0 { document.before } else { 0 };
            Err(IngestError::Malformed {
                line: document.line + lines_down as u64,
                column: before + error.column(),
                what: "this is not valid JSON",
            })
        }
    }
}

/// Whether the rows after this error can still be told apart.
fn concerns_one_row(error: &IngestError, lines: bool) -> bool {
    match error {
        IngestError::NotAnObject { .. } | IngestError::Value { .. } => true,
        IngestError::Malformed { .. } => lines,
        _ => false,
    }
}

fn infer(mut documents: Documents, lines: bool, existing: Option<&Schema>, rows: &Rows) -> Result<Schema, IngestError> {
    let mut members = Members::default();
    let mut shapes = 0;
    while let Some(document) = documents.read()? {
        match parse(&document) {
            Ok(row) => shapes += members.meet(&row),
            Err(error) if rows.skips() && concerns_one_row(&error, lines) => continue,
            Err(error) => return Err(error),
        }
        if members.len() > MAX_COLUMNS {
            return Err(IngestError::TooManyColumns { limit: MAX_COLUMNS });
        }
        if shapes > MAX_SHAPES {
            return Err(IngestError::TooManyMembers { limit: MAX_SHAPES });
        }
    }
    let field = |(name, data_type): (String, DataType)| -> FieldRef {
        match existing.and_then(|existing| existing.field_with_name(&name).ok()) {
            Some(known) => Arc::new(known.clone()),
            None => Arc::new(Field::new(name, data_type, true)),
        }
    };
    let mut fields: Vec<FieldRef> = members.into_types().map(field).collect();
    // Rows without members are rows all the same: a column that is there, of nothing but NULLs, tells how many.
    if let (true, Some(known)) = (fields.is_empty(), existing.and_then(|existing| existing.fields().first())) {
        fields.push(Arc::new(Field::new(known.name(), DataType::Null, true)));
    }
    Ok(Schema::new(fields))
}

fn build(
    mut documents: Documents,
    lines: bool,
    schema: &Schema,
    options: &IngestOptions,
    rows: &mut Rows,
) -> Result<(), IngestError> {
    let builder = |field: &FieldRef| {
        Builder::new(field.data_type()).ok_or_else(|| IngestError::ColumnKind {
            column: field.name().clone(),
            given: friendly(field.data_type()),
            format: "JSON",
        })
    };
    let mut builders = schema.fields().iter().map(builder).collect::<Result<Vec<_>, _>>()?;
    let schema = Arc::new(schema.clone());
    if !schema.fields().is_empty() {
        rows.send(RecordBatch::new_empty(Arc::clone(&schema)))?;
    }
    let (mut held, mut bytes) = (0, 0);
    let finish = |builders: &mut Vec<Builder>, held: usize, rows: &Rows| {
        let arrays = builders.iter_mut().map(Builder::finish).collect::<Result<_, _>>()?;
        let counted = arrow::array::RecordBatchOptions::new().with_row_count(Some(held));
        rows.send(RecordBatch::try_new_with_options(Arc::clone(&schema), arrays, &counted)?)
    };
    while let Some(document) = documents.read()? {
        let checked = parse(&document).and_then(|row| {
            let mut fields = schema.fields().iter().zip(&builders);
            let misfit = fields.find_map(|(field, builder)| Some((field, builder.misfit(row.get(field.name())?)?)));
            match misfit {
                None => Ok(row),
                Some((field, found)) => Err(IngestError::Value {
                    line: document.line,
                    column: field.name().clone(),
                    expected: friendly(field.data_type()),
                    found,
                }),
            }
        });
        let line = document.line;
        match checked {
            Ok(row) => {
                for (field, builder) in schema.fields().iter().zip(&mut builders) {
                    builder.append(row.get(field.name()).unwrap_or(&Value::Null));
                }
                held += 1;
                bytes += document.bytes.len();
            }
            Err(error) if concerns_one_row(&error, lines) => rows.reject(line, error)?,
            Err(error) => return Err(error),
        }
        if held == options.batch_rows || bytes >= BATCH_BYTES {
            finish(&mut builders, held, rows)?;
            (held, bytes) = (0, 0);
        }
    }
    if held > 0 && !schema.fields().is_empty() {
        finish(&mut builders, held, rows)?;
    }
    Ok(())
}
