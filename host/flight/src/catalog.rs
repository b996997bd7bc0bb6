//! What catalog calls answer with: the relations that the caller may query, and no word of any other.

use std::{collections::HashSet, sync::Arc};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::{
    error::FlightError,
    sql::{CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables},
};
use lakehouse_engine::{CATALOG, Caller, Engine, EngineError, Listed, SCHEMA, format::Plain};

use crate::info::{SYSTEM_TABLE, TABLE, VIEW};

/// Why a catalog call failed.
#[derive(Debug)]
pub(crate) enum CatalogFailure {
    Engine(Box<EngineError>),
    Encoding,
}

impl From<EngineError> for CatalogFailure {
    fn from(error: EngineError) -> Self {
        Self::Engine(Box::new(error))
    }
}

impl From<FlightError> for CatalogFailure {
    fn from(_: FlightError) -> Self {
        Self::Encoding
    }
}

pub(crate) fn catalogs(command: CommandGetCatalogs) -> Result<RecordBatch, FlightError> {
    let mut rows = command.into_builder();
    rows.append(CATALOG);
    rows.build()
}

pub(crate) fn table_types(command: CommandGetTableTypes) -> Result<RecordBatch, FlightError> {
    let mut rows = command.into_builder();
    for kind in [SYSTEM_TABLE, TABLE, VIEW] {
        rows.append(kind);
    }
    rows.build()
}

pub(crate) async fn schemas(
    engine: &Engine,
    caller: &Caller,
    command: CommandGetDbSchemas,
) -> Result<RecordBatch, CatalogFailure> {
    let mut rows = command.into_builder();
    rows.append(CATALOG, SCHEMA);
    let elsewhere = engine.relations(caller, false, |schema, _, _| schema != SCHEMA).await?;
    let others: HashSet<String> = elsewhere.into_iter().map(|one| one.schema).collect();
    for schema in others {
        rows.append(CATALOG, schema);
    }
    Ok(rows.build()?)
}

/// The client's patterns are matched on names first, and only what they let pass is opened for its columns.
pub(crate) async fn tables(engine: &Engine, caller: &Caller, command: CommandGetTables) -> Result<RecordBatch, CatalogFailure> {
    let names = CommandGetTables { include_schema: false, ..command.clone() };
    let found = build(names, &engine.relations(caller, false, |_, _, _| true).await?)?;
    if !command.include_schema {
        return Ok(found);
    }
    let (schemas, tables) = (found.column(1).as_string::<i32>(), found.column(2).as_string::<i32>());
    let matched: HashSet<(&str, &str)> =
        (0..found.num_rows()).filter(|row| schemas.is_valid(*row)).map(|row| (schemas.value(row), tables.value(row))).collect();
    let listed = engine.relations(caller, true, |schema, name, _| matched.contains(&(schema, name))).await?;
    Ok(build(command, &listed)?)
}

fn build(command: CommandGetTables, listed: &[Listed]) -> Result<RecordBatch, FlightError> {
    let mut rows = command.into_builder();
    for one in listed {
        let kind = match one.kind {
            "view" => VIEW,
            "system" => SYSTEM_TABLE,
            _ => TABLE,
        };
        rows.append(CATALOG, &one.schema, &one.name, kind, Plain::of(&one.columns).schema())?;
    }
    rows.build()
}

/// The columns of `GetPrimaryKeys`; tables have none that are declared.
pub(crate) fn primary_keys() -> SchemaRef {
    Arc::new(Schema::new(vec![
        text("catalog_name", true),
        text("db_schema_name", true),
        text("table_name", false),
        text("column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("key_name", true),
    ]))
}

/// The columns of `GetExportedKeys`, `GetImportedKeys` and `GetCrossReference`.
pub(crate) fn foreign_keys() -> SchemaRef {
    Arc::new(Schema::new(vec![
        text("pk_catalog_name", true),
        text("pk_db_schema_name", true),
        text("pk_table_name", false),
        text("pk_column_name", false),
        text("fk_catalog_name", true),
        text("fk_db_schema_name", true),
        text("fk_table_name", false),
        text("fk_column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("fk_key_name", true),
        text("pk_key_name", true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
}

fn text(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8, nullable)
}
