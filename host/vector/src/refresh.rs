//! What changed in a relation, embedded.
//!
//! **Invariant**: exactly the rows whose content is not indexed yet are embedded; what is unchanged is not rewritten; nothing is
//! searched before the caller has committed the outcome. What a refresh wrote before it failed is kept for the next one.

use std::{collections::HashSet, sync::Arc};

use arrow::array::{Array, AsArray, RecordBatch};
use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use lakehouse_catalog::{IdType, IndexRecord, SegmentRecord};
use lakehouse_faiss::Bitmap;
use lakehouse_storage::Meta;
use lakehouse_types::Fault;

use crate::{
    Embedding, Indexes, Need, Result, VectorError,
    draft::Draft,
    embed::{Fresh, content_of, hash_of, id_type},
    files::as_usize,
    litter::folder_of_segment,
    mask::text_form,
    rows::Rows,
};

/// Rows of one index.
const MAX_ROWS: u64 = 100_000_000;
/// Rows that are chunked at once; what a failure loses.
const PART_ROWS: usize = 256;

/// How segments are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Structure {
    /// With fewer vectors a segment has no structure.
    pub flat_below: usize,
    pub m: u32,
    pub ef_construction: u32,
    pub ef_search: u32,
}

/// A refresh to be made.
#[derive(Debug)]
pub struct Plan {
    /// The index as it is; without segments, and never refreshed, when it is new or made anew.
    pub index: Arc<IndexRecord>,
    /// Segments that an earlier refresh under the same rules wrote and did not finish with.
    pub pending: Vec<SegmentRecord>,
    pub structure: Structure,
    /// What a segment holds in memory before it is written.
    pub segment_bytes: u64,
    /// Whether to read every object of the present segments, and make anew what is damaged.
    pub verify: bool,
}

/// Told of each segment that is durable and not named yet.
#[async_trait]
pub trait Keep: Send + Sync {
    /// Names it as pending, durably.
    async fn keep(&mut self, segment: &SegmentRecord, dimensions: u32) -> Result<()>;
    /// Rows read so far.
    fn read(&mut self, rows: u64);
}

/// The outcome, to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refreshed {
    /// What is to be searched from now on.
    pub segments: Vec<SegmentRecord>,
    /// Folders that nothing needs once it is committed.
    pub litter: Vec<String>,
    pub dimensions: Option<u32>,
    pub id_type: Option<IdType>,
    pub counts: Counts,
}

/// What a refresh met and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows with an id and content.
    pub rows: u64,
    pub new_rows: u64,
    pub changed_rows: u64,
    pub removed_rows: u64,
    pub unchanged_rows: u64,
    /// Rows without an id; they cannot be named, so they are not indexed.
    pub rows_without_id: u64,
    /// Rows whose content is NULL.
    pub rows_without_content: u64,
    /// Chunks of new and changed rows.
    pub chunks: u64,
    /// Texts that the embedder was called with.
    pub embedded: u64,
}

impl Counts {
    /// Whether anything is to be committed.
    pub fn is_idle(&self) -> bool {
        self.new_rows + self.changed_rows + self.removed_rows == 0
    }
}

/// Reads the relation (ids, then content) to its end, and embeds what is new or changed.
///
/// # Errors
/// When the ids or the content are of no use, a rule fails, or the storage does. What was embedded until then is pending.
pub async fn refresh(
    indexes: &Indexes,
    meta: &Meta,
    plan: Plan,
    rows: BoxStream<'static, Result<RecordBatch, Arc<dyn Fault>>>,
    embedding: Embedding,
    keep: &mut dyn Keep,
) -> Result<Refreshed> {
    let dimensions = plan.index.dimensions.unwrap_or_default() as usize;
    let mut work = Work {
        indexes,
        meta,
        known: Vec::new(),
        litter: Vec::new(),
        added: HashSet::new(),
        draft: Draft::new(dimensions),
        dimensions,
        written: Vec::new(),
        id_type: plan.index.is_ready().then_some(plan.index.id_type),
        counts: Counts::default(),
        plan,
        embedding,
        keep,
    };
    work.open().await?;
    match work.read(rows).await {
        Ok(()) => work.finish().await,
        Err(error) => {
            // What is embedded is embedded.
            if let Err(lost) = work.close().await {
                tracing::warn!(error = %lost, "what a failed refresh had embedded could not be kept");
            }
            Err(error)
        }
    }
}

