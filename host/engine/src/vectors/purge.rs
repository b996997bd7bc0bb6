//! Indexes without the rows that a compaction or an erasure took out of their dataset.
//!
//! **Invariant**: afterwards no object of an index over the dataset holds a text or vector of a row that its relation does not show
//! now. One whose relation cannot be read as it was indexed is emptied, and embedded anew by its next refresh.

use std::{sync::Arc, time::Duration};

use lakehouse_access::{Caller, Principal};
use lakehouse_catalog::{CatalogError, IndexLitter, IndexRecord, Profile, Seen};
use lakehouse_journal::Stamp;
use lakehouse_query::QueryError;
use lakehouse_tables::{CompactionReport, DatasetState};
use lakehouse_types::{DatasetId, DatasetName, IndexName, RequestId};
use lakehouse_vector::{Need, Purged, VectorError, folder_of_segment};
use tokio::time::Instant;

use super::{Taken, refresh::structure_of};
use crate::{Engine, EngineError};

/// How often a refresh that holds an index is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What became of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgedIndex {
    pub index: IndexName,
    pub rows_removed: u64,
    pub segments_rewritten: u64,
    /// Its relation could not be read as it was indexed: it holds nothing until its next refresh.
    pub is_emptied: bool,
}

/// A compaction, as indexes have to follow it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// The version that it was made from.
    from: u64,
    to: u64,
    /// Those of before it began.
    tombstones: u64,
}

impl Step {
    /// `tombstones` are the marks of the keys that were hidden before it.
    pub(crate) fn of(report: &CompactionReport, tombstones: u64) -> Self {
        Self { from: report.base_version, to: report.version, tombstones }
    }

    /// One of which nothing is known any more.
    pub(crate) const UNKNOWN: Self = Self { from: u64::MAX, to: u64::MAX, tombstones: 0 };

    /// The version that an index has seen after it: it has all rows of this one if it had all of the one before, and no later one.
    fn seen_after(&self, seen: &Seen) -> u64 {
        let had_all = seen.version == self.from && (seen.tombstones == 0 || seen.tombstones == self.tombstones);
        if had_all { self.to } else { seen.version }
    }
}

impl Engine {
    /// Takes out of the indexes over a dataset what it no longer has. Waits for refreshes that run, at most `patience`.
    ///
    /// # Errors
    /// When an index is being refreshed for longer, or the storage fails.
    pub(crate) async fn purge_indexes(
        self: &Arc<Self>,
        by: &Stamp,
        dataset: &DatasetName,
        step: Step,
        patience: Duration,
    ) -> Result<Vec<PurgedIndex>, EngineError> {
        let names: Vec<IndexName> = self
            .catalog
            .snapshot()
            .indexes
            .values()
            .filter(|index| index.base == *dataset)
            .map(|index| index.name.clone())
            .collect();
        let until = Instant::now() + patience;
        let mut purged = Vec::with_capacity(names.len());
        for name in names {
            let taken = self.take_by(&name, until).await?;
            // It may have been dropped while it was waited for.
            if let Some(index) = self.catalog.snapshot().indexes.get(&name).cloned() {
                purged.push(self.purge_index(by, &index, step, &taken).await?);
            }
        }
        Ok(purged)
    }

    /// After files were only merged: the same rows are in other files, and an index that had seen all of them has still.
    pub(crate) async fn follow_merge(&self, by: &Stamp, step: Step, report: &CompactionReport) -> Result<(), EngineError> {
        let Some(state) = self.tables.dataset(&report.dataset).filter(|state| state.version == report.version) else {
            return Ok(());
        };
        self.catalog
            .edit(by, |present, edit| {
                let of_it = present
                    .indexes
                    .values()
                    .filter(|index| index.base == report.dataset && step.seen_after(&index.seen) != index.seen.version);
                for index in of_it {
                    let seen = Seen { version: state.version, files: state.file_marks(), ..index.seen.clone() };
                    edit.put_index(IndexRecord { seen, ..IndexRecord::clone(index) })?;
                }
                Ok::<_, CatalogError>(())
            })
            .await?;
        Ok(())
    }

    async fn take_by(&self, name: &IndexName, until: Instant) -> Result<Taken, EngineError> {
        loop {
            match self.vectors.take(name) {
                Err(EngineError::IndexBusy { .. }) if Instant::now() < until => tokio::time::sleep(LOOK).await,
                taken => return taken,
            }
        }
    }

