//! An index that follows its relation.
//!
//! **Invariant**: what is searched changes in one transaction, with its journal event and the dataset's marks; until then, and when
//! anything fails, searches see what was there before.

mod pending; // what is embedded and not searched yet

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use lakehouse_access::{Action, Caller};
use lakehouse_catalog::{
    CatalogError, CatalogSnapshot, IdType, IndexLitter, IndexMetric, IndexRecord, IndexSource, Profile, Recipe, Seen,
};
use lakehouse_journal::{Draft, EventKind, Stamp};
use lakehouse_plugins::Bindings;
use lakehouse_query::{Governance, ReadRequest};
use lakehouse_settings::VectorSettings;
use lakehouse_tables::DatasetState;
use lakehouse_types::{ColumnName, DatasetId, DatasetName, Fault, IndexId, IndexName, Progress};
use lakehouse_vector::{Counts, Plan, Refreshed, Structure, folder_of_segment};
use serde_json::json;

use self::pending::Pending;
use super::{host, recipe};
use crate::{Engine, EngineError};

/// Links of a graph's node.
const GRAPH_LINKS: u32 = 32;
/// Candidates of a graph's search where a profile names none.
const EF_SEARCH: u32 = 128;
/// Candidates of a graph's node while it is linked, where a profile names none.
const EF_CONSTRUCTION: u32 = 80;

/// What to index, and how. What is left out is as it was at the refresh before.
#[derive(Debug, Clone, Default)]
pub struct RefreshIndex {
    /// A dataset or view.
    pub relation: String,
    pub id_column: Option<ColumnName>,
    pub source: Option<IndexSource>,
    pub metric: Option<IndexMetric>,
    pub chunk_size: Option<u32>,
    pub overlap: Option<u32>,
    /// What stands before the row key in a document id.
    pub id_prefix: Option<String>,
}

/// What a refresh did.
#[derive(Debug, Clone)]
pub struct RefreshReport {
    pub index: Arc<IndexRecord>,
    pub counts: Counts,
    /// Whether everything was embedded anew, because the rules or columns are others than before.
    pub is_rebuilt: bool,
    /// Whether the index was behind its rows or rules, and is no longer.
    pub stale_cleared: bool,
    pub duration: Duration,
}

impl Engine {
    /// Makes an index, or brings it up to date: embeds what is new or changed, drops what is gone.
    ///
    /// # Errors
    /// When the caller may not; the relation, its columns or the rules do not fit; the index was made of something else, or under
    /// another profile; it is being refreshed already; a rule fails. Nothing of a failed refresh is searched, and the next one goes on
    /// from what it had embedded.
    pub async fn refresh_index(
        self: &Arc<Self>,
        caller: &Caller,
        name: &IndexName,
        what: RefreshIndex,
        progress: Arc<dyn Progress>,
    ) -> Result<RefreshReport, EngineError> {
        self.require(caller, Action::ManageIndexes).await?;
        let (engine, caller, name) = (Arc::clone(self), caller.clone(), name.clone());
        let cpu = self.cpu.handle();
        // Every row is looked at: on the query threads, which may be busy without anybody's request being late.
        let work = async move { Box::pin(engine.refresh_now(&caller, &name, what, progress)).await };
        let running = async move { cpu.spawn(work).await.map_err(|_| EngineError::Lost("a refresh ended early"))? };
        self.changes.to_the_end(running).await
    }

