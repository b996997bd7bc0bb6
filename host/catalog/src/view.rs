//! A view: the columns, rows and values of a dataset, or of another view, that its readers may see.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use lakehouse_storage::Record;
use lakehouse_types::{Actor, ColumnName, DatasetName, RuleName, ViewName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{CatalogError, DefinitionError, Redaction};

/// Columns of one view; as many as a dataset may have.
const MAX_COLUMNS: usize = 4096;
/// Bytes of a row filter.
const MAX_FILTER_BYTES: usize = 16 << 10;
/// Bytes of a redaction's config.
pub(crate) const MAX_CONFIG_BYTES: usize = 64 << 10;

/// A stored view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewRecord {
    pub name: ViewName,
    /// Grows by one with every change of the definition; 1 for what earlier releases stored.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub version: u64,
    /// A dataset or a view: the view sees what that gives out, and nothing else.
    pub base_dataset: DatasetName,
    /// The whole schema, in this order; never empty, no name twice.
    pub columns: Vec<ColumnName>,
    /// One boolean expression over the base's columns; absent shows every row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_filter: Option<String>,
    /// Only columns of `columns`.
    #[serde(default)]
    pub column_redactions: BTreeMap<ColumnName, Redaction>,
    pub created_at: DateTime<Utc>,
    pub created_by: Actor,
    pub updated_at: DateTime<Utc>,
    /// Whose definition it is; absent in what earlier releases stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<Actor>,
}

/// The version of a view that is new.
const fn first() -> u64 {
    1
}

const fn is_first(version: &u64) -> bool {
    *version == first()
}

/// The one name that is a route of its own.
const RESERVED: &str = "validate";

impl Record for ViewRecord {
    const COLLECTION: &'static str = "views";
    const FORMAT: u32 = 1;
}

/// The body of `POST /catalog/views`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewInput {
    pub name: ViewName,
    pub base_dataset: DatasetName,
    pub columns: Vec<ColumnName>,
    #[serde(default)]
    pub row_filter: Option<String>,
    #[serde(default)]
    pub column_redactions: BTreeMap<ColumnName, Redaction>,
}

impl ViewInput {
    /// The record of this definition; a `previous` one passes on who created it and when.
    pub fn into_record(self, by: &Actor, at: DateTime<Utc>, previous: Option<&ViewRecord>) -> ViewRecord {
        let (created_at, created_by) = previous.map_or_else(|| (at, by.clone()), |old| (old.created_at, old.created_by.clone()));
        ViewRecord {
            name: self.name,
            version: previous.map_or(first(), |old| old.version),
            base_dataset: self.base_dataset,
            columns: self.columns,
            row_filter: self.row_filter,
            column_redactions: self.column_redactions,
            created_at,
            created_by,
            updated_at: at,
            updated_by: Some(by.clone()),
        }
    }
}

impl ViewRecord {
    /// Whether both say the same, whoever wrote them and when.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        self.base_dataset == other.base_dataset
            && self.columns == other.columns
            && self.row_filter == other.row_filter
            && self.column_redactions == other.column_redactions
    }

    /// Checks what can be checked without the base's schema; the query engine checks the rest.
    ///
    /// # Errors
    /// [`CatalogError::Definition`] naming the first field that is wrong.
    pub fn validate(&self) -> Result<(), CatalogError> {
        self.check().map_err(|reason| CatalogError::Definition { what: format!("view `{}`", self.name), reason })
    }

    fn check(&self) -> Result<(), DefinitionError> {
        if self.name.as_str() == RESERVED {
            return Err(DefinitionError::ReservedName);
        }
        if self.columns.is_empty() {
            return Err(DefinitionError::NoColumns);
        }
        if self.columns.len() > MAX_COLUMNS {
            return Err(DefinitionError::TooLarge { field: "columns", limit: MAX_COLUMNS, unit: "names" });
        }
        let mut listed = BTreeSet::new();
        for column in &self.columns {
            if !listed.insert(column) {
                return Err(DefinitionError::DuplicateColumn { column: column.clone() });
            }
        }
        match self.row_filter.as_deref() {
            Some(filter) if filter.trim().is_empty() => return Err(DefinitionError::EmptyRowFilter),
            Some(filter) if filter.len() > MAX_FILTER_BYTES => {
                return Err(DefinitionError::TooLarge { field: "row_filter", limit: MAX_FILTER_BYTES, unit: "bytes" });
            }
            _ => {}
        }
        for (column, redaction) in &self.column_redactions {
            if !listed.contains(column) {
                return Err(DefinitionError::RedactionOfUnlisted { column: column.clone() });
            }
            if let (rule, Some(config)) = redaction.rule() {
                check_config(&config, &rule)?;
            }
        }
        Ok(())
    }
}

/// A rule's config is a JSON object of bounded size.
pub(crate) fn check_config(config: &Value, rule: &RuleName) -> Result<(), DefinitionError> {
    if !config.is_object() {
        return Err(DefinitionError::ConfigShape { rule: rule.clone() });
    }
    if config.to_string().len() > MAX_CONFIG_BYTES {
        return Err(DefinitionError::TooLarge { field: "config", limit: MAX_CONFIG_BYTES, unit: "bytes" });
    }
    Ok(())
}
