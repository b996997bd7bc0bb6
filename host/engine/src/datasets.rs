//! Datasets: list, show, delete.

use std::sync::Arc;

use lakehouse_access::{Action, Caller};
use lakehouse_catalog::{CatalogError, DatasetRecord, UsedBy};
use lakehouse_tables::{DatasetState, TableError};
use lakehouse_types::{Code, DatasetName};

use crate::{Engine, EngineError, Page, profiles, vectors, views};

/// A dataset: its record, and its newest version once there is one.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub record: Arc<DatasetRecord>,
    pub state: Option<Arc<DatasetState>>,
}

impl Engine {
    /// The datasets that the caller may read or write, or whose views it manages; by name.
    ///
    /// # Errors
    /// None today.
    pub fn datasets(&self, caller: &Caller, after: Option<&str>, limit: usize) -> Result<Page<Dataset>, EngineError> {
        let present = self.catalog.snapshot();
        let visible = present.datasets.values().filter(|record| sees(caller, &record.name)).cloned();
        Ok(Page::of(visible, after, limit, |record| record.name.as_str()).map(|record| self.with_state(record)))
    }

    /// One dataset.
    ///
    /// # Errors
    /// When it does not exist, or the caller may not know that it does.
    pub async fn dataset(&self, caller: &Caller, name: &DatasetName) -> Result<Dataset, EngineError> {
        if !sees(caller, name) {
            return Err(self
                .hidden(caller, &format!("dataset {name}"), CatalogError::UnknownDataset { name: name.clone() })
                .await);
        }
        let record = Arc::clone(self.catalog.snapshot().dataset(name)?);
        Ok(self.with_state(record))
    }

    /// Deletes a dataset with its rows, tombstones and files.
    ///
    /// # Errors
    /// When the caller may not write it, it does not exist, or something uses it.
    pub async fn delete_dataset(&self, caller: &Caller, name: &DatasetName) -> Result<(), EngineError> {
        self.require(caller, Action::DeleteDataset).await?;
        self.require_write(caller, name).await?;
        let (tables, by, dropped) = (self.tables.clone(), self.stamp(caller), name.clone());
        let outcome = self.changes.to_the_end(async move { Ok(tables.drop_dataset(&by, &dropped).await?) }).await;
        outcome.map_err(|error| for_eyes_of(caller, name, error))
    }

    /// Refuses who has no grant to write the dataset.
    pub(crate) async fn require_write(&self, caller: &Caller, name: &DatasetName) -> Result<(), EngineError> {
        if caller.principal.may_write_dataset(name) {
            return Ok(());
        }
        Err(self.denied(caller, &format!("write dataset {name}"), EngineError::NoWriteGrant { dataset: name.clone() }).await)
    }

    /// What looks like absence to a caller without a grant, and like a denial to the journal. Whether the object exists is looked up
    /// only for those who may know it, so that journal and clock do not tell either.
    pub(crate) async fn hidden(&self, caller: &Caller, what: &str, absent: CatalogError) -> EngineError {
        self.journal_denial(&self.stamp(caller), what, Code::Forbidden).await;
        absent.into()
    }

    fn with_state(&self, record: Arc<DatasetRecord>) -> Dataset {
        let state = self.tables.dataset(&record.name);
        Dataset { record, state }
    }
}

/// Who writes a dataset need not know of the views and profiles over it.
fn for_eyes_of(caller: &Caller, dataset: &DatasetName, error: EngineError) -> EngineError {
    let EngineError::Table(TableError::Catalog(CatalogError::InUse { what, used_by })) = error else { return error };
    let (seen, hidden): (Vec<_>, Vec<_>) = used_by.into_iter().partition(|user| match user {
        UsedBy::View(name) => views::sees(caller, name),
        UsedBy::Profile(id) => profiles::sees(caller, id),
        UsedBy::Index(name) => vectors::sees(caller, name),
    });
    if hidden.is_empty() {
        return EngineError::Catalog(CatalogError::InUse { what, used_by: seen });
    }
    EngineError::DatasetInUse { dataset: dataset.clone(), used_by: seen, hidden: hidden.len() }
}

fn sees(caller: &Caller, name: &DatasetName) -> bool {
    let principal = &caller.principal;
    principal.may_read_dataset(name) || principal.may_write_dataset(name) || principal.may(Action::ManageViews)
}