/// A segment that is there already.
struct Known {
    record: SegmentRecord,
    rows: Arc<Rows>,
    dead: Option<Bitmap>,
    /// Rows that the relation still has, changed ones included.
    met: Bitmap,
    /// Rows that the relation still has as they are.
    same: Bitmap,
}

struct Work<'w> {
    indexes: &'w Indexes,
    meta: &'w Meta,
    plan: Plan,
    embedding: Embedding,
    keep: &'w mut dyn Keep,
    /// Oldest first.
    known: Vec<Known>,
    litter: Vec<String>,
    /// Keys that are in no segment yet.
    added: HashSet<Box<str>>,
    draft: Draft,
    dimensions: usize,
    written: Vec<SegmentRecord>,
    id_type: Option<IdType>,
    counts: Counts,
}

impl Work<'_> {
    async fn open(&mut self) -> Result<()> {
        let index = Arc::clone(&self.plan.index);
        if self.plan.verify {
            self.indexes.forget(&index.id);
        }
        for record in index.segments.iter().chain(&self.plan.pending).cloned().collect::<Vec<_>>() {
            match self.known(&index, record.clone()).await {
                Ok(known) => self.known.push(known),
                Err(VectorError::Damaged { file, .. }) => {
                    tracing::error!(index = %index.name, file, "a segment is damaged and is made anew");
                    self.litter.push(folder_of_segment(&index.id, &record.id));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn known(&self, index: &Arc<IndexRecord>, record: SegmentRecord) -> Result<Known> {
        if self.plan.verify {
            let alone = IndexRecord { segments: vec![record.clone()], ..IndexRecord::clone(index) };
            self.indexes.load(&Arc::new(alone), Need::Warm).await?;
        }
        let rows = self.indexes.rows(index, &record).await?;
        let dead = self.indexes.dead(index, &record).await?;
        Ok(Known { met: Bitmap::empty(rows.len()), same: Bitmap::empty(rows.len()), record, rows, dead })
    }

    async fn read(&mut self, mut rows: BoxStream<'static, Result<RecordBatch, Arc<dyn Fault>>>) -> Result<()> {
        let mut read = 0;
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(VectorError::Source)?;
            self.take(&batch).await?;
            read += batch.num_rows() as u64;
            if read > MAX_ROWS {
                return Err(VectorError::TooManyRows { limit: MAX_ROWS });
            }
            self.keep.read(read);
        }
        let Counts { rows, rows_without_content, .. } = self.counts;
        if rows == 0 && rows_without_content > 0 && !self.plan.index.is_ready() {
            let column = self.plan.index.recipe.source.column().to_string();
            return Err(VectorError::NothingToIndex { column, rows: rows_without_content });
        }
        Ok(())
    }

    async fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let (ids, id_column) = (batch.column(0), self.plan.index.recipe.id_column.to_string());
        let is = id_type(&id_column, ids.data_type())?;
        match self.id_type.replace(is) {
            Some(was) if was != is => return Err(VectorError::IdTypeChanged { column: id_column, was, is }),
            _ => {}
        }
        let content = content_of(&self.plan.index.recipe.source, batch.column(1))?;
        let keys = text_form(ids)?;
        let (mut fresh, mut repeated) = (Vec::new(), 0);
        for (key, row) in keys.as_string::<i32>().iter().zip(0u32..) {
            let Some(key) = key else {
                self.counts.rows_without_id += 1;
                continue;
            };
            let Some(hash) = hash_of(&content, row as usize) else {
                self.counts.rows_without_content += 1;
                continue;
            };
            self.counts.rows += 1;
            match self.look_up(key) {
                Some((at, known_row)) => {
                    self.meet_older(key, at)?;
                    let known = &mut self.known[at];
                    if !known.met.insert(known_row)? {
                        repeated += 1;
                    } else if known.rows.hash(known_row) == hash {
                        known.same.insert(known_row)?;
                        self.counts.unchanged_rows += 1;
                    } else {
                        self.counts.changed_rows += 1;
                        fresh.push((row, hash));
                    }
                }
                None if self.added.insert(key.into()) => {
                    self.counts.new_rows += 1;
                    fresh.push((row, hash));
                }
                None => repeated += 1,
            }
        }
        if repeated > 0 {
            return Err(VectorError::DuplicateIds { column: id_column, rows: repeated });
        }
        for part in fresh.chunks(PART_ROWS) {
            let before = self.draft.chunks();
            self.counts.embedded += self.embedding.embed(Fresh { ids, content: &content, rows: part }, &mut self.draft).await?;
            self.counts.chunks += self.draft.chunks() - before;
            if self.draft.bytes() >= self.plan.segment_bytes {
                self.close().await?;
            }
        }
        Ok(())
    }

    /// The newest live row of this key.
    fn look_up(&self, key: &str) -> Option<(usize, u32)> {
        self.known.iter().enumerate().rev().find_map(|(at, known)| {
            let row = known.rows.find(key)?;
            let is_dead = known.dead.as_ref().is_some_and(|dead| dead.contains(row));
            (!is_dead).then_some((at, row))
        })
    }

    /// A row that a newer segment has is no row that went.
    fn meet_older(&mut self, key: &str, newest: usize) -> Result<()> {
        for known in &mut self.known[..newest] {
            if let Some(row) = known.rows.find(key).filter(|row| known.dead.as_ref().is_none_or(|dead| !dead.contains(*row))) {
                known.met.insert(row)?;
            }
        }
        Ok(())
    }

    /// Writes what is embedded.
    async fn close(&mut self) -> Result<()> {
        if self.draft.is_empty() {
            return Ok(());
        }
        let draft = std::mem::replace(&mut self.draft, Draft::new(self.dimensions));
        self.dimensions = draft.dimensions();
        self.draft = Draft::new(self.dimensions);
        let segment = draft.write(self.indexes, self.meta, &self.plan.index, self.plan.structure).await?;
        self.keep.keep(&segment, self.dimensions as u32).await?;
        self.written.push(segment);
        Ok(())
    }

    async fn finish(mut self) -> Result<Refreshed> {
        self.close().await?;
        let index = Arc::clone(&self.plan.index);
        let mut segments = Vec::new();
        for known in std::mem::take(&mut self.known) {
            match self.settle(&index, known).await? {
                Ok(record) => segments.push(record),
                Err(folder) => self.litter.push(folder),
            }
        }
        segments.append(&mut self.written);
        let dimensions = (self.dimensions > 0).then_some(self.dimensions as u32);
        Ok(Refreshed { segments, litter: self.litter, dimensions, id_type: self.id_type, counts: self.counts })
    }

    /// The segment as it is from now on; its folder when no row of it lives.
    async fn settle(&mut self, index: &IndexRecord, known: Known) -> Result<Result<SegmentRecord, String>> {
        let Known { mut record, rows, dead, same, met } = known;
        let folder = folder_of_segment(&index.id, &record.id);
        let live = same.count();
        let was_live = rows.len() - dead.as_ref().map_or(0, Bitmap::count);
        // Changed rows are counted as such.
        self.counts.removed_rows += (was_live - met.count()) as u64;
        if live == 0 {
            return Ok(Err(folder));
        }
        if live < was_live {
            let mut dead = Bitmap::full(rows.len());
            dead.subtract(&same)?;
            if let Some(old) = record.files.dead.take() {
                let of_it = old.name.rsplit_once('/').map_or(old.name.as_str(), |(folder, _)| folder);
                self.litter.push(format!("{folder}/{of_it}"));
            }
            let bucket = self.indexes.bucket(&index.bucket)?;
            let name = format!("dead/{}/rows.bits", index.generation + 1);
            record.files.dead = Some(self.indexes.store(&bucket, &folder, &name, dead.to_bytes()).await?);
            record.live_rows = live as u64;
        }
        debug_assert!(live <= as_usize(record.rows));
        Ok(Ok(record))
    }
}
