//! Search: a text or a vector in, rows out, under the searcher's grants and profile.
//!
//! **Invariant**: who may not read an index's relation learns nothing of it; hits are rows that the relation would show this caller
//! now, with the text that it would show.

use std::sync::Arc;

use arrow::array::StringArray;
use lakehouse_access::{Action, Caller};
use lakehouse_catalog::{CatalogError, IndexRecord, Profile, RuleKind};
use lakehouse_query::Governance;
use lakehouse_types::{IndexName, ProfileId};
use lakehouse_vector::{Loaded, Mask, Need, Query, Searched, VectorError};

use super::{live::Files, recipe, refresh::is_behind};
use crate::{Engine, EngineError};

/// How often a search begins anew because its index was refreshed meanwhile.
const MAX_RACES: usize = 4;
/// Numbers that are compared in about a millisecond.
const MOMENT_NUMBERS: usize = 16_000_000;
/// Bytes of a query's text.
const MAX_QUERY_BYTES: usize = 32 << 10;

/// What to look for.
#[derive(Debug, Clone)]
pub enum Seek {
    /// Embedded as the index was.
    Text(String),
    Vector(Vec<f32>),
}

/// A search.
#[derive(Debug, Clone)]
pub struct SearchIndex {
    pub index: IndexName,
    pub seek: Seek,
    /// Rows.
    pub k: usize,
    /// One SQL expression over the columns of the index's relation.
    pub filter: Option<String>,
    /// In place of the caller's own.
    pub profile: Option<ProfileId>,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Hits {
    pub index: Arc<IndexRecord>,
    pub profile: ProfileId,
    pub found: Searched,
    /// Whether the relation has changed since the index was refreshed.
    pub is_stale: bool,
}

impl Engine {
    /// The rows of an index's relation that are nearest to a text or a vector, of those that satisfy the filter.
    ///
    /// # Errors
    /// When the caller may not, under this profile or at all; the index does not exist, holds what the rules would no longer show, or
    /// was embedded by another model; the filter does not fit; `k` is 0 or beyond the limit; a part of the index is damaged.
    pub async fn search(&self, caller: &Caller, what: SearchIndex) -> Result<Hits, EngineError> {
        self.require(caller, Action::Search).await?;
        let caller = &self.under(caller, what.profile.as_ref()).await?;
        let max_k = self.settings.vector.max_k;
        if !(1..=max_k).contains(&what.k) {
            return Err(EngineError::OutOfRange { what: "k", min: 1, max: max_k });
        }
        let mut index = self.index_for(caller, &what.index).await?;
        for _ in 0..MAX_RACES {
            match self.search_in(caller, &what, &index).await {
                Err(EngineError::Vector(error @ VectorError::Damaged { .. })) => {
                    if self.is_damage(&index, &error) {
                        return Err(error.into());
                    }
                    index = Arc::clone(self.catalog.snapshot().index(&what.index)?);
                }
                outcome => return outcome,
            }
        }
        Err(EngineError::Raced { what: format!("index `{}`", what.index) })
    }

    /// The caller, under the profile that a search names.
    async fn under(&self, caller: &Caller, profile: Option<&ProfileId>) -> Result<Caller, EngineError> {
        let Some(asked) = profile.filter(|asked| **asked != caller.profile) else { return Ok(caller.clone()) };
        match caller.principal.choose_profile(Some(asked)) {
            Ok(profile) => {
                self.catalog.snapshot().profile(&profile)?;
                Ok(Caller { profile, ..caller.clone() })
            }
            Err(refusal) => Err(self.denied(caller, "choose a profile", refusal).await),
        }
    }

    async fn search_in(&self, caller: &Caller, what: &SearchIndex, index: &Arc<IndexRecord>) -> Result<Hits, EngineError> {
        let profile = Arc::clone(self.catalog.snapshot().profile(&caller.profile)?);
        if !self.may_search(caller, index) {
            let refusal = EngineError::NoIndexGrant { index: index.name.clone() };
            return Err(self.denied(caller, &format!("search {}", index.name), refusal).await);
        }
        if !profile.reaches(&index.relation) {
            let refusal = EngineError::not_bound(caller, &profile, &index.relation);
            return Err(self.denied(caller, &format!("search {}", index.name), refusal).await);
        }
        if !index.is_ready() {
            // Nothing half made is to be seen.
            return Err(CatalogError::UnknownIndex { name: index.name.clone() }.into());
        }
        // A grant on the index stands in for one on the relation, for the index's rows alone.
        let reader = if self.reads_relation_of(caller, index) { caller.clone() } else { super::host(caller) };
        let mut governance = self.query.governance(&reader, &index.relation)?;
        self.check_governance(index, &governance)?;
        let vector = self.vector_of(&profile, index, &what.seek).await?;
        let loaded = self.vectors.indexes.load(index, Need::Now).await?;
        let matching = match &what.filter {
            None => None,
            Some(filter) => {
                let (mask, read) = self.matching(caller, &loaded, &governance, filter).await?;
                self.check_governance(index, &read)?;
                // Both masks speak of one state.
                governance = read;
                Some(mask)
            }
        };
        let live = self.live_rows(caller, &loaded, &governance).await?;
        let mask = match matching {
            None => live,
            Some(matching) => Arc::new(live.and(&matching)?),
        };
        let found = self.nearest(loaded, vector, what.k, mask).await?;
        let is_stale = is_behind(index, &governance);
        Ok(Hits { index: Arc::clone(index), profile: caller.profile.clone(), found, is_stale })
    }

