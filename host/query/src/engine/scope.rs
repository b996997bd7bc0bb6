//! What one request sees: one catalog snapshot, one set of components, one state of each dataset.
//!
//! **Invariant**: the grants of the key, the bindings of the profile and the definitions are those of the moment when the query
//! began; a dataset that two relations of the query stand on, be it through other views, is the same version under both.

use std::{collections::HashMap, fmt, sync::Arc};

use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use lakehouse_access::{Action, Caller, Principal};
use lakehouse_catalog::{CatalogSnapshot, Profile, Relation, RuleKind, ViewRecord, ViewStack};
use lakehouse_plugins::{Bindings, Registry};
use lakehouse_tables::{DatasetState, TableError, Tables};
use lakehouse_types::{DatasetName, Digest};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    information::{self, INFORMATION, Known},
    system::{self, Logs, SYSTEM, Whose},
};
use crate::{
    account::ComponentMemory,
    error::QueryError,
    names::{RAW, Relations, SCHEMA},
    session::Template,
    view::{self, Reader},
};

/// What a reader of a relation would be given, without reading it.
#[derive(Debug, Clone)]
pub struct Governance {
    /// Of the definitions of the view and of those that it stands on, and of the content of their rules: while it and the state stay
    /// the same, so does every row.
    pub digest: Digest,
    /// The state of the dataset that the relation stands on.
    pub state: Arc<DatasetState>,
}

pub(super) struct Scope {
    principal: Arc<Principal>,
    profile: Arc<Profile>,
    catalog: Arc<CatalogSnapshot>,
    bindings: Bindings,
    tables: Arc<Tables>,
    pinned: Mutex<HashMap<DatasetName, Option<Arc<DatasetState>>>>,
    logs: Logs,
    template: Template,
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("profile", &self.profile.id).finish_non_exhaustive()
    }
}

impl Scope {
    pub(super) fn pin(
        caller: &Caller,
        tables: &Arc<Tables>,
        catalog: &Arc<CatalogSnapshot>,
        registry: &Arc<Registry>,
        logs: &Logs,
        template: &Template,
    ) -> Result<Self, QueryError> {
        let profile = catalog.profiles.get(&caller.profile).ok_or_else(|| QueryError::Rule {
            relation: "profile".to_owned(),
            fault: Arc::new(lakehouse_catalog::CatalogError::UnknownProfile { id: caller.profile.clone() }),
        })?;
        Ok(Self {
            principal: Arc::clone(&caller.principal),
            bindings: Bindings::new(registry.snapshot(), profile.effective_rules())
                .with_meter(ComponentMemory::of(template.memory())),
            profile: Arc::clone(profile),
            catalog: Arc::clone(catalog),
            tables: Arc::clone(tables),
            pinned: Mutex::default(),
            logs: logs.clone(),
            template: template.clone(),
        })
    }

    pub(super) fn bindings(&self) -> &Bindings {
        &self.bindings
    }

    pub(super) fn is_admin(&self) -> bool {
        self.principal.may(Action::ReadRaw)
    }

    fn state(&self, name: &DatasetName) -> Option<Arc<DatasetState>> {
        let mut pinned = self.pinned.lock();
        pinned.entry(name.clone()).or_insert_with(|| self.tables.dataset(name)).as_ref().map(Arc::clone)
    }

    /// What is said of a relation whose dataset has no state: that it is not there, unless it is, and its bucket is missing or its
    /// files could not be read.
    fn without_state<T>(&self, relation: &str, base: &DatasetName) -> Result<Option<T>, QueryError> {
        match self.tables.state(base) {
            Err(TableError::BucketMissing { .. }) => Err(QueryError::BucketMissing { relation: relation.to_owned() }),
            Err(TableError::Unreadable { .. }) => Err(QueryError::Unreadable { relation: relation.to_owned() }),
            _ => Ok(None),
        }
    }

    /// What governs the relation and which state it stands on; `None` if it does not exist or may not be read. Runs no rule.
    pub(super) fn governance(&self, name: &str) -> Result<Option<Governance>, QueryError> {
        let Some(relation) = self.catalog.relation(name).filter(|relation| self.may_read(relation)) else { return Ok(None) };
        let (ground, rules) = match &relation {
            Relation::Dataset(record) => (Arc::clone(record), Value::Null),
            Relation::View(record) => {
                let stack = self.stack(record)?;
                (Arc::clone(stack.dataset()), self.rules_of_all(&stack)?)
            }
        };
        let Some(state) = self.state(&ground.name) else { return Ok(None) };
        Ok(Some(Governance { digest: Digest::from_bytes(&Sha256::digest(rules.to_string()).into()), state }))
    }

    fn stack(&self, view: &Arc<ViewRecord>) -> Result<ViewStack, QueryError> {
        let stack = self.catalog.stack(Arc::clone(view));
        stack.map_err(|error| QueryError::Internal { detail: format!("view `{}` stands on nothing: {error}", view.name) })
    }

