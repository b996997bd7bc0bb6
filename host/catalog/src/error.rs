//! What can be wrong with a definition or an edit.

use lakehouse_journal::JournalError;
use lakehouse_storage::StorageError;
use lakehouse_types::{Code, ColumnName, DatasetName, Fault, IndexName, Members, ProfileId, RuleName, ViewName};
use serde::Serialize;

/// Why the catalog refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("dataset `{name}` does not exist")]
    UnknownDataset { name: DatasetName },
    #[error("view `{name}` does not exist")]
    UnknownView { name: ViewName },
    #[error("profile `{id}` does not exist")]
    UnknownProfile { id: ProfileId },
    #[error("index `{name}` does not exist")]
    UnknownIndex { name: IndexName },
    /// Datasets and views share one space of names.
    #[error("a {holder} named `{name}` already exists")]
    NameTaken {
        name: String,
        /// `dataset` or `view`.
        holder: &'static str,
    },
    #[error("{what} is in use by {}", listed(used_by))]
    InUse {
        /// For example ``dataset `candidates` ``.
        what: String,
        used_by: Vec<UsedBy>,
    },
    /// Someone has changed it since the caller read it, or it is not there.
    #[error("{}", version_told(view, *expected, *present))]
    VersionMismatch { view: ViewName, expected: u64, present: Option<u64> },
    #[error("the profile `default` always exists; POST it to change it")]
    DefaultProfile,
    /// A definition that cannot be.
    #[error("{what}: {reason}")]
    Definition {
        /// For example ``view `candidates_safe` ``.
        what: String,
        #[source]
        reason: DefinitionError,
    },
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What is wrong with the definition of a view, a profile or a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    #[error("a view cannot have this name: it is a route")]
    ReservedName,
    #[error("it would stand on itself, through view `{through}`")]
    StandsOnItself { through: ViewName },
    #[error("at most {limit} views stand upon each other")]
    TooDeep { limit: usize },
    #[error("`columns` is empty; list the columns that the view shows")]
    NoColumns,
    #[error("column `{column}` is listed twice")]
    DuplicateColumn { column: ColumnName },
    #[error("`column_redactions` names `{column}`, which is not among `columns`")]
    RedactionOfUnlisted { column: ColumnName },
    #[error("`row_filter` is empty; leave it out to show every row")]
    EmptyRowFilter,
    #[error("`bound_datasets` names `{name}`, which is neither a dataset nor a view")]
    UnknownBinding { name: String },
    #[error("`{name}` is listed twice in `bound_datasets`")]
    DuplicateBinding { name: String },
    #[error("`embed_model` is `{model}`, and no rule of kind embedder can have this name")]
    NoEmbedder { model: String },
    #[error("rule `{rule}` is bound twice")]
    DuplicateRule { rule: RuleName },
    #[error("`config` of rule `{rule}` must be a JSON object")]
    ConfigShape { rule: RuleName },
    #[error("`grants` of rule `{rule}` names `{grant}` twice")]
    DuplicateGrant { rule: RuleName, grant: String },
    #[error("`grants` of rule `{rule}` holds a text that is no capability name")]
    GrantShape { rule: RuleName },
    #[error("`limits.{limit}` of rule `{rule}` must be from {min} to {max}")]
    Limit { rule: RuleName, limit: &'static str, min: u64, max: u64 },
    #[error("`{field}` must be from {min} to {max}")]
    Range { field: &'static str, min: u64, max: u64 },
    #[error("`{field}` holds more than {limit} {unit}")]
    TooLarge { field: &'static str, limit: usize, unit: &'static str },
}

/// Who depends on something; on the wire `{"view": "candidates_safe"}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UsedBy {
    View(ViewName),
    Profile(ProfileId),
    Index(IndexName),
}

impl std::fmt::Display for UsedBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::View(name) => write!(f, "view `{name}`"),
            Self::Profile(id) => write!(f, "profile `{id}`"),
            Self::Index(name) => write!(f, "index `{name}`"),
        }
    }
}

fn version_told(view: &ViewName, expected: u64, present: Option<u64>) -> String {
    match present {
        Some(present) => format!("view `{view}` is at version {present}, not at {expected}"),
        None => format!("view `{view}` does not exist, so it is not at version {expected}"),
    }
}

fn listed(used_by: &[UsedBy]) -> String {
    used_by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Fault for CatalogError {
    fn code(&self) -> Code {
        match self {
            Self::UnknownDataset { .. } => Code::UnknownDataset,
            Self::UnknownView { .. } => Code::UnknownView,
            Self::UnknownProfile { .. } => Code::UnknownProfile,
            Self::UnknownIndex { .. } => Code::UnknownIndex,
            Self::NameTaken { .. } => Code::AlreadyExists,
            Self::InUse { .. } | Self::DefaultProfile => Code::InUse,
            Self::VersionMismatch { .. } => Code::VersionMismatch,
            Self::Definition { .. } => Code::InvalidDefinition,
            Self::Storage(error) => error.code(),
            Self::Journal(error) => error.code(),
        }
    }

    fn public(&self) -> String {
        match self {
            Self::Storage(error) => error.public(),
            Self::Journal(error) => error.public(),
            other => other.to_string(),
        }
    }

    fn members(&self) -> Members {
        match self {
            Self::InUse { used_by, .. } => {
                let listed = serde_json::to_value(used_by).unwrap_or_default();
                Members::from_iter([("used_by".to_owned(), listed)])
            }
            Self::VersionMismatch { present, .. } => {
                Members::from_iter([("present_version".to_owned(), serde_json::json!(present))])
            }
            Self::Storage(error) => error.members(),
            Self::Journal(error) => error.members(),
            _ => Members::new(),
        }
    }
}
