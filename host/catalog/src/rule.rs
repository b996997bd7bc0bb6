//! A binding: the name that views and truth rules use, and the component, config and limits behind it.

use lakehouse_types::{PluginName, RuleName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{ComponentRef, DefinitionError, view::check_config};

/// Capabilities granted by one binding.
const MAX_GRANTS: usize = 32;

/// One member of a profile's `rules`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleBinding {
    pub name: RuleName,
    pub kind: RuleKind,
    pub component: ComponentRef,
    /// Handed to the component as it is; a JSON object.
    #[serde(default = "empty")]
    pub config: Value,
    #[serde(default)]
    pub limits: RuleLimits,
    /// Capabilities that the component may use, of those that it asks for.
    #[serde(default)]
    pub grants: Vec<String>,
}

/// The WIT interface that a rule is called through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleKind {
    Redactor,
    Condition,
    Chunker,
    IdMapper,
    Embedder,
    ModelAdapter,
}

impl RuleKind {
    /// Every kind, in the order in which a component's kinds are listed.
    pub const ALL: [Self; 6] =
        [Self::Redactor, Self::Condition, Self::Chunker, Self::IdMapper, Self::Embedder, Self::ModelAdapter];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redactor => "redactor",
            Self::Condition => "condition",
            Self::Chunker => "chunker",
            Self::IdMapper => "id-mapper",
            Self::Embedder => "embedder",
            Self::ModelAdapter => "model-adapter",
        }
    }
}

impl std::fmt::Display for RuleKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one instance of a rule may use. The ceilings are `[plugins]` of the server's config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleLimits {
    /// Linear memory, all memories together. Default 64.
    pub memory_mib: u32,
    /// Wall time of one call. Default 1000.
    pub deadline_ms: u32,
    /// What one call may return. Default 64.
    pub output_mib: u32,
    /// Log text of one request. Default 64.
    pub log_kib: u32,
}

impl Default for RuleLimits {
    fn default() -> Self {
        Self { memory_mib: 64, deadline_ms: 1000, output_mib: 64, log_kib: 64 }
    }
}

impl RuleBinding {
    /// A binding without config, with the default limits, that follows the active version.
    pub fn new(name: RuleName, kind: RuleKind, plugin: PluginName) -> Self {
        let component = ComponentRef::active(plugin);
        Self { name, kind, component, config: empty(), limits: RuleLimits::default(), grants: Vec::new() }
    }

    /// The rules that every profile has unless it binds their names itself: those behind the short forms `null`, `hash` and
    /// `mask`, and those that make text searchable: `chunk`, `ids`, `embed`.
    pub(crate) fn defaults() -> [Self; 6] {
        [
            ("null", RuleKind::Redactor, "redact-null"),
            ("hash", RuleKind::Redactor, "redact-hash"),
            ("mask", RuleKind::Redactor, "redact-mask"),
            ("chunk", RuleKind::Chunker, "chunk-text"),
            ("ids", RuleKind::IdMapper, "id-prefix"),
            ("embed", RuleKind::Embedder, "embed-hash"),
        ]
        .map(|(name, kind, plugin)| {
            let name = RuleName::new(name).expect("the default names are slugs");
            Self::new(name, kind, PluginName::new(plugin).expect("the shipped names are slugs"))
        })
    }

    /// Checks the limits against the server's ceilings.
    ///
    /// # Errors
    /// [`DefinitionError::Limit`] naming the first limit that is zero or above its ceiling.
    pub fn check_limits(&self, ceilings: &RuleLimits) -> Result<(), DefinitionError> {
        let limits = [
            ("memory_mib", self.limits.memory_mib, 1, ceilings.memory_mib),
            ("deadline_ms", self.limits.deadline_ms, 1, ceilings.deadline_ms),
            ("output_mib", self.limits.output_mib, 1, ceilings.output_mib),
            ("log_kib", self.limits.log_kib, 0, ceilings.log_kib),
        ];
        for (limit, value, min, max) in limits {
            if !(min..=max).contains(&value) {
                return Err(DefinitionError::Limit { rule: self.name.clone(), limit, min: min.into(), max: max.into() });
            }
        }
        Ok(())
    }

    pub(crate) fn check(&self) -> Result<(), DefinitionError> {
        check_config(&self.config, &self.name)?;
        let unlimited = RuleLimits { memory_mib: u32::MAX, deadline_ms: u32::MAX, output_mib: u32::MAX, log_kib: u32::MAX };
        self.check_limits(&unlimited)?;
        if self.grants.len() > MAX_GRANTS {
            return Err(DefinitionError::TooLarge { field: "grants", limit: MAX_GRANTS, unit: "names" });
        }
        for (n, grant) in self.grants.iter().enumerate() {
            if RuleName::new(grant).is_err() {
                return Err(DefinitionError::GrantShape { rule: self.name.clone() });
            }
            if self.grants[..n].contains(grant) {
                return Err(DefinitionError::DuplicateGrant { rule: self.name.clone(), grant: grant.clone() });
            }
        }
        Ok(())
    }
}

fn empty() -> Value {
    Value::Object(Map::new())
}