    /// The rules of a view, within them those of the view that it stands on, and so on. Names are left out: only what they stand for
    /// makes rows.
    fn rules_of_all(&self, stack: &ViewStack) -> Result<Value, QueryError> {
        let told = stack.top().name.as_str();
        let mut all: Option<Value> = None;
        for view in stack.views().iter().rev() {
            let mut own = self.rules_of(view, told)?;
            if let Some(below) = all.take() {
                own["base"] = below;
            }
            all = Some(own);
        }
        Ok(all.unwrap_or_default())
    }

    /// A view's definition, with the content of its rules in place of their names.
    fn rules_of(&self, view: &ViewRecord, told: &str) -> Result<Value, QueryError> {
        let mut redactions = serde_json::Map::new();
        for (column, redaction) in &view.column_redactions {
            let (rule, overlay) = redaction.rule();
            let resolved = self.bindings.resolved(&rule, RuleKind::Redactor, overlay.as_ref());
            let resolved = resolved.map_err(|fault| QueryError::Rule { relation: told.to_owned(), fault: Arc::new(fault) })?;
            redactions.insert(column.to_string(), json!([resolved.digest, resolved.config]));
        }
        Ok(json!({ "columns": view.columns, "row_filter": view.row_filter, "redactions": redactions }))
    }

    fn may_read(&self, relation: &Relation) -> bool {
        match relation {
            Relation::Dataset(record) => {
                self.profile.reaches(record.name.as_str()) && self.principal.may_read_dataset(&record.name)
            }
            Relation::View(record) => self.profile.reaches(record.name.as_str()) && self.principal.may_read_view(&record.name),
        }
    }

    /// Whose entries of the logs it may see.
    fn whose(&self) -> Option<Whose> {
        if self.principal.may(Action::ReadJournal) {
            Some(Whose::Everybodys)
        } else if self.principal.may(Action::ReadOwnJournal) {
            Some(Whose::Own(self.principal.name.clone()))
        } else {
            None
        }
    }

    /// All that may be queried, with its columns if they are asked for.
    async fn known(&self, with_columns: bool) -> Vec<Known> {
        let mut known = Vec::new();
        for (name, kind) in self.listing().into_iter().chain(self.elsewhere()) {
            let (schema, name) = name.split_once('.').unwrap_or((SCHEMA, &name));
            let columns = if with_columns {
                // One view with a broken rule hides no other.
                Box::pin(self.relation(schema, name)).await.ok().flatten().map(|relation| relation.schema())
            } else {
                None
            };
            known.push(Known { schema: schema.to_owned(), name: name.to_owned(), kind, columns });
        }
        known
    }

    fn log(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, QueryError> {
        let Some(whose) = self.whose() else { return Ok(None) };
        system::table(&self.logs, whose, name).map_err(|error| QueryError::execution(&error))
    }

    fn raw(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        if !self.is_admin() || !self.profile.reaches(name) {
            return None;
        }
        let record = self.catalog.datasets.get(name)?;
        Some(self.state(&record.name)?.provider())
    }
}

#[async_trait]
impl Relations for Scope {
    async fn relation(&self, schema: &str, name: &str) -> Result<Option<Arc<dyn TableProvider>>, QueryError> {
        if schema == SYSTEM {
            return self.log(name);
        }
        if schema == INFORMATION {
            return match information::tells_of_columns(name) {
                Some(columns) => information::table(name, &self.known(columns).await).map(Some),
                None => Ok(None),
            };
        }
        if schema != SCHEMA {
            return Ok(None);
        }
        if let Some(raw) = name.strip_prefix(RAW) {
            return Ok(self.raw(raw));
        }
        let Some(relation) = self.catalog.relation(name).filter(|relation| self.may_read(relation)) else { return Ok(None) };
        match relation {
            Relation::Dataset(record) => match self.state(&record.name) {
                Some(state) => Ok(Some(view::dataset(&state)?.into_provider())),
                None => self.without_state(name, &record.name),
            },
            Relation::View(record) => {
                let stack = self.stack(&record)?;
                let ground = &stack.dataset().name;
                let Some(state) = self.state(ground) else { return self.without_state(name, ground) };
                let view = view::view(&stack, &state, &self.bindings, self.template.bare(), Reader::Querier).await?;
                Ok(Some(view.into_provider()))
            }
        }
    }

    fn listing(&self) -> Vec<(String, &'static str)> {
        let datasets = self.catalog.datasets.values().map(|record| Relation::Dataset(Arc::clone(record)));
        let views = self.catalog.views.values().map(|record| Relation::View(Arc::clone(record)));
        let mut names: Vec<(String, &'static str)> = datasets
            .chain(views)
            .filter(|relation| self.may_read(relation))
            .map(|relation| match relation {
                Relation::Dataset(record) => (record.name.to_string(), "dataset"),
                Relation::View(record) => (record.name.to_string(), "view"),
            })
            .collect();
        names.sort();
        names
    }

    fn elsewhere(&self) -> Vec<(String, &'static str)> {
        let logs = if self.whose().is_some() { system::LOGS } else { &[] };
        logs.iter().map(|name| (format!("{SYSTEM}.{name}"), "system")).collect()
    }
}
