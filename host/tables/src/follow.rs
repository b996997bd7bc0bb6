//! What another host does to tables, seen by one that reads.
//!
//! **Invariant**: a table's tombstones are read before its log, so that a row that was dropped for good is hidden or gone, and never seen
//! again. A table that cannot be loaded at this moment is read as it was.

use std::collections::HashMap;

use lakehouse_catalog::TombstoneRecord;

use crate::records::Counters;
use crate::table::{Absence, Table};
use crate::{TableError, Tables};

/// How often a table is loaded again whose log was being shortened.
const TRIES: usize = 3;

impl Tables {
    /// Loads what has changed since the last call, by the catalog of this moment.
    ///
    /// # Errors
    /// When the metadata cannot be read.
    pub async fn reload(&self) -> Result<(), TableError> {
        let catalog = self.catalog.snapshot();
        let records: HashMap<&str, _> = catalog.datasets.values().map(|record| (record.id.as_str(), record)).collect();
        for (id, counters) in self.meta.collection::<Counters>().all().await? {
            let Some(record) = records.get(id.as_str()) else { continue };
            let before = self.table(&record.name).filter(|table| table.folder.id() == id);
            if before.is_some() && self.seen.lock().get(&id) == Some(&counters) {
                continue;
            }
            let buried = self.meta.collection::<TombstoneRecord>().scan(&format!("{id}/"), None, usize::MAX).await?;
            let buried: Vec<_> = buried.into_iter().map(|(_, record)| record).collect();
            for _ in 0..TRIES {
                self.load(record, buried.clone(), counters.clone()).await?;
                if self.table(&record.name).is_some_and(|table| !is_unreadable(&table)) {
                    break;
                }
            }
            if self.table(&record.name).is_some_and(|table| is_unreadable(&table)) {
                self.seen.lock().remove(&id);
                if let Some(before) = before {
                    self.insert(before);
                }
            }
        }
        self.retain(|table| records.contains_key(table.folder.id()));
        self.seen.lock().retain(|id, _| records.contains_key(id.as_str()));
        Ok(())
    }
}

fn is_unreadable(table: &Table) -> bool {
    matches!(table.absence(), Some(Absence::Unreadable(_)))
}
