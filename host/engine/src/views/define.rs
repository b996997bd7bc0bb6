//! How a view's definition comes into force.
//!
//! **Invariants**: whoever reads a view, or one that stands on it, and not what it would stand on, does not define it. Whoever may not
//! set row filters changes nothing that one of them is evaluated on: neither what a filtered view stands on nor how views below it are
//! redacted. After an edit every view still fits what it stands on.

use std::sync::Arc;

use lakehouse_access::{Action, Caller};
use lakehouse_catalog::{CatalogError, CatalogSnapshot, UsedBy, ViewInput, ViewRecord, ViewStack};
use lakehouse_journal::{Draft, EventKind};
use lakehouse_query::QueryError;
use lakehouse_types::{DatasetName, ViewName};
use serde_json::json;

use super::View;
use crate::{Engine, EngineError};

impl Engine {
    /// Creates or replaces a view; with `expected`, replaces only that version of it. A row filter is set, changed and removed by
    /// admins only; others, who do not see it, keep it by leaving it out. Who may read the view, or one that stands on it, defines it
    /// only over what it may read anyway.
    ///
    /// # Errors
    /// When the caller may not, someone else has changed the view, the definition does not fit its base, its filter or its rules, or
    /// a view that stands on it would no longer fit.
    pub async fn put_view(
        self: &Arc<Self>,
        caller: &Caller,
        input: ViewInput,
        expected: Option<u64>,
    ) -> Result<View, EngineError> {
        self.require(caller, Action::ManageViews).await?;
        let (engine, caller) = (Arc::clone(self), caller.clone());
        self.changes.to_the_end(async move { engine.define_view(&caller, input, expected).await }).await
    }

    async fn define_view(&self, caller: &Caller, mut input: ViewInput, expected: Option<u64>) -> Result<View, EngineError> {
        // One at a time: what stands on what is as it was when the edit begins.
        let _turn = self.defining.lock().await;
        let present = self.catalog.snapshot();
        self.require_sight_of(caller, &present, &input.name, &input.base_dataset).await?;
        let previous = present.views.get(&input.name).cloned();
        check_version(&input.name, previous.as_deref(), expected)?;
        if input.row_filter.is_some() {
            // Whether or not it is the present one, which whoever may not set it must not learn by trying.
            self.require(caller, Action::SetRowFilter).await?;
        }
        let is_kept = !caller.principal.may(Action::SetRowFilter);
        if is_kept {
            input.row_filter = previous.as_ref().and_then(|view| view.row_filter.clone());
            self.require_same_filters(caller, &present, previous.as_ref(), &input).await?;
        }
        let by = self.stamp(caller);
        let record = input.into_record(&by.actor, by.at, previous.as_deref());
        record.validate()?;
        let shared = Arc::new(record.clone());
        let next = present.with_view(&shared)?;
        let stack = next.stack(shared)?;
        let ground = stack.dataset().name.clone();
        self.query.stack_schema(caller, stack).await.map_err(|reason| match reason {
            // Its words quote the filter. Nothing else of a definition is found unfit in this way.
            QueryError::Definition { .. } if is_kept && record.row_filter.is_some() => {
                EngineError::KeptFilter { view: record.name.clone(), reason }
            }
            reason => reason.into(),
        })?;
        self.require_fit_above(caller, &next, &record.name).await?;

        let stored = self
            .catalog
            .edit(&by, |_, edit| {
                edit.put_view(record.clone())?;
                let stored = ViewRecord::clone(edit.definitions().view(&record.name)?);
                let draft = Draft::new(EventKind::ViewPut, record.name.as_str());
                edit.event(draft.dataset(ground).details(told(&stored)));
                Ok::<_, EngineError>(stored)
            })
            .await?;
        Ok(self.with_schema(caller, stored).await)
    }

    /// Refuses who would see more through the view, or through one that stands on it, than it sees of the base.
    async fn require_sight_of(
        &self,
        caller: &Caller,
        present: &CatalogSnapshot,
        view: &ViewName,
        base: &DatasetName,
    ) -> Result<(), EngineError> {
        if self.reads_base(caller, present, base) {
            return Ok(());
        }
        let above = present.views_above(view);
        let seen = std::iter::once(view).chain(above.iter().map(|above| &above.name)).find(|one| self.sees_through(caller, one));
        let Some(seen) = seen else { return Ok(()) };
        let kind = if present.views.contains_key(base.as_str()) { "view" } else { "dataset" };
        let refusal = EngineError::NoReadGrant { view: seen.clone(), kind, base: base.clone() };
        Err(self.denied(caller, &format!("define view {view}"), refusal).await)
    }

    /// Refuses who may not set filters what would change the rows or values that one is evaluated on.
    async fn require_same_filters(
        &self,
        caller: &Caller,
        present: &CatalogSnapshot,
        previous: Option<&Arc<ViewRecord>>,
        input: &ViewInput,
    ) -> Result<(), EngineError> {
        let Some(previous) = previous else { return Ok(()) };
        let is_elsewhere = previous.base_dataset != input.base_dataset;
        let is_view = |name: &DatasetName| present.views.contains_key(name.as_str());
        // From one dataset to another a filter goes along, and still has to fit.
        let leaves_filters = is_elsewhere
            && (is_view(&previous.base_dataset) || is_view(&input.base_dataset))
            && present.stack(Arc::clone(previous))?.filters_rows();
        let is_other = is_elsewhere || previous.column_redactions != input.column_redactions;
        let is_filtered_above = || present.views_above(&input.name).iter().any(|above| above.row_filter.is_some());
        if leaves_filters || (is_other && is_filtered_above()) {
            self.require(caller, Action::SetRowFilter).await?;
        }
        Ok(())
    }

    /// Refuses a definition under which views that stand on it would have nothing to show.
    async fn require_fit_above(&self, caller: &Caller, next: &CatalogSnapshot, name: &ViewName) -> Result<(), EngineError> {
        let mut broken = Vec::new();
        for above in next.views_above(name) {
            let stack: ViewStack = next.stack(Arc::clone(&above))?;
            // Rules may be bound under other profiles than the caller's: only the definitions must fit.
            if let Err(QueryError::UnknownColumn { .. } | QueryError::Definition { .. }) =
                self.query.stack_schema(caller, stack).await
            {
                broken.push(UsedBy::View(above.name.clone()));
            }
        }
        if broken.is_empty() { Ok(()) } else { Err(EngineError::BreaksViews { view: name.clone(), used_by: broken }) }
    }

    /// Whether the caller reads what a view stands on, or would.
    pub(crate) fn reads_base(&self, caller: &Caller, present: &CatalogSnapshot, base: &DatasetName) -> bool {
        match present.views.get(base.as_str()) {
            Some(view) => caller.principal.may_read_view(&view.name),
            None => caller.principal.may_read_dataset(base),
        }
    }
}

fn check_version(name: &ViewName, previous: Option<&ViewRecord>, expected: Option<u64>) -> Result<(), CatalogError> {
    let present = previous.map(|view| view.version);
    match expected {
        Some(expected) if present != Some(expected) => {
            Err(CatalogError::VersionMismatch { view: name.clone(), expected, present })
        }
        _ => Ok(()),
    }
}

/// What the journal tells of a definition: nothing that a filter says.
fn told(record: &ViewRecord) -> serde_json::Value {
    json!({
        "version": record.version,
        "base": record.base_dataset,
        "columns": record.columns,
        "redacted": record.column_redactions.iter().map(|(column, how)| json!([column, how.rule().0])).collect::<Vec<_>>(),
        "has_row_filter": record.row_filter.is_some(),
    })
}
