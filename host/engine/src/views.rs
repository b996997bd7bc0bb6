//! Views: define, list, show, delete.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use lakehouse_access::{Action, Caller};
use lakehouse_catalog::{CatalogError, Redaction, ViewInput, ViewRecord};
use lakehouse_journal::{Draft, EventKind};
use lakehouse_query::QueryError;
use lakehouse_types::ViewName;
use serde_json::json;

use crate::{Engine, EngineError, Page};

/// A view, and the schema that a query through it has.
#[derive(Debug, Clone)]
pub struct View {
    pub record: ViewRecord,
    /// Absent in lists, and where a redaction of the view does not resolve under the caller's profile.
    pub schema: Option<SchemaRef>,
}

impl Engine {
    /// Creates or replaces a view. A row filter is set, changed and removed by admins only; others, who do not see it, keep it by
    /// leaving it out. Who may read the view defines it only over what it may read anyway.
    ///
    /// # Errors
    /// When the caller may not, or the definition does not fit its base, its filter or its rules.
    pub async fn put_view(self: &Arc<Self>, caller: &Caller, input: ViewInput) -> Result<View, EngineError> {
        self.require(caller, Action::ManageViews).await?;
        let (engine, caller) = (Arc::clone(self), caller.clone());
        self.changes.to_the_end(async move { engine.define_view(&caller, input).await }).await
    }

    async fn define_view(&self, caller: &Caller, mut input: ViewInput) -> Result<View, EngineError> {
        if self.sees_through(caller, &input.name) && !caller.principal.may_read_dataset(&input.base_dataset) {
            let refusal = EngineError::NoReadGrant { view: input.name.clone(), dataset: input.base_dataset.clone() };
            return Err(self.denied(caller, &format!("define view {}", input.name), refusal).await);
        }
        let present = self.catalog.snapshot();
        let kept = present.views.get(&input.name).and_then(|view| view.row_filter.clone());
        if input.row_filter.is_some() {
            // Whether or not it is the present one, which whoever may not set it must not learn by trying.
            self.require(caller, Action::SetRowFilter).await?;
        }
        let is_kept = !caller.principal.may(Action::SetRowFilter);
        if is_kept {
            input.row_filter.clone_from(&kept);
        }
        let by = self.stamp(caller);
        let record = input.into_record(&by.actor, by.at, None);
        record.validate()?;
        present.dataset(&record.base_dataset)?;
        self.query.check_view(caller, &record).await.map_err(|reason| match reason {
            // Its words quote the filter. Nothing else of a definition is found unfit in this way.
            QueryError::Definition { .. } if is_kept => EngineError::KeptFilter { view: record.name.clone(), reason },
            reason => reason.into(),
        })?;

        let details = json!({
            "columns": record.columns,
            "redacted": record.column_redactions.iter().map(|(column, how)| json!([column, how.rule().0])).collect::<Vec<_>>(),
            "has_row_filter": record.row_filter.is_some(),
        });
        let stored = self
            .catalog
            .edit(&by, |present, edit| {
                let previous = present.views.get(&record.name);
                // Someone else may have changed the filter since it was compared.
                if previous.and_then(|view| view.row_filter.clone()) != kept {
                    return Err(EngineError::Raced { what: format!("view `{}`", record.name) });
                }
                let mut record = record;
                if let Some(previous) = previous {
                    record.created_at = previous.created_at;
                    record.created_by = previous.created_by.clone();
                }
                let draft = Draft::new(EventKind::ViewPut, record.name.as_str());
                edit.event(draft.dataset(record.base_dataset.clone()).details(details));
                edit.put_view(record.clone())?;
                Ok(record)
            })
            .await?;
        Ok(self.with_schema(caller, stored).await)
    }

    /// The views that the caller may read or manage, by name.
    ///
    /// # Errors
    /// None today.
    pub fn views(&self, caller: &Caller, after: Option<&str>, limit: usize) -> Result<Page<View>, EngineError> {
        let present = self.catalog.snapshot();
        let visible = present.views.values().filter(|view| sees(caller, &view.name));
        let page = Page::of(visible, after, limit, |view| view.name.as_str());
        Ok(page.map(|view| View { record: for_eyes_of(caller, view), schema: None }))
    }

