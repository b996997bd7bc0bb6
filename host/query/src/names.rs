//! Table names, as one principal under one profile sees them.
//!
//! **Invariant**: names are resolved when a statement uses them and once in a query, so that a relation that is named twice is one
//! version; a name that exists but may not be read is indistinguishable from one that does not exist.

use std::{collections::HashMap, fmt::Debug, sync::Arc};

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use tokio::sync::Mutex;

use crate::{error::QueryError, similar::closest};

/// What all relations are in, as clients see it.
pub const CATALOG: &str = "lakehouse";
/// The schema of datasets and views.
pub const SCHEMA: &str = "main";
/// What `__raw__NAME` starts with.
pub(crate) const RAW: &str = "__raw__";

/// What a principal may name.
#[async_trait]
pub(crate) trait Relations: Debug + Send + Sync {
    /// The relation of this name; `None` if it does not exist or may not be read.
    async fn relation(&self, schema: &str, name: &str) -> Result<Option<Arc<dyn TableProvider>>, QueryError>;

    /// Names and kinds of all that may be read, in order.
    fn listing(&self) -> Vec<(String, &'static str)>;

    /// The same, of what has a schema of its own, with its name.
    fn elsewhere(&self) -> Vec<(String, &'static str)> {
        Vec::new()
    }
}

/// A relation, or that there is none.
type Found = Option<Arc<dyn TableProvider>>;

/// The names of one query, each resolved once.
#[derive(Debug)]
pub(crate) struct Names {
    relations: Arc<dyn Relations>,
    /// By schema and name.
    resolved: Mutex<HashMap<(String, String), Found>>,
}

impl Names {
    pub(crate) fn of(relations: Arc<dyn Relations>) -> Arc<Self> {
        Arc::new(Self { relations, resolved: Mutex::default() })
    }

    pub(crate) async fn relation(&self, schema: &str, name: &str) -> Result<Option<Arc<dyn TableProvider>>, QueryError> {
        let key = (schema.to_owned(), name.to_owned());
        let mut resolved = self.resolved.lock().await;
        if let Some(known) = resolved.get(&key) {
            return Ok(known.as_ref().map(Arc::clone));
        }
        let found = self.relations.relation(schema, name).await?;
        resolved.insert(key, found.as_ref().map(Arc::clone));
        Ok(found)
    }

    /// The datasets and views that were named and found; `None` if anything else was, such as a log or what lies below the rules.
    pub(crate) async fn stored(&self) -> Option<Vec<String>> {
        let resolved = self.resolved.lock().await;
        let found = resolved.iter().filter(|(_, found)| found.is_some()).map(|((schema, name), _)| (schema, name));
        found.map(|(schema, name)| (schema == SCHEMA && !name.starts_with(RAW)).then(|| name.clone())).collect()
    }

    pub(crate) fn listing(&self) -> Vec<(String, &'static str)> {
        self.relations.listing()
    }

    pub(crate) fn all(&self) -> Vec<(String, &'static str)> {
        let mut all = self.listing();
        all.extend(self.relations.elsewhere());
        all
    }

    /// The answer for a name that is not there, or not for this principal.
    pub(crate) fn unknown(&self, name: &str) -> QueryError {
        let listing = self.listing();
        let similar = closest(name, listing.iter().map(|(name, _)| name.as_str()), 3);
        QueryError::UnknownTable { name: name.chars().filter(|c| !c.is_control()).take(128).collect(), similar }
    }

    /// Planning says which name it misses only in words.
    pub(crate) fn explain(&self, error: &DataFusionError) -> QueryError {
        if let DataFusionError::Plan(message) = error.find_root()
            && let Some(name) =
                message.strip_prefix("table '").and_then(|rest| rest.split_once("' not found")).map(|(name, _)| name)
        {
            let prefix = format!("{CATALOG}.{SCHEMA}.");
            return self
                .unknown(name.strip_prefix(&prefix).or_else(|| name.strip_prefix(&format!("{CATALOG}."))).unwrap_or(name));
        }
        QueryError::planning(error)
    }
}

/// A catalog list without anything in it, for the template.
#[derive(Debug)]
pub(crate) struct NoNames;

impl CatalogProviderList for NoNames {
    fn register_catalog(&self, _name: String, _catalog: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn catalog(&self, _name: &str) -> Option<Arc<dyn CatalogProvider>> {
        None
    }
}

/// [`Names`] as DataFusion asks for them.
#[derive(Debug, Clone)]
pub(crate) struct Catalogs(pub(crate) Arc<Names>);

impl CatalogProviderList for Catalogs {
    fn register_catalog(&self, _name: String, _catalog: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(self.clone()) as Arc<dyn CatalogProvider>)
    }
}

impl CatalogProvider for Catalogs {
    fn schema_names(&self) -> Vec<String> {
        vec![SCHEMA.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        Some(Arc::new(Schema { names: Arc::clone(&self.0), schema: name.to_owned() }))
    }
}

#[derive(Debug)]
struct Schema {
    names: Arc<Names>,
    schema: String,
}

#[async_trait]
impl SchemaProvider for Schema {
    fn table_names(&self) -> Vec<String> {
        if self.schema == SCHEMA { self.names.listing().into_iter().map(|(name, _)| name).collect() } else { Vec::new() }
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.names.relation(&self.schema, name).await?)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|known| known == name)
    }
}