    async fn refresh_now(
        &self,
        caller: &Caller,
        name: &IndexName,
        what: RefreshIndex,
        progress: Arc<dyn Progress>,
    ) -> Result<RefreshReport, EngineError> {
        let begun = Instant::now();
        let _taken = self.vectors.take(name)?;
        let present = self.catalog.snapshot();
        let profile = Arc::clone(present.profile(&caller.profile)?);
        let base = base_of(&present, &what.relation)?;
        if !profile.reaches(&what.relation) {
            let refusal = EngineError::not_bound(caller, &profile, &what.relation);
            return Err(self.denied(caller, &format!("refresh {name}"), refusal).await);
        }
        let before = present.indexes.get(name).cloned();
        let bindings = Bindings::new(self.registry.snapshot(), profile.effective_rules());
        let recipe = recipe::of(before.as_deref(), &what, &bindings, &profile, name)?;
        check_owner(before.as_deref(), &what.relation, caller, name)?;

        // Who searches by the index's name alone does not choose what stands behind it.
        let is_other = before.as_ref().is_none_or(|before| before.recipe != recipe);
        if is_other && caller.principal.may_search_index(name) && !self.reads(caller, &what.relation, &base) {
            let refusal = EngineError::NoInsight { index: name.clone(), relation: what.relation };
            return Err(self.denied(caller, &format!("refresh {name}"), refusal).await);
        }

        let reader = host(caller);
        let governance = self.query.governance(&reader, &what.relation)?;
        let is_damaged = before.as_ref().is_some_and(|before| self.vectors.damaged.lock().contains(&before.id));
        let was_stale = before
            .as_ref()
            .is_none_or(|before| !before.is_ready() || before.recipe != recipe || !is_current(before, &governance) || is_damaged);
        if let Some(before) = &before
            && !was_stale
            && before.pending.is_none()
        {
            let (index, duration) = (Arc::clone(before), begun.elapsed());
            let counts = Counts { rows: index.rows(), unchanged_rows: index.rows(), ..Counts::default() };
            return Ok(RefreshReport { index, counts, is_rebuilt: false, stale_cleared: false, duration });
        }

        let place = self.vectors.place()?;
        let is_rebuilt = before.as_ref().is_some_and(|before| before.is_ready() && before.recipe != recipe);
        let embedding = recipe::open(&bindings, &profile, &recipe).await?;
        let request = ReadRequest {
            relation: &what.relation,
            columns: &[recipe.id_column.as_str(), recipe.source.column().as_str()],
            filter: None,
            deadline: Some(self.settings.vector.refresh_deadline),
            place: Some(place),
        };
        let reading = self.query.read(&reader, request).await?;
        progress.begin("rows", Some(reading.governance.state.visible_rows()));
        let cancelled = EngineError::Cancelled { what: format!("the refresh of index `{name}`") };
        let (told, cancelled) = (Arc::clone(&progress), Arc::new(cancelled) as Arc<dyn Fault>);
        let rows = reading.answer.batches.map(move |batch| match batch {
            _ if told.is_cancelled() => Err(Arc::clone(&cancelled)),
            Ok(batch) => {
                told.advance(batch.num_rows() as u64);
                Ok(batch)
            }
            Err(error) => Err(Arc::new(error) as Arc<dyn Fault>),
        });
        let rows = rows.boxed();
        let work = Work {
            engine: self,
            by: self.stamp(caller),
            profile,
            before,
            recipe,
            base,
            relation: what.relation,
            name: name.clone(),
            governance: reading.governance,
        };
        let plan = work.plan(is_damaged);
        let draft = Arc::clone(&plan.index);
        let mut keep =
            Pending { engine: self, by: work.by.clone(), draft, recipe: work.recipe.clone(), kept: plan.pending.clone() };
        let indexes = &self.vectors.indexes;
        let refreshed = lakehouse_vector::refresh(indexes, &self.meta, plan, rows, embedding, &mut keep).await?;
        let index = work.commit(&keep.draft, refreshed.clone(), is_rebuilt).await?;
        let duration = begun.elapsed();
        Ok(RefreshReport { index, counts: refreshed.counts, is_rebuilt, stale_cleared: was_stale, duration })
    }
}

/// Whether the index was made from this version under these rules.
pub(super) fn is_current(index: &IndexRecord, governance: &Governance) -> bool {
    let Governance { digest, state } = governance;
    let seen = &index.seen;
    index.governance == *digest
        && seen.dataset.as_str() == state.id
        && seen.version == state.version
        && seen.tombstones == state.tombstones.mark()
}

