//! Views: list, show, what they said before, delete.

mod define;
mod validate;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use lakehouse_access::{Action, Caller};
use lakehouse_catalog::{CatalogError, Redaction, ViewRecord};
use lakehouse_journal::{Draft, EventKind};
use lakehouse_types::ViewName;

pub use self::validate::TryView;
use crate::{Engine, EngineError, Page};

/// A view, and the schema that a query through it has.
#[derive(Debug, Clone)]
pub struct View {
    pub record: ViewRecord,
    /// Absent in lists, and where a redaction of the view does not resolve under the caller's profile.
    pub schema: Option<SchemaRef>,
}

impl Engine {
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

    /// The last definitions of a view, the present one first.
    ///
    /// # Errors
    /// When the caller may not, or it does not exist.
    pub async fn view_versions(&self, caller: &Caller, name: &ViewName) -> Result<Vec<ViewRecord>, EngineError> {
        self.require(caller, Action::ManageViews).await?;
        let kept = self.catalog.view_versions(name).await?;
        Ok(kept.into_iter().map(|record| for_eyes_of(caller, &Arc::new(record))).collect())
    }

    /// Deletes a view.
    ///
    /// # Errors
    /// When the caller may not, it does not exist, or a view stands on it, a profile binds it or an index is of it.
    pub async fn delete_view(self: &Arc<Self>, caller: &Caller, name: &ViewName) -> Result<(), EngineError> {
        self.require(caller, Action::ManageViews).await?;
        let (engine, caller, name) = (Arc::clone(self), caller.clone(), name.clone());
        self.changes.to_the_end(async move { engine.remove_view(&caller, &name).await }).await
    }

    async fn remove_view(&self, caller: &Caller, name: &ViewName) -> Result<(), EngineError> {
        let _turn = self.defining.lock().await;
        let present = self.catalog.snapshot();
        let stack = present.stack(Arc::clone(present.view(name)?))?;
        if stack.filters_rows() {
            // Without its filter, or those below it, a view of the same name would show what an admin hid.
            self.require(caller, Action::SetRowFilter).await?;
        }
        let ground = stack.dataset().name.clone();
        self.catalog
            .edit(&self.stamp(caller), |_, edit| {
                edit.remove_view(name)?;
                edit.event(Draft::new(EventKind::ViewDelete, name.as_str()).dataset(ground));
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
