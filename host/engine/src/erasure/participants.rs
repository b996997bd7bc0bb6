//! Who holds row content, and how each forgets it.
//!
//! **Invariant**: whatever keeps something of a row is in [`all`]; the metadata store comes last, since the others write to it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use lakehouse_journal::Stamp;
use lakehouse_tables::{Gate, Scope, Tombstones};
use lakehouse_types::{ColumnName, DatasetName, Progress};

use super::{Certificate, ErasedIndex};
use crate::{Engine, EngineError, vectors::Step};

/// How long a refresh of an index is waited for.
const INDEX_PATIENCE: Duration = Duration::from_mins(10);

/// What is to be forgotten.
pub(super) struct Order {
    /// The number that the table bears afterwards.
    pub(super) number: u64,
    pub(super) by: Stamp,
    pub(super) dataset: DatasetName,
    pub(super) column: ColumnName,
    pub(super) keys: Arc<Tombstones>,
    pub(super) progress: Arc<dyn Progress>,
}

/// An order while it is carried out.
pub(super) struct Task<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) order: &'a Order,
    /// Until it is open, the rows stay.
    pub(super) gate: Gate,
}

/// Something that holds row content.
#[async_trait]
pub(super) trait Participant: Send + Sync {
    /// Forgets the subjects for good, and writes down in the certificate what that took.
    async fn forget(&self, task: &Task<'_>, certificate: &mut Certificate) -> Result<(), EngineError>;
}

/// Everyone, in the order in which they forget.
pub(super) fn all() -> [&'static dyn Participant; 3] {
    [&TablesAndIndexes, &Caches, &Metadata]
}

/// The present rows, then what indexes made of them, then every earlier version.
struct TablesAndIndexes;

#[async_trait]
impl Participant for TablesAndIndexes {
    async fn forget(&self, task: &Task<'_>, certificate: &mut Certificate) -> Result<(), EngineError> {
        let Task { engine, order, gate } = task;
        let (by, dataset) = (&order.by, &order.dataset);
        let tombstones = engine.tables.state(dataset)?.tombstones.mark();
        // Whatever stops this, the next start takes the rows out of the indexes.
        engine.owe(dataset).await?;
        let (column, keys) = (order.column.clone(), Arc::clone(&order.keys));
        let scope = Scope::Erase { column, keys, number: order.number, gate: Some(gate.clone()) };
        let report = engine.tables.compact(by, dataset, scope, Arc::clone(&order.progress)).await?;
        certificate.version = report.version;
        certificate.files_rewritten = report.files_rewritten;
        certificate.tombstones_removed = report.tombstones_applied;
        let indexes = engine.purge_indexes(by, dataset, Step::of(&report, tombstones), INDEX_PATIENCE).await?;
        engine.no_longer_owe(dataset).await?;
        certificate.indexes = indexes
            .into_iter()
            .map(|index| ErasedIndex {
                index: index.index,
                rows_removed: index.rows_removed,
                segments_rewritten: index.segments_rewritten,
                is_emptied: index.is_emptied,
            })
            .collect();
        let purged = engine.tables.purge(dataset).await?;
        // Others may have removed some of them meanwhile.
        certificate.files_removed = purged.files.max(report.files_rewritten);
        certificate.log_files_removed = purged.log_files;
        Ok(())
    }
}

/// Parquet footers in memory hold least and greatest values of files that are gone.
struct Caches;

#[async_trait]
impl Participant for Caches {
    async fn forget(&self, task: &Task<'_>, _: &mut Certificate) -> Result<(), EngineError> {
        task.engine.query.forget_what_was_read();
        Ok(())
    }
}

/// Records of tombstones name keys, and a log-structured store keeps what was deleted.
struct Metadata;

#[async_trait]
impl Participant for Metadata {
    async fn forget(&self, task: &Task<'_>, certificate: &mut Certificate) -> Result<(), EngineError> {
        certificate.metadata_generation = task.engine.meta.renew().await?.generation;
        Ok(())
    }
}
