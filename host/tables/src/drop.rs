//! Deleting a dataset.
//!
//! **Invariant**: the dataset leaves the catalog, its tombstones and counters go, and the intent to delete its files comes, in one
//! transaction. The files go when the last query that reads them is done, at the latest at the next start.

use lakehouse_catalog::{CatalogError, TombstoneRecord};
use lakehouse_journal::{Draft, EventKind, Stamp};
use lakehouse_types::DatasetName;
use serde_json::json;
use std::sync::Arc;

use crate::folder::drop_key;
use crate::records::{Counters, Intent, Stage};
use crate::{TableError, Tables};

impl Tables {
    /// Deletes a dataset with all its versions and tombstones.
    ///
    /// # Errors
    /// When it does not exist, or a view or profile uses it.
    pub async fn drop_dataset(self: &Arc<Self>, by: &Stamp, name: &DatasetName) -> Result<(), TableError> {
        let (tables, by, name) = (Arc::clone(self), by.clone(), name.clone());
        self.io.spawn(async move { tables.drop_now(&by, &name).await }).await?
    }

    async fn drop_now(&self, by: &Stamp, name: &DatasetName) -> Result<(), TableError> {
        // One that has no state can go, too.
        let table = self.table(name).filter(|table| table.state().is_some() || table.absence().is_some());
        let table = table.ok_or_else(|| TableError::UnknownDataset { name: name.clone() })?;
        let mut queue = table.queue().await?;
        self.settle(&table, &mut queue).await?;
        let id = table.folder.id();
        let buried = self.meta.collection::<TombstoneRecord>().scan(&format!("{id}/"), None, usize::MAX).await?;
        let rows = table.state().map(|state| state.rows);
        let mut retired = Vec::new();
        let intent = Intent::new(&table, by, Stage::Dropping);
        self.catalog
            .edit(by, |_, edit| {
                edit.remove_dataset(name)?;
                edit.event(
                    Draft::new(EventKind::DatasetDelete, name.as_str()).dataset(name.clone()).details(json!({ "rows": rows })),
                );
                let transaction = edit.txn();
                transaction.put(&drop_key(id), &intent).map_err(CatalogError::from)?;
                transaction.delete::<Counters>(id);
                retired = self.unretire(id, transaction);
                buried.iter().for_each(|(key, _)| transaction.delete::<TombstoneRecord>(key));
                Ok::<_, TableError>(())
            })
            .await?;
        self.forget_retired(&retired);
        queue.gone = true;
        self.forget(&table);
        table.set_state(None);
        table.folder.doom();
        Ok(())
    }
}
