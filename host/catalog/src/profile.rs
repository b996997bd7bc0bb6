//! A profile: which component stands behind each rule name, and what requests under it may name.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use lakehouse_storage::Record;
use lakehouse_types::{Actor, ProfileId, RuleName};
use serde::{Deserialize, Serialize};

use crate::{CatalogError, DefinitionError, RuleBinding};

const MAX_RULES: usize = 256;
const MAX_BINDINGS: usize = 10_000;
const MAX_TEXT_BYTES: usize = 4096;

/// A stored profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    pub id: ProfileId,
    #[serde(default)]
    pub description: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Datasets and views that requests under this profile are limited to; empty sets no limit beside the key's grants.
    #[serde(default)]
    pub bound_datasets: Vec<String>,
    /// As posted; see [`Profile::effective_rules`] for what is in force.
    #[serde(default)]
    pub rules: Vec<RuleBinding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hnsw_config: Option<HnswConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embed_model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector_backend: Option<VectorBackend>,
    pub created_at: DateTime<Utc>,
    pub created_by: Actor,
    pub updated_at: DateTime<Utc>,
}

impl Record for Profile {
    const COLLECTION: &'static str = "profiles";
    const FORMAT: u32 = 1;
}

/// The body of `POST /catalog/profiles`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileInput {
    pub id: ProfileId,
    #[serde(default)]
    pub description: String,
    #[serde(default, alias = "ollama_name")]
    pub model: Option<String>,
    #[serde(default)]
    pub bound_datasets: Vec<String>,
    #[serde(default)]
    pub rules: Vec<RuleBinding>,
    #[serde(default)]
    pub hnsw_config: Option<HnswConfig>,
    #[serde(default)]
    pub embed_model: Option<String>,
    #[serde(default)]
    pub vector_backend: Option<VectorBackend>,
}

/// Parameters of an HNSW index, where one is asked for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HnswConfig {
    /// 10 to 400. Default 80.
    pub ef_construction: u32,
    /// 10 to 200. Default 30.
    pub ef_search: u32,
}

impl Default for HnswConfig {
    fn default() -> Self {
        Self { ef_construction: 80, ef_search: 30 }
    }
}

/// What holds a profile's vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VectorBackend {
    /// `parquet` is its old name.
    #[serde(alias = "parquet")]
    Faiss,
}

impl ProfileInput {
    /// The record of this definition; a `previous` one passes on who created it and when.
    pub fn into_profile(self, by: &Actor, at: DateTime<Utc>, previous: Option<&Profile>) -> Profile {
        let (created_at, created_by) = previous.map_or_else(|| (at, by.clone()), |old| (old.created_at, old.created_by.clone()));
        Profile {
            id: self.id,
            description: self.description,
            model: self.model,
            bound_datasets: self.bound_datasets,
            rules: self.rules,
            hnsw_config: self.hnsw_config,
            embed_model: self.embed_model,
            vector_backend: self.vector_backend,
            created_at,
            created_by,
            updated_at: at,
        }
    }
}

impl Profile {
    /// The profile that always exists, as it is before anyone posts it: no limits, no rules of its own.
    pub fn implicit_default(by: Actor, at: DateTime<Utc>) -> Self {
        Self {
            id: ProfileId::default_profile(),
            description: "In force when a request names no profile.".to_owned(),
            model: None,
            bound_datasets: Vec::new(),
            rules: Vec::new(),
            hnsw_config: None,
            embed_model: None,
            vector_backend: None,
            created_at: at,
            created_by: by,
            updated_at: at,
        }
    }

    /// The profile's own rules, then `null`, `hash`, `mask`, `chunk`, `ids` and `embed`, bound to the shipped components, unless it
    /// binds these names itself.
    pub fn effective_rules(&self) -> Vec<RuleBinding> {
        let is_free = |name: &RuleName| self.rules.iter().all(|rule| rule.name != *name);
        let defaults = RuleBinding::defaults().into_iter().filter(|rule| is_free(&rule.name));
        self.rules.iter().cloned().chain(defaults).collect()
    }

    /// Whether requests under this profile may name the dataset or view.
    pub fn reaches(&self, relation: &str) -> bool {
        self.bound_datasets.is_empty() || self.bound_datasets.iter().any(|bound| bound == relation)
    }

    /// Checks what can be checked without the catalog and without the components.
    ///
    /// # Errors
    /// [`CatalogError::Definition`] naming the first field that is wrong.
    pub fn validate(&self) -> Result<(), CatalogError> {
        self.check().map_err(|reason| self.invalid(reason))
    }

    pub(crate) fn invalid(&self, reason: DefinitionError) -> CatalogError {
        CatalogError::Definition { what: format!("profile `{}`", self.id), reason }
    }

    fn check(&self) -> Result<(), DefinitionError> {
        for (field, text) in
            [("description", Some(&self.description)), ("model", self.model.as_ref()), ("embed_model", self.embed_model.as_ref())]
        {
            if text.is_some_and(|text| text.len() > MAX_TEXT_BYTES) {
                return Err(DefinitionError::TooLarge { field, limit: MAX_TEXT_BYTES, unit: "bytes" });
            }
        }
        if self.rules.len() > MAX_RULES {
            return Err(DefinitionError::TooLarge { field: "rules", limit: MAX_RULES, unit: "rules" });
        }
        if self.bound_datasets.len() > MAX_BINDINGS {
            return Err(DefinitionError::TooLarge { field: "bound_datasets", limit: MAX_BINDINGS, unit: "names" });
        }
        let mut bound = BTreeSet::new();
        if let Some(twice) = self.bound_datasets.iter().find(|name| !bound.insert(*name)) {
            return Err(DefinitionError::DuplicateBinding { name: twice.clone() });
        }
        let mut names = BTreeSet::new();
        for rule in &self.rules {
            if !names.insert(&rule.name) {
                return Err(DefinitionError::DuplicateRule { rule: rule.name.clone() });
            }
            rule.check()?;
        }
        self.hnsw_config.map_or(Ok(()), HnswConfig::check)
    }
}

impl HnswConfig {
    fn check(self) -> Result<(), DefinitionError> {
        for (field, value, max) in
            [("hnsw_config.ef_construction", self.ef_construction, 400), ("hnsw_config.ef_search", self.ef_search, 200)]
        {
            if !(10..=max).contains(&value) {
                return Err(DefinitionError::Range { field, min: 10, max: max.into() });
            }
        }
        Ok(())
    }
}
