//! A view upon a view.
//!
//! **Invariant**: the upper is evaluated on nothing but what the lower gives out. Where the upper's filter asks only of columns that
//! the lower gives out as they are, that is the same as asking before the lower redacts, and so it is done: a row that the upper
//! hides never reaches a rule of the lower, and no failure of one tells of it. Else the lower is a leaf of its own below the upper.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use async_trait::async_trait;
use lakehouse_types::Fault;

use super::{Governed, OutputColumn, RowFilter, RowRedactor, RowRule, rule::as_declared};
use crate::error::QueryError;

/// A view as its definition has it: places and names are those of what the lower gives out.
#[derive(Debug)]
pub(crate) struct Upper {
    pub(crate) name: String,
    pub(crate) columns: Vec<OutputColumn>,
    pub(crate) filter: Option<RowFilter>,
}

impl Governed {
    /// `upper` over this one.
    pub(crate) fn below(self, upper: Upper) -> Self {
        let Upper { name, columns, filter } = upper;
        let redacts = |name: &String| self.columns.iter().any(|column| column.rule.is_some() && column.field.name() == name);
        if filter.as_ref().is_some_and(|filter| filter.columns.iter().any(redacts)) {
            return Self { name, base: self.into_provider(), columns, filter, hidden: None };
        }
        let through = |column: OutputColumn| {
            let below = &self.columns[column.base];
            let rule = match (below.rule.clone(), column.rule) {
                (None, rule) | (rule, None) => rule,
                (Some(first), Some(second)) => {
                    let between = below.field.data_type().clone();
                    Some(Arc::new(Both { first, between, second }) as Arc<dyn RowRule>)
                }
            };
            OutputColumn { base: below.base, field: column.field, rule }
        };
        let columns = columns.into_iter().map(through).collect();
        let filter = match (self.filter, filter) {
            (None, filter) | (filter, None) => filter,
            (Some(lower), Some(upper)) => Some(lower.and(upper)),
        };
        Self { name, base: self.base, columns, filter, hidden: self.hidden }
    }
}

/// A rule upon a rule.
#[derive(Debug)]
struct Both {
    first: Arc<dyn RowRule>,
    /// The type that the lower view gives the column out in.
    between: DataType,
    second: Arc<dyn RowRule>,
}

impl RowRule for Both {
    fn open(&self) -> Box<dyn RowRedactor> {
        Box::new(Opened { first: self.first.open(), between: self.between.clone(), second: self.second.open() })
    }
}

struct Opened {
    first: Box<dyn RowRedactor>,
    between: DataType,
    second: Box<dyn RowRedactor>,
}

#[async_trait]
impl RowRedactor for Opened {
    async fn redact(&mut self, values: &ArrayRef) -> Result<ArrayRef, Arc<dyn Fault>> {
        let once = self.first.redact(values).await?;
        let declared = as_declared(once, &self.between).filter(|once| once.len() == values.len());
        let Some(once) = declared else {
            let detail = "a rule below another gave out other rows or another type than it declared".to_owned();
            return Err(Arc::new(QueryError::Internal { detail }) as Arc<dyn Fault>);
        };
        self.second.redact(&once).await
    }
}