/// Whether the relation may have rows that the index does not know: rows that came, or rows that were hidden then.
pub(super) fn is_behind(index: &IndexRecord, governance: &Governance) -> bool {
    index.seen.version != governance.state.version
        || (index.seen.tombstones != 0 && index.seen.tombstones != governance.state.tombstones.mark())
}

fn base_of(present: &CatalogSnapshot, relation: &str) -> Result<DatasetName, EngineError> {
    match present.relation(relation) {
        Some(relation) => Ok(present.ground(&relation)?.name.clone()),
        None => {
            let name = relation.parse().map_err(|_| EngineError::NoRelation)?;
            Err(CatalogError::UnknownDataset { name }.into())
        }
    }
}

/// How segments are built under a profile.
pub(super) fn structure_of(settings: &VectorSettings, profile: &Profile) -> Structure {
    let hnsw = profile.hnsw_config;
    Structure {
        flat_below: settings.flat_below,
        m: GRAPH_LINKS,
        ef_construction: hnsw.map_or(EF_CONSTRUCTION, |config| config.ef_construction),
        ef_search: hnsw.map_or(EF_SEARCH, |config| config.ef_search),
    }
}

/// An index belongs to one relation and one profile.
fn check_owner(before: Option<&IndexRecord>, relation: &str, caller: &Caller, name: &IndexName) -> Result<(), EngineError> {
    let Some(before) = before else { return Ok(()) };
    let other = |what, was: &str| EngineError::IndexMismatch { index: name.clone(), what, was: was.to_owned() };
    if before.relation != relation {
        return Err(other("of relation", &before.relation));
    }
    if before.profile != caller.profile {
        return Err(other("under profile", before.profile.as_str()));
    }
    Ok(())
}

/// One refresh that has something to do.
struct Work<'e> {
    engine: &'e Engine,
    by: Stamp,
    profile: Arc<Profile>,
    before: Option<Arc<IndexRecord>>,
    recipe: Recipe,
    base: DatasetName,
    relation: String,
    name: IndexName,
    governance: Governance,
}

