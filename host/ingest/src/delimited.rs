//! CSV and TSV: one pass to infer the types that nobody knows, one to read.
//!
//! **Invariant**: both passes see the same rows; a column's type holds for every row of the file.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use lakehouse_tables::friendly;
use lakehouse_types::ColumnName;

use crate::cell::Kinds;
use crate::column::{Cell, Column, Misfit, found};
use crate::records::{Record, Records, Unreadable};
use crate::rows::Rows;
use crate::spool::Spool;
use crate::{IngestError, IngestOptions};

/// Columns that a file may have.
pub(crate) const MAX_COLUMNS: usize = lakehouse_tables::MAX_COLUMNS;
/// Bytes of a batch, about, whatever its rows.
pub(crate) const BATCH_BYTES: usize = 16 << 20;

/// Reads a whole file.
pub(crate) fn read(
    spool: &Spool,
    delimiter: Option<u8>,
    existing: Option<&Schema>,
    options: &IngestOptions,
    rows: &mut Rows,
) -> Result<(), IngestError> {
    let open = || {
        let mut records = Records::new(spool.reader()?, delimiter.unwrap_or(b','), options.max_record_bytes);
        records.skip_mark()?;
        if delimiter.is_none() {
            records.sniff_delimiter()?;
        }
        Ok::<_, IngestError>(records)
    };
    let mut records = open()?;
    let header = records.read()?.ok_or(IngestError::Empty)??;
    let names = names(&header)?;
    let known: Vec<Option<DataType>> = names.iter().map(|name| known(existing, name)).collect();
    let types =
        if known.iter().all(Option::is_some) { known.into_iter().flatten().collect() } else { infer(&mut records, known, rows)? };
    let mut records = open()?;
    records.read()?;
    build(&mut records, &names, &types, options, rows)
}

fn known(existing: Option<&Schema>, name: &str) -> Option<DataType> {
    existing?.field_with_name(name).ok().map(|field| field.data_type().clone())
}

/// The header's names, trimmed; a name for each column that has none.
fn names(header: &Record<'_>) -> Result<Vec<String>, IngestError> {
    if header.len() > MAX_COLUMNS {
        return Err(IngestError::TooManyColumns { limit: MAX_COLUMNS });
    }
    let mut names = Vec::with_capacity(header.len());
    let mut seen = HashMap::with_capacity(header.len());
    for index in 0..header.len() {
        let illegal = || IngestError::HeaderName { column: index + 1 };
        let raw = String::from_utf8(header.field(index).into_owned()).map_err(|_| illegal())?;
        let name = match raw.trim() {
            "" => format!("column_{}", index + 1),
            name => name.to_owned(),
        };
        ColumnName::new(&name).map_err(|_| illegal())?;
        if let Some(first) = seen.insert(name.to_lowercase(), index + 1) {
            return Err(IngestError::DuplicateHeader { name, first, second: index + 1 });
        }
        names.push(name);
    }
    Ok(names)
}

/// The record, if it has as many fields as the header.
fn whole(record: Record<'_>, expected: usize) -> Result<Record<'_>, Unreadable> {
    let (line, found) = (record.line, record.len());
    if found == expected { Ok(record) } else { Err(Unreadable { line, error: IngestError::Ragged { line, expected, found } }) }
}

/// The types of all columns: the known ones, and for each other the narrowest that holds every row.
fn infer<R: std::io::Read>(
    records: &mut Records<R>,
    known: Vec<Option<DataType>>,
    rows: &Rows,
) -> Result<Vec<DataType>, IngestError> {
    let mut open: Vec<(usize, Kinds)> =
        known.iter().enumerate().filter(|(_, known)| known.is_none()).map(|(index, _)| (index, Kinds::ANY)).collect();
    while let Some(record) = records.read()? {
        let record = match record.and_then(|record| whole(record, known.len())) {
            Ok(record) => record,
            Err(_) if rows.skips() => continue,
            Err(unreadable) => return Err(unreadable.into()),
        };
        for (index, kinds) in &mut open {
            if *kinds != Kinds::TEXT {
                let text = record.field(*index);
                if !text.is_empty() {
                    *kinds = kinds.and(Kinds::of(&text));
                }
            }
        }
    }
    let mut types: Vec<DataType> = known.into_iter().map(|known| known.unwrap_or(DataType::Null)).collect();
    for (index, kinds) in open {
        types[index] = kinds.data_type();
    }
    Ok(types)
}

fn build<R: std::io::Read>(
    records: &mut Records<R>,
    names: &[String],
    types: &[DataType],
    options: &IngestOptions,
    rows: &mut Rows,
) -> Result<(), IngestError> {
    let column = |(name, data_type): (&String, &DataType)| {
        Column::new(data_type).ok_or_else(|| IngestError::ColumnKind {
            column: name.clone(),
            given: friendly(data_type),
            format: "a delimited file",
        })
    };
    let mut columns = names.iter().zip(types).map(column).collect::<Result<Vec<_>, _>>()?;
    let fields: Fields = names.iter().zip(types).map(|(name, data_type)| Field::new(name, data_type.clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    // An empty batch first: a file of nothing but a header makes an empty table.
    rows.send(RecordBatch::new_empty(Arc::clone(&schema)))?;
    let (mut held, mut bytes) = (0, 0);
    let finish = |columns: &mut Vec<Column>, rows: &Rows| {
        let arrays = columns.iter_mut().map(Column::finish).collect();
        rows.send(RecordBatch::try_new(Arc::clone(&schema), arrays)?)
    };
    let mut cells: Vec<Cell<'static>> = Vec::new();
    while let Some(record) = records.read()? {
        let record = match record.and_then(|record| whole(record, names.len())) {
            Ok(record) => record,
            Err(Unreadable { line, error }) => {
                rows.reject(line, error)?;
                continue;
            }
        };
        let line = record.line;
        let mut parsed = recycle(std::mem::take(&mut cells));
        let mut misfit = None;
        for (index, target) in types.iter().enumerate() {
            match Cell::parse(record.field(index), target) {
                Ok(cell) => parsed.push(cell),
                Err(why) => {
                    misfit = Some((index, why));
                    break;
                }
            }
        }
        if let Some((index, why)) = misfit {
            let column = names[index].clone();
            let error = match why {
                Misfit::Encoding => IngestError::NotText { line, column },
                Misfit::Type => {
                    let found = found(&record.field(index), &types[index]);
                    IngestError::Value { line, column, expected: friendly(&types[index]), found }
                }
            };
            rows.reject(line, error)?;
        } else {
            for (column, cell) in columns.iter_mut().zip(parsed.drain(..)) {
                bytes += cell.size();
                column.append(cell);
            }
            held += 1;
        }
        cells = recycle(parsed);
        if held == options.batch_rows || bytes >= BATCH_BYTES {
            finish(&mut columns, rows)?;
            (held, bytes) = (0, 0);
        }
    }
    if held > 0 {
        finish(&mut columns, rows)?;
    }
    Ok(())
}

/// The emptied vector for cells of another lifetime: its memory is used again.
fn recycle<'a>(mut cells: Vec<Cell<'_>>) -> Vec<Cell<'a>> {
    cells.clear();
    cells.into_iter().map(|_| Cell::Null).collect()
}