    async fn purge_index(
        &self,
        by: &Stamp,
        index: &Arc<IndexRecord>,
        step: Step,
        _taken: &Taken,
    ) -> Result<PurgedIndex, EngineError> {
        let host = Caller {
            principal: Arc::new(Principal::local_admin()),
            profile: index.profile.clone(),
            request_id: RequestId::fresh(),
        };
        let profile = self.catalog.snapshot().profiles.get(&index.profile).cloned();
        let left = match &profile {
            Some(profile) => self.left_of(&host, index, profile).await,
            None => Err(EngineError::IndexOutdated { index: index.name.clone() }),
        };
        let (purged, state) = match left {
            Ok((purged, state)) => (purged, Some(state)),
            Err(error) if !is_lasting(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(index = %index.name, %error, "an index is emptied: what it may keep cannot be told");
                let litter = index.segments.iter().map(|segment| folder_of_segment(&index.id, &segment.id)).collect();
                (
                    Purged { litter, rows_removed: index.segments.iter().map(|segment| segment.rows).sum(), ..Purged::default() },
                    None,
                )
            }
        };
        self.commit_purge(by, index, step, purged, state.as_deref()).await
    }

    /// The segments without the rows that the relation does not show, and the state that it was asked in.
    async fn left_of(
        &self,
        host: &Caller,
        index: &Arc<IndexRecord>,
        profile: &Profile,
    ) -> Result<(Purged, Arc<DatasetState>), EngineError> {
        let governance = self.query.governance(host, &index.relation)?;
        let loaded = self.vectors.indexes.load(index, Need::Now).await?;
        let keep = self.live_rows(host, &loaded, &governance).await?;
        let structure = structure_of(&self.settings.vector, profile);
        let purged = lakehouse_vector::purge(&self.vectors.indexes, &self.meta, &loaded, &keep, structure).await?;
        Ok((purged, governance.state))
    }

    async fn commit_purge(
        &self,
        by: &Stamp,
        index: &Arc<IndexRecord>,
        step: Step,
        purged: Purged,
        state: Option<&DatasetState>,
    ) -> Result<PurgedIndex, EngineError> {
        let Purged { segments, written, mut litter, rows_removed } = purged;
        let is_emptied = state.is_none();
        // What a refresh embedded and did not end may be of rows that are gone.
        litter
            .extend(index.pending.iter().flat_map(|pending| &pending.segments).map(|one| folder_of_segment(&index.id, &one.id)));
        let seen = match state {
            // It has no row that this state does not have as it was indexed.
            Some(state) => Seen {
                dataset: DatasetId::new(&state.id).unwrap_or_else(|_| index.seen.dataset.clone()),
                version: step.seen_after(&index.seen),
                tombstones: state.tombstones.mark(),
                files: state.file_marks(),
            },
            None => Seen { tombstones: 0, files: Vec::new(), ..index.seen.clone() },
        };
        let record = IndexRecord {
            segments,
            pending: None,
            seen,
            generation: index.generation + 1,
            refreshed_at: index.refreshed_at.filter(|_| !is_emptied),
            ..IndexRecord::clone(index)
        };
        self.catalog
            .edit(by, |_, edit| {
                edit.put_index(record.clone())?;
                let txn = edit.txn();
                for segment in &written {
                    txn.delete::<IndexLitter>(&folder_of_segment(&record.id, &segment.id));
                }
                for folder in &litter {
                    let note = IndexLitter { bucket: record.bucket.clone(), folder: folder.clone() };
                    txn.put(folder, &note).map_err(CatalogError::from)?;
                }
                Ok::<_, EngineError>(())
            })
            .await?;
        self.vectors.forget(&index.id);
        // Now: who asked for it wants to know that they are gone.
        lakehouse_vector::sweep_folders(&self.meta, &self.buckets, &litter).await?;
        Ok(PurgedIndex { index: index.name.clone(), rows_removed, segments_rewritten: written.len() as u64, is_emptied })
    }
}

/// Whether the relation will not be readable as it was indexed by waiting: a busy server, a deadline or a store that fails pass.
fn is_lasting(error: &EngineError) -> bool {
    match error {
        EngineError::IndexOutdated { .. } | EngineError::Catalog(_) | EngineError::Vector(VectorError::Damaged { .. }) => true,
        EngineError::Query(error) => matches!(
            error,
            QueryError::UnknownTable { .. }
                | QueryError::UnknownColumn { .. }
                | QueryError::Plan { .. }
                | QueryError::Definition { .. }
        ),
        _ => false,
    }
}