impl Work<'_> {
    fn plan(&self, verify: bool) -> Plan {
        let structure = structure_of(&self.engine.settings.vector, &self.profile);
        let pending = self.before.as_ref().and_then(|before| before.pending.as_ref());
        let pending = pending.filter(|pending| pending.recipe == self.recipe);
        let index = IndexRecord { dimensions: pending.map(|pending| pending.dimensions), ..self.draft() };
        let index = match &self.before {
            Some(before) if before.is_ready() && before.recipe == self.recipe => {
                let (segments, dimensions) = (before.segments.clone(), before.dimensions.or(index.dimensions));
                IndexRecord { segments, dimensions, refreshed_at: before.refreshed_at, id_type: before.id_type, ..index }
            }
            _ => index,
        };
        Plan {
            index: Arc::new(index),
            pending: pending.map(|pending| pending.segments.clone()).unwrap_or_default(),
            structure,
            segment_bytes: self.engine.settings.vector.segment_bytes,
            verify,
        }
    }

    /// The index without segments, as this refresh makes it.
    fn draft(&self) -> IndexRecord {
        let state = &self.governance.state;
        let before = self.before.as_deref();
        IndexRecord {
            name: self.name.clone(),
            id: before.map_or_else(IndexId::fresh, |before| before.id.clone()),
            relation: self.relation.clone(),
            base: self.base.clone(),
            bucket: before.map_or_else(|| state.bucket.clone(), |before| before.bucket.clone()),
            recipe: self.recipe.clone(),
            id_type: IdType::Text,
            profile: self.profile.id.clone(),
            dimensions: None,
            governance: self.governance.digest.clone(),
            seen: Seen {
                dataset: DatasetId::new(&state.id).expect("a state is of a dataset, whose id is one"),
                version: state.version,
                tombstones: state.tombstones.mark(),
                files: state.file_marks(),
            },
            generation: before.map_or(0, |before| before.generation),
            segments: Vec::new(),
            pending: None,
            created_at: before.map_or(self.by.at, |before| before.created_at),
            created_by: before.map_or_else(|| self.by.actor.clone(), |before| before.created_by.clone()),
            refreshed_at: None,
        }
    }

    /// Marks what came in while the refresh was being committed.
    async fn mark_late_rows(&self, by: &Stamp, record: &IndexRecord, state: &DatasetState) -> Result<(), EngineError> {
        let newest = self.engine.tables.dataset(&record.base);
        if newest.is_none_or(|newest| newest.id == state.id && newest.version == state.version) {
            return Ok(());
        }
        self.engine
            .catalog
            .edit(by, |present, edit| {
                let mut dataset = present.dataset(&record.base)?.as_ref().clone();
                if dataset.mark_stale(by.at) {
                    edit.put_dataset(dataset)?;
                }
                Ok(())
            })
            .await
    }

    async fn commit(&self, draft: &IndexRecord, refreshed: Refreshed, is_rebuilt: bool) -> Result<Arc<IndexRecord>, EngineError> {
        let now = self.engine.clock.now();
        let Refreshed { segments, mut litter, dimensions, id_type, counts } = refreshed;
        // Segments of before that are named no more: of other rules, or without a live row.
        let named: BTreeSet<&IndexId> = segments.iter().map(|segment| &segment.id).collect();
        if let Some(before) = &self.before {
            let pending = before.pending.iter().flat_map(|pending| &pending.segments);
            let gone = before.segments.iter().chain(pending).filter(|segment| !named.contains(&segment.id));
            litter.extend(gone.map(|segment| folder_of_segment(&before.id, &segment.id)));
        }
        let record = IndexRecord {
            segments,
            dimensions,
            id_type: id_type.unwrap_or(draft.id_type),
            pending: None,
            generation: draft.generation + 1,
            refreshed_at: Some(now),
            ..draft.clone()
        };
        let details = json!({
            "relation": self.relation, "rows": record.rows(), "new": counts.new_rows, "changed": counts.changed_rows,
            "removed": counts.removed_rows, "embedded": counts.embedded, "rebuilt": is_rebuilt,
        });
        let by = Stamp { at: now, ..self.by.clone() };
        let stored = record.clone();
        let state = Arc::clone(&self.governance.state);
        self.engine
            .catalog
            .edit(&by, |present, edit| {
                edit.put_index(stored.clone())?;
                for folder in &litter {
                    let note = IndexLitter { bucket: stored.bucket.clone(), folder: folder.clone() };
                    edit.txn().put(folder, &note).map_err(CatalogError::from)?;
                }
                let mut dataset = present.dataset(&stored.base)?.as_ref().clone();
                dataset.last_embedded_at = Some(now);
                let newest = self.engine.tables.dataset(&stored.base);
                let is_newest = newest.is_some_and(|newest| newest.id == state.id && newest.version == state.version);
                let of_base = present.indexes.values().filter(|other| other.base == stored.base && other.name != stored.name);
                let others_are = of_base.clone().all(|other| other.is_ready() && other.seen.version == state.version);
                if is_newest && others_are {
                    dataset.embedding_stale_since = None;
                } else {
                    dataset.mark_stale(now);
                }
                edit.put_dataset(dataset)?;
                edit.event(
                    Draft::new(EventKind::IndexRefresh, stored.name.as_str()).dataset(stored.base.clone()).details(details),
                );
                Ok::<_, EngineError>(())
            })
            .await?;
        self.engine.vectors.damaged.lock().remove(&record.id);
        if let Err(error) = self.mark_late_rows(&by, &record, &state).await {
            tracing::warn!(index = %record.name, %error, "rows that came in meanwhile are not marked");
        }
        if !litter.is_empty() {
            self.engine.sweep_indexes(litter);
        }
        Ok(Arc::new(record))
    }
}
