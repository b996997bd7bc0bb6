//! `information_schema`: `schemata`, `tables` and `columns`, of what the principal may query and of nothing else.
//!
//! **Invariant**: its rows are made from the same list that names are resolved by.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use lakehouse_tables::friendly;

use crate::{
    error::QueryError,
    names::{CATALOG, SCHEMA},
};

pub(super) const INFORMATION: &str = "information_schema";
const SCHEMATA: &str = "schemata";
const TABLES: &str = "tables";
const COLUMNS: &str = "columns";

/// One relation with its columns, where they were asked for.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) schema: String,
    pub(super) name: String,
    /// `dataset`, `view` or `system`.
    pub(super) kind: &'static str,
    pub(super) columns: Option<SchemaRef>,
}

/// Whether there is such a table, and it tells of columns.
pub(super) fn tells_of_columns(name: &str) -> Option<bool> {
    match name {
        SCHEMATA | TABLES => Some(false),
        COLUMNS => Some(true),
        _ => None,
    }
}

/// The table of this name over what is known.
pub(super) fn table(name: &str, known: &[Known]) -> Result<Arc<dyn TableProvider>, QueryError> {
    let rows = match name {
        SCHEMATA => schemata(known),
        TABLES => tables(known),
        _ => columns(known),
    };
    let broken = |_| QueryError::Internal { detail: "information_schema could not be built".into() };
    let rows = rows.map_err(|_| QueryError::Internal { detail: "information_schema could not be built".into() })?;
    Ok(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]]).map_err(broken)?))
}

type Rows = Result<RecordBatch, arrow::error::ArrowError>;

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn catalog_of<T>(rows: &[T]) -> ArrayRef {
    texts(rows.iter().map(|_| CATALOG))
}

fn schemata(known: &[Known]) -> Rows {
    let mut names: Vec<&str> = known.iter().map(|one| one.schema.as_str()).chain([SCHEMA, INFORMATION]).collect();
    names.sort_unstable();
    names.dedup();
    let catalogs = catalog_of(&names);
    RecordBatch::try_from_iter([("catalog_name", catalogs), ("schema_name", texts(names.into_iter()))])
}

fn tables(known: &[Known]) -> Rows {
    let kinds = known.iter().map(|one| match one.kind {
        "view" => "VIEW",
        "system" => "SYSTEM VIEW",
        _ => "BASE TABLE",
    });
    RecordBatch::try_from_iter([
        ("table_catalog", catalog_of(known)),
        ("table_schema", texts(known.iter().map(|one| one.schema.as_str()))),
        ("table_name", texts(known.iter().map(|one| one.name.as_str()))),
        ("table_type", texts(kinds)),
    ])
}

fn columns(known: &[Known]) -> Rows {
    let all: Vec<_> = known
        .iter()
        .flat_map(|one| {
            one.columns.iter().flat_map(|schema| schema.fields().iter()).enumerate().map(move |(at, field)| (one, at, field))
        })
        .collect();
    let types: Vec<String> = all.iter().map(|(_, _, field)| friendly(field.data_type())).collect();
    let places = all.iter().map(|(_, at, _)| i64::try_from(*at).unwrap_or(i64::MAX).saturating_add(1));
    RecordBatch::try_from_iter([
        ("table_catalog", catalog_of(&all)),
        ("table_schema", texts(all.iter().map(|(one, _, _)| one.schema.as_str()))),
        ("table_name", texts(all.iter().map(|(one, _, _)| one.name.as_str()))),
        ("column_name", texts(all.iter().map(|(_, _, field)| field.name().as_str()))),
        ("ordinal_position", Arc::new(Int64Array::from_iter_values(places)) as ArrayRef),
        ("is_nullable", texts(all.iter().map(|(_, _, field)| if field.is_nullable() { "YES" } else { "NO" }))),
        ("data_type", texts(types.iter().map(String::as_str))),
    ])
}
