//! Governed relations as table providers.
//!
//! **Invariant**: a relation that nothing governs is the table's own provider, or a choice of its columns, so that plain tables cost
//! what bare DataFusion costs; every other one is a leaf.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ToDFSchema};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType, utils::split_conjunction};
use datafusion::physical_plan::ExecutionPlan;

use super::{GovernExec, Hidden, RowFilter, RowRule, exec::Slot, pieces, pushdown};

/// A column that a relation gives out.
#[derive(Debug, Clone)]
pub(crate) struct OutputColumn {
    /// Its place in the base.
    pub(crate) base: usize,
    /// Its name and type as given out.
    pub(crate) field: FieldRef,
    /// What redacts it.
    pub(crate) rule: Option<Arc<dyn RowRule>>,
}

/// All that governs one relation of one query.
#[derive(Debug)]
pub(crate) struct Governed {
    pub(crate) name: String,
    pub(crate) base: Arc<dyn TableProvider>,
    pub(crate) columns: Vec<OutputColumn>,
    pub(crate) filter: Option<RowFilter>,
    /// The key column's place in the base, and the keys to hide.
    pub(crate) hidden: Option<(usize, Arc<dyn Hidden>)>,
}

impl Governed {
    /// A table as it is, without the rows that are hidden.
    pub(crate) fn whole(name: String, base: Arc<dyn TableProvider>, hidden: Option<(usize, Arc<dyn Hidden>)>) -> Self {
        let schema = base.schema();
        let columns = schema.fields().iter().enumerate();
        let columns = columns.map(|(at, field)| OutputColumn { base: at, field: Arc::clone(field), rule: None }).collect();
        Self { name, base, columns, filter: None, hidden }
    }

    /// Names and types as given out.
    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(|column| Arc::clone(&column.field)).collect::<Vec<FieldRef>>()))
    }

    /// The provider that keeps these rules, and nothing more than they need.
    pub(crate) fn into_provider(self) -> Arc<dyn TableProvider> {
        let redacts = self.columns.iter().any(|column| column.rule.is_some());
        if redacts || self.filter.is_some() || self.hidden.is_some() {
            return Arc::new(GovernedRelation::new(self));
        }
        let whole = self.columns.len() == self.base.schema().fields().len()
            && self.columns.iter().enumerate().all(|(at, column)| column.base == at);
        if whole {
            return self.base;
        }
        Arc::new(ColumnsOf::new(self.base, self.columns.iter().map(|column| column.base).collect()))
    }
}

/// The leaf.
#[derive(Debug)]
pub(crate) struct GovernedRelation {
    rules: Governed,
    schema: SchemaRef,
}

impl GovernedRelation {
    pub(crate) fn new(rules: Governed) -> Self {
        Self { schema: rules.schema(), rules }
    }

    fn given_as_is(&self, name: &str) -> Option<DataType> {
        self.rules
            .columns
            .iter()
            .find(|column| column.rule.is_none() && column.field.name() == name)
            .map(|column| column.field.data_type().clone())
    }

    fn goes_below(&self, predicate: &Expr) -> bool {
        pushdown::is_harmless(predicate, |name| self.given_as_is(name))
    }

    /// Predicates that the base may use to skip rows: harmless ones of the caller, and those of the row filter that are as plain.
    fn hints(&self, asked: &[Expr]) -> Result<Vec<Expr>> {
        let mut hints: Vec<Expr> =
            asked.iter().filter(|predicate| self.goes_below(predicate)).map(bare).collect::<Result<_>>()?;
        if let Some(filter) = &self.rules.filter {
            let base = self.rules.base.schema();
            let of_base = |name: &str| base.field_with_name(name).ok().map(|field| field.data_type().clone());
            hints
                .extend(split_conjunction(&filter.expr).into_iter().filter(|part| pushdown::is_harmless(part, of_base)).cloned());
        }
        let supported = self.rules.base.supports_filters_pushdown(&hints.iter().collect::<Vec<_>>())?;
        Ok(hints
            .into_iter()
            .zip(supported)
            .filter(|(_, support)| *support != TableProviderFilterPushDown::Unsupported)
            .map(|(hint, _)| hint)
            .collect())
    }

