//! What is told of indexes, and of what they are behind.

use std::sync::Arc;

use lakehouse_access::{Action, Caller};
use lakehouse_catalog::{DatasetRecord, IndexRecord};
use lakehouse_plugins::Bindings;
use lakehouse_types::{DatasetName, IndexName};

use super::{host, recipe};
use crate::{Engine, EngineError, Page};

/// An index, and how it stands.
#[derive(Debug, Clone)]
pub struct ShownIndex {
    pub record: Arc<IndexRecord>,
    /// Why it would be another one if it were made now: `rows`, `rules`, `view`, `damaged`, `unfinished`.
    pub stale: Vec<&'static str>,
    /// Whether everything that a search of it needs is in memory.
    pub is_warm: bool,
}

/// A dataset that was embedded, and the indexes over it.
#[derive(Debug, Clone)]
pub struct StaleDataset {
    pub record: Arc<DatasetRecord>,
    /// By name, with why each is behind; empty when it is not.
    pub indexes: Vec<(IndexName, Vec<&'static str>)>,
}

impl Engine {
    /// The indexes that the caller may search or manage, by name.
    ///
    /// # Errors
    /// None today.
    pub fn indexes(&self, caller: &Caller, after: Option<&str>, limit: usize) -> Result<Page<ShownIndex>, EngineError> {
        let present = self.catalog.snapshot();
        let visible = present.indexes.values().filter(|index| self.sees_index(caller, index));
        let page = Page::of(visible, after, limit, |index| index.name.as_str());
        Ok(page.map(|index| self.shown(caller, index)))
    }

    /// One index.
    ///
    /// # Errors
    /// When it does not exist, or the caller may not know that it does.
    pub async fn index(&self, caller: &Caller, name: &IndexName) -> Result<ShownIndex, EngineError> {
        let index = self.index_for(caller, name).await?;
        Ok(self.shown(caller, &index))
    }

    /// The datasets that were ever embedded, with those of their indexes that the caller may know of.
    pub fn stale(&self, caller: &Caller) -> Vec<StaleDataset> {
        let present = self.catalog.snapshot();
        let mut all = Vec::new();
        for record in present.datasets.values().filter(|record| record.last_embedded_at.is_some()) {
            let of_it = present.indexes.values().filter(|index| index.base == record.name && self.sees_index(caller, index));
            let indexes: Vec<_> = of_it.map(|index| (index.name.clone(), self.why_stale(caller, index))).collect();
            if !indexes.is_empty() || self.sees_dataset(caller, &record.name) {
                all.push(StaleDataset { record: Arc::clone(record), indexes });
            }
        }
        all
    }

    /// Bytes of indexes that are kept in memory.
    pub fn index_memory_bytes(&self) -> u64 {
        self.vectors.indexes.cached_bytes()
    }

    fn sees_dataset(&self, caller: &Caller, name: &DatasetName) -> bool {
        caller.principal.may(Action::ManageIndexes) || caller.principal.may_read_dataset(name)
    }

    fn shown(&self, caller: &Caller, index: &Arc<IndexRecord>) -> ShownIndex {
        let is_warm = self.vectors.indexes.is_warm(index);
        ShownIndex { record: Arc::clone(index), stale: self.why_stale(caller, index), is_warm }
    }

    fn why_stale(&self, caller: &Caller, index: &IndexRecord) -> Vec<&'static str> {
        let mut why = Vec::new();
        if !index.is_ready() {
            why.push("unfinished");
        }
        let present = self.catalog.snapshot();
        // As its own profile has it, whoever looks.
        let owner = Caller { profile: index.profile.clone(), ..host(caller) };
        match self.query.governance(&owner, &index.relation) {
            Ok(governance) => {
                if governance.digest != index.governance {
                    why.push("view");
                }
                let (seen, state) = (&index.seen, &governance.state);
                let same = (seen.dataset.as_str(), seen.version, seen.tombstones);
                if same != (state.id.as_str(), state.version, state.tombstones.mark()) {
                    why.push("rows");
                }
            }
            // The profile or a rule is gone.
            Err(_) => why.push("view"),
        }
        let resolved = present.profiles.get(&index.profile).map(|profile| {
            let bindings = Bindings::new(self.registry.snapshot(), profile.effective_rules());
            recipe::resolve(&bindings, profile, &index.recipe.source, &recipe::Overlays::of(&index.recipe.rules))
        });
        if !matches!(resolved, Some(Ok(rules)) if rules == index.recipe.rules) {
            why.push("rules");
        }
        if self.vectors.damaged.lock().contains(&index.id) {
            why.push("damaged");
        }
        why
    }
}