    /// A search of a moment runs where it is; a longer one waits for its turn on a thread that nothing else needs.
    async fn nearest(&self, index: Loaded, vector: Vec<f32>, k: usize, mask: Arc<Mask>) -> Result<Searched, EngineError> {
        let is_short = lakehouse_vector::numbers_to_compare(&index, &mask) <= MOMENT_NUMBERS;
        let work = move || lakehouse_vector::search(&index, Query { vector: &vector, k, mask: &mask });
        if is_short {
            return Ok(work()?);
        }
        let waiting = Arc::clone(&self.vectors.searches).acquire_owned();
        let turn = tokio::time::timeout(self.settings.query.deadline, waiting).await;
        let Ok(Ok(turn)) = turn else { return Err(EngineError::SearchesBusy) };
        let searched = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        Ok(searched.await.map_err(|_| EngineError::Lost("a search ended early"))??)
    }

    fn check_governance(&self, index: &IndexRecord, governance: &Governance) -> Result<(), EngineError> {
        let same = index.governance == governance.digest && index.seen.dataset.as_str() == governance.state.id;
        if same { Ok(()) } else { Err(EngineError::IndexOutdated { index: index.name.clone() }) }
    }

    /// The vector to look for: the one given, or that of the text, by the embedder that made the index.
    async fn vector_of(&self, profile: &Profile, index: &IndexRecord, seek: &Seek) -> Result<Vec<f32>, EngineError> {
        let Some(embedder) = &index.recipe.rules.embedder else {
            return match seek {
                Seek::Vector(vector) => Ok(vector.clone()),
                Seek::Text(_) => Err(EngineError::NeedsVector { index: index.name.clone() }),
            };
        };
        let own = recipe::embedder_of(profile)?;
        if own != embedder.plugin {
            return Err(EngineError::OtherEmbedder {
                index: index.name.clone(),
                made_with: embedder.plugin.clone(),
                profile: profile.id.clone(),
                embeds_with: own,
            });
        }
        let text = match seek {
            Seek::Vector(vector) => return Ok(vector.clone()),
            Seek::Text(text) => text,
        };
        if text.len() > MAX_QUERY_BYTES {
            return Err(EngineError::OutOfRange { what: "bytes of `query`", min: 0, max: MAX_QUERY_BYTES });
        }
        let snapshot = self.registry.snapshot();
        let (bindings, name) = recipe::pinned(snapshot, profile, embedder, RuleKind::Embedder);
        let mut embedder = bindings.embedder(&name, None).await?;
        let vectors = embedder.embed(&StringArray::from(vec![text.as_str()])).await?;
        Ok(vectors.into_numbers())
    }

    /// The rows that satisfy the filter, as the caller sees them.
    async fn matching(
        &self,
        caller: &Caller,
        index: &Loaded,
        governance: &Governance,
        filter: &str,
    ) -> Result<(Mask, Governance), EngineError> {
        let record = &index.record;
        if !self.reads_relation_of(caller, record) {
            let refusal = EngineError::FilterNeedsGrant { index: record.name.clone() };
            return Err(self.denied(caller, &format!("filter {}", record.name), refusal).await);
        }
        let mut state = Arc::clone(&governance.state);
        for _ in 0..MAX_RACES {
            let files = Files::of(record, &state);
            let reading = match self.rows_of(caller, record, files, Some(filter)).await {
                Ok(reading) => reading,
                Err(error) => return Err(self.judged(caller, error).await),
            };
            let read = reading.governance.clone();
            if Arc::ptr_eq(&read.state, &state) {
                return Ok((self.mask_of(index, reading, files).await?, read));
            }
            state = read.state;
        }
        Err(EngineError::Raced { what: format!("dataset `{}`", record.base) })
    }
}