    /// One view.
    ///
    /// # Errors
    /// When it does not exist, or the caller may not know that it does.
    pub async fn view(&self, caller: &Caller, name: &ViewName) -> Result<View, EngineError> {
        if !sees(caller, name) {
            return Err(self.hidden(caller, &format!("view {name}"), CatalogError::UnknownView { name: name.clone() }).await);
        }
        let record = ViewRecord::clone(self.catalog.snapshot().view(name)?);
        Ok(self.with_schema(caller, record).await)
    }

    /// Deletes a view.
    ///
    /// # Errors
    /// When the caller may not, it does not exist, or a profile binds it.
    pub async fn delete_view(self: &Arc<Self>, caller: &Caller, name: &ViewName) -> Result<(), EngineError> {
        self.require(caller, Action::ManageViews).await?;
        let (engine, caller, name) = (Arc::clone(self), caller.clone(), name.clone());
        self.changes.to_the_end(async move { engine.remove_view(&caller, &name).await }).await
    }

    async fn remove_view(&self, caller: &Caller, name: &ViewName) -> Result<(), EngineError> {
        let has_filter = self.catalog.snapshot().view(name)?.row_filter.is_some();
        if has_filter {
            // Without its filter under the same name, the view would show what an admin hid.
            self.require(caller, Action::SetRowFilter).await?;
        }
        self.catalog
            .edit(&self.stamp(caller), |present, edit| {
                // Someone may have set a filter since it was looked at.
                if present.view(name)?.row_filter.is_some() != has_filter {
                    return Err(EngineError::Raced { what: format!("view `{name}`") });
                }
                let record = edit.remove_view(name)?;
                edit.event(Draft::new(EventKind::ViewDelete, name.as_str()).dataset(record.base_dataset.clone()));
                Ok::<_, EngineError>(())
            })
            .await
    }

    async fn with_schema(&self, caller: &Caller, record: ViewRecord) -> View {
        let schema = self.query.view_schema(caller, &record).await.ok();
        View { record: for_eyes_of(caller, &Arc::new(record)), schema }
    }
}

/// A filter names values, so only those who may set one may read it. Readers learn which rule redacts a column, not how it is
/// configured.
fn for_eyes_of(caller: &Caller, view: &Arc<ViewRecord>) -> ViewRecord {
    let mut record = ViewRecord::clone(view);
    if !caller.principal.may(Action::SetRowFilter) {
        record.row_filter = None;
    }
    if !caller.principal.may(Action::ManageViews) {
        record.column_redactions.values_mut().for_each(without_config);
    }
    record
}

fn without_config(redaction: &mut Redaction) {
    if let (rule, Some(_)) = redaction.rule() {
        *redaction = Redaction::Plugin { rule, config: None };
    }
}

pub(crate) fn sees(caller: &Caller, name: &ViewName) -> bool {
    caller.principal.may_read_view(name) || caller.principal.may(Action::ManageViews)
}

#[cfg(test)]
mod tests {
    use lakehouse_types::RuleName;
    use serde_json::json;

    use super::{Redaction, without_config};

    #[test]
    fn a_redaction_without_its_config_keeps_its_rule() {
        let plugin = |rule: &str, config| Redaction::Plugin { rule: RuleName::new(rule).unwrap(), config };
        for (redaction, shown) in [
            (Redaction::Null, Redaction::Null),
            (Redaction::Hash, Redaction::Hash),
            (Redaction::Mask { keep_prefix: 3, keep_suffix: 2 }, plugin("mask", None)),
            (plugin("free-text", Some(json!({"kinds": ["email"]}))), plugin("free-text", None)),
            (plugin("free-text", None), plugin("free-text", None)),
        ] {
            let mut seen = redaction;
            without_config(&mut seen);
            assert_eq!(seen, shown);
        }
    }
}
