//! What a view's definition makes of its base: the columns it gives out, the rules that run on them, the rows it keeps.
//!
//! **Invariants**: a definition that does not fit its base, a rule that does not resolve or a config that a component rejects is an
//! error before anything is read; a view is never answered with less than all of its rules. A view over a view reads what that one
//! gives out, in its types, and has no other way to what lies below; whoever queries it is told of no view but the one it names.

use std::{collections::BTreeMap, sync::Arc};

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{Field, SchemaRef};
use async_trait::async_trait;
use datafusion::execution::SessionState;
use lakehouse_catalog::{Redaction, ViewRecord, ViewStack};
use lakehouse_plugins::{Bindings, Redactor, RedactorRule};
use lakehouse_tables::{DatasetState, Tombstones};
use lakehouse_types::Fault;

use crate::{
    error::QueryError,
    govern::{Governed, Hidden, OutputColumn, RowFilter, RowRedactor, RowRule, Upper},
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
pub(crate) fn dataset(state: &Arc<DatasetState>) -> Result<Governed, QueryError> {
    let base = state.provider();
    let hidden = hidden(state, &base.schema())?;
    Ok(Governed::whole(state.name.to_string(), base, hidden))
}

/// A view as its readers see it, through all that it stands on.
///
/// # Errors
/// When a definition does not fit what it stands on, or a rule fails.
pub(crate) async fn view(
    stack: &ViewStack,
    state: &Arc<DatasetState>,
    bindings: &Bindings,
    session: &SessionState,
    reader: Reader,
) -> Result<Governed, QueryError> {
    let below = below(stack, state, bindings, session, reader).await?;
    Layer { record: stack.top(), told: stack.top().name.as_str(), reader }.over(below, bindings, session).await
}

/// What the top of a stack reads: all that its definition may name and its filter may see.
///
/// # Errors
/// As [`view`].
pub(crate) async fn below(
    stack: &ViewStack,
    state: &Arc<DatasetState>,
    bindings: &Bindings,
    session: &SessionState,
    reader: Reader,
) -> Result<Governed, QueryError> {
    let mut governed = dataset(state)?;
    for record in stack.below().iter().rev() {
        // An author knows all views by name. What it wrote is the top, so what does not fit further down is not its to mend here.
        let told = if reader == Reader::Author { record } else { stack.top() };
        let layer = Layer { record, told: told.name.as_str(), reader: Reader::Querier };
        governed = layer.over(governed, bindings, session).await?;
    }
    Ok(governed)
}

/// One view of a stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layer<'a> {
    pub(crate) record: &'a ViewRecord,
    /// The relation that errors and plans name.
    pub(crate) told: &'a str,
    pub(crate) reader: Reader,
}

impl Layer<'_> {
    /// The view over what `below` gives out.
    ///
    /// # Errors
    /// When the definition does not fit that, or a rule does not resolve or open.
    pub(crate) async fn over(self, below: Governed, bindings: &Bindings, session: &SessionState) -> Result<Governed, QueryError> {
        let schema = below.schema();
        let columns = self.columns(&schema, bindings).await?;
        let filter = match &self.record.row_filter {
            None => None,
            Some(text) => Some(RowFilter::parse(text, &schema, session).map_err(|reason| match self.reader {
                Reader::Author => {
                    QueryError::Definition { view: self.told.to_owned(), message: format!("row_filter: {}", reason.0) }
                }
                Reader::Querier => self.unfit(),
            })?),
        };
        Ok(below.below(Upper { name: self.told.to_owned(), columns, filter }))
    }

    fn unfit(self) -> QueryError {
        QueryError::Definition {
            view: self.told.to_owned(),
            message: format!("view `{}` no longer fits its dataset; an operator has to define it anew", self.told),
        }
    }

    async fn columns(self, schema: &SchemaRef, bindings: &Bindings) -> Result<Vec<OutputColumn>, QueryError> {
        let mut columns = Vec::with_capacity(self.record.columns.len());
        // A rule that several columns share is resolved once.
        let mut resolved: BTreeMap<String, Arc<RedactorRule>> = BTreeMap::new();
        for column in &self.record.columns {
            let Ok(base) = schema.index_of(column.as_str()) else {
                return Err(match self.reader {
                    Reader::Author => missing(column.as_str(), schema),
                    Reader::Querier => self.unfit(),
                });
            };
            let field = schema.field(base);
            let Some(redaction) = self.record.column_redactions.get(column) else {
                columns.push(OutputColumn { base, field: Arc::clone(&schema.fields()[base]), rule: None });
                continue;
            };
            let (name, overlay) = redaction.rule();
            let failed = |fault: lakehouse_plugins::PluginError| QueryError::Rule {
                relation: self.told.to_owned(),
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
            let answered = rule.output_type(field.data_type()).await.map_err(failed)?;
            // Components see a few wide types and text; what holds no value keeps the type that it had.
            let data_type = if *redaction == Redaction::Null { field.data_type().clone() } else { answered };
            columns.push(OutputColumn {
                base,
                field: Arc::new(Field::new(field.name(), data_type, true)),
                rule: Some(Arc::new(ComponentRule(rule))),
            });
        }
        Ok(columns)
    }
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