    /// Plans the reading on its own: the optimizer will not see inside.
    async fn read(&self, session: &dyn Session, wanted: &[usize], hints: &[Expr]) -> Result<Arc<dyn ExecutionPlan>> {
        let partitions = session.config().target_partitions();
        in_order(self.rules.base.scan(session, Some(&wanted.to_vec()), hints, None).await?, partitions)
    }
}

/// The predicate with plain column names: the base knows nothing of the caller's aliases.
fn bare(predicate: &Expr) -> Result<Expr> {
    use datafusion::common::Column;
    predicate
        .clone()
        .transform(|expr| {
            Ok(match expr {
                Expr::Column(column) => Transformed::yes(Expr::Column(Column::new_unqualified(column.name))),
                other => Transformed::no(other),
            })
        })
        .map(|done| done.data)
}

/// The same rows, so that the partitions one after the other are the order of storage.
fn in_order(plan: Arc<dyn ExecutionPlan>, partitions: usize) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        if let Some(lower) = node.downcast_ref::<GovernExec>() {
            return Ok(Transformed::yes(Arc::new(lower.in_order())));
        }
        Ok(match pieces::of_files(&node, partitions) {
            Some(pieces) => Transformed::yes(pieces),
            None => Transformed::no(node),
        })
    })
    .map(|done| done.data)
}

#[async_trait]
impl TableProvider for GovernedRelation {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let chosen: Vec<&OutputColumn> = match projection {
            Some(places) => places.iter().map(|place| &self.rules.columns[*place]).collect(),
            None => self.rules.columns.iter().collect(),
        };
        let base = self.rules.base.schema();
        let mut wanted: BTreeSet<usize> = chosen.iter().map(|column| column.base).collect();
        wanted.extend(self.rules.hidden.as_ref().map(|(key, _)| *key));
        if let Some(filter) = &self.rules.filter {
            for name in &filter.columns {
                wanted.insert(base.index_of(name)?);
            }
        }
        let wanted: Vec<usize> = wanted.into_iter().collect();
        let place_of = |base_place: usize| wanted.binary_search(&base_place).unwrap_or_default();

        let inner = self.read(session, &wanted, &self.hints(filters)?).await?;
        let filter = match &self.rules.filter {
            None => None,
            Some(filter) => Some(session.create_physical_expr(filter.expr.clone(), &inner.schema().to_dfschema()?)?),
        };
        let slots = chosen
            .into_iter()
            .map(|column| Slot {
                place: place_of(column.base),
                field: Arc::clone(&column.field),
                rule: column.rule.as_ref().map(Arc::clone),
            })
            .collect();
        let hidden = self.rules.hidden.as_ref().map(|(key, hidden)| (place_of(*key), Arc::clone(hidden)));
        let partitions = session.config().target_partitions();
        Ok(Arc::new(GovernExec::new(self.rules.name.clone(), inner, slots, filter, hidden, partitions)))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|predicate| {
                if self.goes_below(predicate) {
                    TableProviderFilterPushDown::Inexact
                } else {
                    TableProviderFilterPushDown::Unsupported
                }
            })
            .collect())
    }
}

/// Some columns of a table that nothing else governs.
#[derive(Debug)]
pub(crate) struct ColumnsOf {
    base: Arc<dyn TableProvider>,
    places: Vec<usize>,
    schema: SchemaRef,
}

impl ColumnsOf {
    pub(crate) fn new(base: Arc<dyn TableProvider>, places: Vec<usize>) -> Self {
        let whole = base.schema();
        let schema = Arc::new(Schema::new(places.iter().map(|place| Arc::clone(&whole.fields()[*place])).collect::<Vec<_>>()));
        Self { base, places, schema }
    }
}

#[async_trait]
impl TableProvider for ColumnsOf {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let places = match projection {
            Some(chosen) => chosen.iter().map(|place| self.places[*place]).collect(),
            None => self.places.clone(),
        };
        self.base.scan(session, Some(&places), filters, limit).await
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.base.supports_filters_pushdown(filters)
    }
}
