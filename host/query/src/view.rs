//! What a view's definition makes of its base: the columns it gives out, the rules that run on them, the rows it keeps.
//!
//! **Invariant**: a definition that does not fit its base, a rule that does not resolve or a config that a component rejects is an
//! error before anything is read; a view is never answered with less than all of its rules.

use std::{collections::BTreeMap, sync::Arc};

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{Field, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::execution::SessionState;
use lakehouse_catalog::ViewRecord;
use lakehouse_plugins::{Bindings, Redactor, RedactorRule};
use lakehouse_tables::{DatasetState, Tombstones};
use lakehouse_types::Fault;

use crate::{
    error::QueryError,
    govern::{Governed, Hidden, OutputColumn, RowFilter, RowRedactor, RowRule},
};

/// Who reads the errors: whoever defines the view may know its base, whoever queries it may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    Author,
    Querier,
}

/// A dataset as its readers see it: tombstoned rows are gone.
///
/// # Errors
/// When tombstones cannot be applied.
pub(crate) fn dataset(state: &Arc<DatasetState>) -> Result<Arc<dyn TableProvider>, QueryError> {
    let base = state.provider();
    let columns = base
        .schema()
        .fields()
        .iter()
        .enumerate()
        .map(|(at, field)| OutputColumn { base: at, field: Arc::clone(field), rule: None })
        .collect();
    let hidden = hidden(state, &base.schema())?;
    Ok(Governed { name: state.name.to_string(), base, columns, filter: None, hidden }.into_provider())
}

/// A view as its readers see it.
pub(crate) async fn view(
    record: &ViewRecord,
    state: &Arc<DatasetState>,
    bindings: &Bindings,
    session: &SessionState,
    reader: Reader,
) -> Result<Arc<dyn TableProvider>, QueryError> {
    let base = state.provider();
    let schema = base.schema();
    let columns = columns(record, &schema, bindings, reader).await?;
    let filter = match &record.row_filter {
        None => None,
        Some(text) => Some(RowFilter::parse(text, &schema, session).map_err(|reason| match reader {
            Reader::Author => {
                QueryError::Definition { view: record.name.to_string(), message: format!("row_filter: {}", reason.0) }
            }
            Reader::Querier => unfit(record),
        })?),
    };
    let hidden = hidden(state, &schema)?;
    Ok(Governed { name: record.name.to_string(), base, columns, filter, hidden }.into_provider())
}

fn unfit(record: &ViewRecord) -> QueryError {
    QueryError::Definition {
        view: record.name.to_string(),
        message: format!("view `{}` no longer fits its dataset; an operator has to define it anew", record.name),
    }
}

async fn columns(
    record: &ViewRecord,
    schema: &SchemaRef,
    bindings: &Bindings,
    reader: Reader,
) -> Result<Vec<OutputColumn>, QueryError> {
    let mut columns = Vec::with_capacity(record.columns.len());
    // A rule that several columns share is resolved once.
    let mut resolved: BTreeMap<String, Arc<RedactorRule>> = BTreeMap::new();
    for column in &record.columns {
        let Ok(base) = schema.index_of(column.as_str()) else {
            return Err(match reader {
                Reader::Author => missing(column.as_str(), schema),
                Reader::Querier => unfit(record),
            });
        };
        let field = schema.field(base);
        let Some(redaction) = record.column_redactions.get(column) else {
            columns.push(OutputColumn { base, field: Arc::clone(&schema.fields()[base]), rule: None });
            continue;
        };
        let (name, overlay) = redaction.rule();
        let failed = |fault: lakehouse_plugins::PluginError| QueryError::Rule {
            relation: record.name.to_string(),
            fault: Arc::new(fault) as Arc<dyn Fault>,
        };
        let key = format!("{name} {overlay:?}");
        let rule = match resolved.get(&key) {
            Some(rule) => Arc::clone(rule),
            None => {
                let rule = bindings.redactor(&name, overlay.as_ref()).await.map_err(failed)?;
                resolved.insert(key, Arc::clone(&rule));
                rule
            }
        };
        let data_type = rule.output_type(field.data_type()).await.map_err(failed)?;
        columns.push(OutputColumn {
            base,
            field: Arc::new(Field::new(field.name(), data_type, true)),
            rule: Some(Arc::new(ComponentRule(rule))),
        });
    }
    Ok(columns)
}

fn missing(column: &str, schema: &SchemaRef) -> QueryError {
    let known: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    QueryError::UnknownColumn { column: column.to_owned(), known }
}

/// The place of the key column, and the keys to hide.
type KeyedHidden = (usize, Arc<dyn Hidden>);

/// None when nothing is tombstoned.
fn hidden(state: &DatasetState, schema: &SchemaRef) -> Result<Option<KeyedHidden>, QueryError> {
    if state.tombstones.is_empty() {
        return Ok(None);
    }
    let place = state.tombstones.column.as_ref().and_then(|key| schema.index_of(key.as_str()).ok());
    let Some(place) = place else {
        return Err(QueryError::Internal {
            detail: format!("`{}` has tombstones and no key column to apply them to", state.name),
        });
    };
    Ok(Some((place, Arc::new(Buried(Arc::clone(&state.tombstones))))))
}

#[derive(Debug)]
struct Buried(Arc<Tombstones>);

impl Hidden for Buried {
    fn keep(&self, keys: &ArrayRef) -> BooleanArray {
        self.0.keep_mask(keys)
    }
}

/// A component as a rule of a relation.
#[derive(Debug)]
struct ComponentRule(Arc<RedactorRule>);

impl RowRule for ComponentRule {
    fn open(&self) -> Box<dyn RowRedactor> {
        Box::new(ComponentRedactor(self.0.instance()))
    }
}

struct ComponentRedactor(Redactor);

#[async_trait]
impl RowRedactor for ComponentRedactor {
    async fn redact(&mut self, values: &ArrayRef) -> Result<ArrayRef, Arc<dyn Fault>> {
        self.0.redact(values).await.map_err(|fault| Arc::new(fault) as Arc<dyn Fault>)
    }
}
