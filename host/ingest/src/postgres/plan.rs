//! A statement that can only be a SELECT, and its columns.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Fields, Schema, SchemaRef};
use lakehouse_tables::friendly;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Row, Statement};

use super::column::Column;
use super::kind::Kind;
use super::session::Session;
use super::{Selection, SourceError};
use crate::IngestError;

/// What is read, and what becomes of it.
pub(super) struct Plan {
    pub(super) statement: Statement,
    pub(super) schema: SchemaRef,
    kinds: Vec<Kind>,
}

impl Plan {
    /// Has the database look at the caller's own text first, so that it must be whole by itself, and then inside a SELECT of ours:
    /// where that is legal it reads, whatever it is.
    pub(super) async fn of(session: &mut Session, selection: &Selection) -> Result<Self, SourceError> {
        let text = selection.statement();
        let asked = session.prepare(&text).await.map_err(|refusal| match selection {
            Selection::Table(_) => refusal.without_position(),
            Selection::Query(_) => refusal,
        })?;
        if !asked.params().is_empty() {
            return Err(SourceError::Parameters);
        }
        if asked.columns().is_empty() {
            return Err(SourceError::NoColumns);
        }
        let (mut kinds, mut fields, mut outputs, mut names) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (index, column) in asked.columns().iter().enumerate() {
            let unreadable =
                || SourceError::ColumnType { column: column.name().to_owned(), given: column.type_().name().to_owned() };
            let (kind, cast) = Kind::of(column.type_(), column.type_modifier()).ok_or_else(unreadable)?;
            outputs.push(format!("q.c{index}{}", cast.suffix()));
            names.push(format!("c{index}"));
            fields.push(Field::new(column.name(), kind.data_type(), true));
            kinds.push(kind);
        }
        // The line end closes a comment that ends the text.
        let wrapped = format!("SELECT {} FROM ({text}\n) AS q({})", outputs.join(", "), names.join(", "));
        let statement = session.prepare(&wrapped).await.map_err(|refusal| match refusal {
            SourceError::Refused { state, .. } if matches!(state.as_str(), "42601" | "0A000") => SourceError::NotASelect,
            refusal => refusal.without_position(),
        })?;
        Ok(Self { statement, schema: Arc::new(Schema::new(Fields::from(fields))), kinds })
    }

    pub(super) fn batch(&self) -> Batch<'_> {
        Batch { plan: self, columns: self.kinds.iter().map(Column::new).collect(), rows: 0, bytes: 0, before: 0 }
    }
}

/// Rows on their way into a batch.
pub(super) struct Batch<'p> {
    plan: &'p Plan,
    columns: Vec<Column>,
    pub(super) rows: usize,
    pub(super) bytes: usize,
    /// Rows of the batches before.
    before: u64,
}

impl Batch<'_> {
    pub(super) fn append(&mut self, row: &Row) -> Result<(), SourceError> {
        for (index, column) in self.columns.iter_mut().enumerate() {
            let value = row.try_get::<_, Option<Raw<'_>>>(index).ok().map(|raw| raw.map(|raw| raw.0));
            let appended = value.map_or(Err("missing"), |value| column.append(value));
            appended.map_err(|found| {
                let field = self.plan.schema.field(index);
                let (row, column) = (self.before + self.rows as u64 + 1, field.name().clone());
                SourceError::Value { row, column, expected: friendly(field.data_type()), found }
            })?;
        }
        self.rows += 1;
        self.bytes += row.raw_size_bytes();
        Ok(())
    }

    /// The batch; the next one begins.
    pub(super) fn finish(&mut self) -> Result<RecordBatch, IngestError> {
        let columns = self.columns.iter_mut().map(Column::finish).collect::<Result<_, _>>()?;
        self.before += self.rows as u64;
        (self.rows, self.bytes) = (0, 0);
        Ok(RecordBatch::try_new(Arc::clone(&self.plan.schema), columns)?)
    }
}

/// A value as it came.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
