//! A definition tried before it is in force.
//!
//! **Invariant**: nothing is stored, and nobody learns more than by querying what it may read: own rows stand for what the base gives
//! out, so that no filter below is evaluated on them, and the filter that an absent one would keep is not either; rows of the base
//! are for those who read the base.

use std::{collections::BTreeMap, sync::Arc};

use lakehouse_access::{Action, Caller};
use lakehouse_catalog::{CatalogError, CatalogSnapshot, Redaction, ViewInput};
use lakehouse_query::{MAX_SAMPLE_ROWS, Sample, TrialReport, ViewTrial};
use lakehouse_types::{ColumnName, DatasetName, ViewName};

use crate::{Engine, EngineError};

/// What a definition is called that has no name yet, and that nothing else is called.
fn unused(present: &CatalogSnapshot) -> Result<ViewName, EngineError> {
    let mut name = "sample".to_owned();
    while present.relation(&name).is_some() {
        name.push('-');
    }
    name.parse().map_err(|_| EngineError::Lost("no name was left for a definition without one"))
}

/// A definition to try; as [`ViewInput`], and its name may be left out.
#[derive(Debug, Clone)]
pub struct TryView {
    pub name: Option<ViewName>,
    pub base_dataset: DatasetName,
    pub columns: Vec<ColumnName>,
    pub row_filter: Option<String>,
    pub column_redactions: BTreeMap<ColumnName, Redaction>,
    pub sample: Sample,
}

impl Engine {
    /// Tries a view's definition on sample rows, under the caller's profile.
    ///
    /// # Errors
    /// When the caller may not, or asks for rows of a base that it may not read; when the definition does not fit its base, or a sample
    /// row does not. A rule that fails is no error: the report names it.
    pub async fn try_view(&self, caller: &Caller, what: TryView) -> Result<TrialReport, EngineError> {
        self.require(caller, Action::DryRun).await?;
        let TryView { name, base_dataset, columns, row_filter, column_redactions, sample } = what;
        let rows = match &sample {
            Sample::Rows(rows) => rows.len(),
            Sample::First(rows) => *rows,
        };
        if !(1..=MAX_SAMPLE_ROWS).contains(&rows) {
            return Err(EngineError::OutOfRange { what: "the number of sample rows", min: 1, max: MAX_SAMPLE_ROWS });
        }
        let present = self.catalog.snapshot();
        let profile = present.profile(&caller.profile)?;
        if matches!(sample, Sample::First(_)) && !profile.reaches(base_dataset.as_str()) {
            let refusal = EngineError::not_bound(caller, profile, base_dataset.as_str());
            return Err(self.denied(caller, &format!("try a view over {base_dataset}"), refusal).await);
        }
        if matches!(sample, Sample::First(_)) && !self.reads_base(caller, &present, &base_dataset) {
            let refusal = EngineError::NoSample { base: base_dataset.clone() };
            return Err(self.denied(caller, &format!("try a view over {base_dataset}"), refusal).await);
        }
        let name = match name {
            Some(name) => name,
            None => unused(&present)?,
        };
        let by = self.stamp(caller);
        let input = ViewInput { name, base_dataset, columns, row_filter, column_redactions };
        let record = input.into_record(&by.actor, by.at, None);
        record.validate()?;
        if present.datasets.contains_key(record.name.as_str()) {
            return Err(CatalogError::NameTaken { name: record.name.to_string(), holder: "dataset" }.into());
        }
        let stack = present.stack(Arc::new(record))?;
        Ok(self.query.try_view(caller, ViewTrial { stack, sample }).await?)
    }
}
