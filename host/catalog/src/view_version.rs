//! What a view said before: its last definitions, the present one among them.
//!
//! **Invariant**: a version is written in the transaction that put it in force, and says the same ever after; the last
//! [`KEPT_VIEW_VERSIONS`] are kept, and none of a view that was deleted.

use lakehouse_storage::{Record, Transaction};
use lakehouse_types::ViewName;
use serde::{Deserialize, Serialize};

use crate::{Catalog, CatalogError, ViewRecord};

/// Definitions of one view that are kept.
pub const KEPT_VIEW_VERSIONS: u64 = 20;

/// One definition, as it was in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ViewVersion(pub ViewRecord);

impl Record for ViewVersion {
    const COLLECTION: &'static str = "view_versions";
    const FORMAT: u32 = 1;
}

/// In the order of the versions.
fn key(name: &ViewName, version: u64) -> String {
    format!("{name}/{version:020}")
}

/// Keeps the definition that comes into force, and the one that was: views of earlier releases come without their first.
pub(crate) fn keep(txn: &mut Transaction, record: &ViewRecord, previous: Option<&ViewRecord>) -> Result<(), CatalogError> {
    for one in previous.into_iter().chain([record]) {
        txn.put(&key(&one.name, one.version), &ViewVersion(one.clone()))?;
    }
    if let Some(gone) = record.version.checked_sub(KEPT_VIEW_VERSIONS).filter(|version| *version > 0) {
        txn.delete::<ViewVersion>(&key(&record.name, gone));
    }
    Ok(())
}

/// Forgets all of a view that goes.
pub(crate) fn forget(txn: &mut Transaction, record: &ViewRecord) {
    let first = record.version.saturating_sub(KEPT_VIEW_VERSIONS - 1).max(1);
    for version in first..=record.version {
        txn.delete::<ViewVersion>(&key(&record.name, version));
    }
}

impl Catalog {
    /// The last definitions of a view, the present one first.
    ///
    /// # Errors
    /// When there is no such view, or the metadata store fails.
    pub async fn view_versions(&self, name: &ViewName) -> Result<Vec<ViewRecord>, CatalogError> {
        let present = ViewRecord::clone(self.snapshot().view(name)?);
        let kept = self.meta().collection::<ViewVersion>();
        let kept = kept.scan(&format!("{name}/"), None, usize::try_from(KEPT_VIEW_VERSIONS).unwrap_or(usize::MAX) + 1).await?;
        let before = kept.into_iter().rev().map(|(_, version)| version.0).filter(|one| one.version < present.version);
        Ok(std::iter::once(present.clone()).chain(before).collect())
    }
}
