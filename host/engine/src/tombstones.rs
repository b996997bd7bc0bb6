//! Tombstones: hide rows by key, list what is hidden, show rows again.

use lakehouse_access::{Action, Caller};
use lakehouse_catalog::{CatalogError, TombstoneRecord};
use lakehouse_tables::{Burial, Restoration};
use lakehouse_types::{Actor, ColumnName, DatasetName};
use serde_json::Value;

use crate::{Engine, EngineError, Page};

/// Rows to hide.
#[derive(Debug, Clone)]
pub struct Bury {
    pub column: ColumnName,
    /// Texts or integers.
    pub values: Vec<Value>,
    /// On whose behalf; else the caller itself.
    pub actor: Option<Actor>,
    pub reason: String,
}

/// Rows to show again.
#[derive(Debug, Clone)]
pub struct Restore {
    pub values: Vec<Value>,
}

impl Engine {
    /// Hides rows by key, effective for the next query.
    ///
    /// # Errors
    /// When the caller may not write the dataset, or its key column is another. Values that are no keys are failures in the report.
    pub async fn bury(&self, caller: &Caller, name: &DatasetName, what: Bury) -> Result<Burial, EngineError> {
        self.require_write_to(caller, name).await?;
        let (tables, by, name) = (self.tables.clone(), self.stamp(caller), name.clone());
        let Bury { column, values, actor, reason } = what;
        self.changes.to_the_end(async move { Ok(tables.bury(&by, &name, &column, values, actor, reason).await?) }).await
    }

    /// What is hidden, with who, when and why; in the order of the keys' hashes.
    ///
    /// # Errors
    /// When the caller may not write the dataset, or it does not exist.
    pub async fn tombstones(
        &self,
        caller: &Caller,
        name: &DatasetName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<TombstoneRecord>, EngineError> {
        self.require_write_to(caller, name).await?;
        let page = self.tables.tombstones(name, after, limit).await?;
        Ok(Page { items: page.records, next: page.next })
    }

    /// Shows rows again, until compaction has taken them.
    ///
    /// # Errors
    /// As [`Engine::bury`].
    pub async fn restore(&self, caller: &Caller, name: &DatasetName, what: Restore) -> Result<Restoration, EngineError> {
        self.require_write_to(caller, name).await?;
        let (tables, by, name) = (self.tables.clone(), self.stamp(caller), name.clone());
        self.changes.to_the_end(async move { Ok(tables.restore(&by, &name, what.values).await?) }).await
    }

    async fn require_write_to(&self, caller: &Caller, name: &DatasetName) -> Result<(), EngineError> {
        self.require(caller, Action::Tombstone).await?;
        self.require_write(caller, name).await?;
        self.catalog.snapshot().dataset(name).map(|_| ()).map_err(|absent: CatalogError| absent.into())
    }
}
