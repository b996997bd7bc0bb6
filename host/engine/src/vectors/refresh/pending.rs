//! What a refresh has embedded, before it is searched.
//!
//! **Invariant**: naming a segment changes nothing of what is searched, and crosses its folder out as litter in the same transaction.

use std::sync::Arc;

use async_trait::async_trait;
use lakehouse_catalog::{CatalogError, IndexLitter, IndexRecord, PendingSegments, Recipe, SegmentRecord};
use lakehouse_journal::Stamp;
use lakehouse_vector::{Keep, VectorError, folder_of_segment};

use crate::Engine;

/// Names what is embedded as pending, so that a refresh that fails or is killed has not worked in vain.
pub(super) struct Pending<'e> {
    pub(super) engine: &'e Engine,
    pub(super) by: Stamp,
    pub(super) draft: Arc<IndexRecord>,
    pub(super) recipe: Recipe,
    pub(super) kept: Vec<SegmentRecord>,
}

#[async_trait]
impl Keep for Pending<'_> {
    async fn keep(&mut self, segment: &SegmentRecord, dimensions: u32) -> Result<(), VectorError> {
        self.kept.push(segment.clone());
        let pending = PendingSegments { recipe: self.recipe.clone(), dimensions, segments: self.kept.clone() };
        let folder = folder_of_segment(&self.draft.id, &segment.id);
        let draft = &self.draft;
        let edited = self
            .engine
            .catalog
            .edit(&self.by, |present, edit| {
                // What is searched stays as it is.
                let mut record = match present.indexes.get(&draft.name) {
                    Some(before) => IndexRecord::clone(before),
                    None => IndexRecord { segments: Vec::new(), refreshed_at: None, ..IndexRecord::clone(draft) },
                };
                // What another recipe left there is of no use any more.
                for other in
                    record.pending.iter().filter(|other| other.recipe != pending.recipe).flat_map(|other| &other.segments)
                {
                    let folder = folder_of_segment(&record.id, &other.id);
                    let litter = IndexLitter { bucket: record.bucket.clone(), folder: folder.clone() };
                    edit.txn().put(&folder, &litter)?;
                }
                record.pending = Some(pending);
                // The view may stand on another dataset than before.
                record.base = draft.base.clone();
                edit.put_index(record)?;
                edit.txn().delete::<IndexLitter>(&folder);
                Ok::<_, CatalogError>(())
            })
            .await;
        edited.map_err(|error| VectorError::Source(Arc::new(error)))
    }

    fn read(&mut self, rows: u64) {
        tracing::debug!(index = %self.draft.name, rows, "refreshing");
    }
}
