//! The rules of one request: names from views and truth rules to open components.
//!
//! **Invariant**: a request sees one snapshot from start to end; a name that resolves to nothing fails closed.

use std::{collections::HashMap, sync::Arc};

use lakehouse_catalog::{RuleBinding, RuleKind};
use lakehouse_types::{Digest, RuleName};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use crate::{
    Chunker, Condition, Embedder, IdMapper, Limits, MemoryMeter, ModelAdapter, PluginError, RedactorRule, Snapshot,
    error::VersionedName, log::GuestLog, rule::Rule, runtime::Options,
};

/// Resolves rule names for one request. Its rules are opened once and never shared with another request.
pub struct Bindings {
    snapshot: Arc<Snapshot>,
    rules: HashMap<RuleName, RuleBinding>,
    meter: Option<Arc<dyn MemoryMeter>>,
    redactors: Mutex<HashMap<(RuleName, String), Arc<RedactorRule>>>,
}

/// What a rule name means to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedRule {
    pub plugin: VersionedName,
    /// The component's content.
    pub digest: Digest,
    /// The JSON object that the component is opened with.
    pub config: String,
}

impl Bindings {
    /// The rules of a profile, over the plugins of a snapshot. Of two bindings with one name the first counts.
    pub fn new(snapshot: Arc<Snapshot>, rules: Vec<RuleBinding>) -> Self {
        let mut by_name = HashMap::with_capacity(rules.len());
        for rule in rules {
            by_name.entry(rule.name.clone()).or_insert(rule);
        }
        Self { snapshot, rules: by_name, meter: None, redactors: Mutex::default() }
    }

    /// Accounts for the memory of every instance at `meter`.
    #[must_use]
    pub fn with_meter(mut self, meter: Arc<dyn MemoryMeter>) -> Self {
        self.meter = Some(meter);
        self
    }

    /// The snapshot that the request is pinned to.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The redactor bound to `rule`, its config overlaid with `overlay`, member by member. Opened once: a configuration that the
    /// component rejects fails here.
    ///
    /// # Errors
    /// [`PluginError::Unresolved`] when nothing of that name and kind is bound and enabled; what `open` fails with.
    pub async fn redactor(&self, rule: &RuleName, overlay: Option<&Value>) -> Result<Arc<RedactorRule>, PluginError> {
        let binding = self.binding(rule, RuleKind::Redactor)?;
        let config = overlaid(binding, overlay)?;
        let mut opened = self.redactors.lock().await;
        let key = (rule.clone(), config);
        if let Some(known) = opened.get(&key) {
            return Ok(Arc::clone(known));
        }
        let rule = Arc::new(RedactorRule::open(self.rule(binding, &key.1).await?).await?);
        opened.insert(key, Arc::clone(&rule));
        Ok(rule)
    }

    /// The condition bound to `rule`, on an instance of its own.
    ///
    /// # Errors
    /// As [`Self::redactor`].
    pub async fn condition(&self, rule: &RuleName, overlay: Option<&Value>) -> Result<Condition, PluginError> {
        Condition::open(self.opening(rule, RuleKind::Condition, overlay).await?).await
    }

    /// The chunker bound to `rule`, on an instance of its own.
    ///
    /// # Errors
    /// As [`Self::redactor`].
    pub async fn chunker(&self, rule: &RuleName, overlay: Option<&Value>) -> Result<Chunker, PluginError> {
        Chunker::open(self.opening(rule, RuleKind::Chunker, overlay).await?).await
    }

    /// The id mapper bound to `rule`, on an instance of its own.
    ///
    /// # Errors
    /// As [`Self::redactor`].
    pub async fn id_mapper(&self, rule: &RuleName, overlay: Option<&Value>) -> Result<IdMapper, PluginError> {
        IdMapper::open(self.opening(rule, RuleKind::IdMapper, overlay).await?).await
    }

    /// The embedder bound to `rule`, on an instance of its own.
    ///
    /// # Errors
    /// As [`Self::redactor`].
    pub async fn embedder(&self, rule: &RuleName, overlay: Option<&Value>) -> Result<Embedder, PluginError> {
        Embedder::open(self.opening(rule, RuleKind::Embedder, overlay).await?).await
    }

    /// The model adapter bound to `rule`, on an instance of its own.
    ///
    /// # Errors
    /// As [`Self::redactor`].
    pub async fn model_adapter(&self, rule: &RuleName, overlay: Option<&Value>) -> Result<ModelAdapter, PluginError> {
        ModelAdapter::open(self.opening(rule, RuleKind::ModelAdapter, overlay).await?).await
    }

    /// What stands behind `rule`, without running it: whoever keeps what a rule made can tell whether it would make it again.
    ///
    /// # Errors
    /// As [`Self::redactor`], except for what `open` fails with.
    pub fn resolved(&self, rule: &RuleName, kind: RuleKind, overlay: Option<&Value>) -> Result<ResolvedRule, PluginError> {
        let binding = self.binding(rule, kind)?;
        let version = self.snapshot.resolve(binding)?;
        let (plugin, digest) = ((*version.id).clone(), version.digest().clone());
        Ok(ResolvedRule { plugin, digest, config: overlaid(binding, overlay)? })
    }

    async fn opening(&self, rule: &RuleName, kind: RuleKind, overlay: Option<&Value>) -> Result<Rule, PluginError> {
        let binding = self.binding(rule, kind)?;
        self.rule(binding, &overlaid(binding, overlay)?).await
    }

    fn binding(&self, rule: &RuleName, kind: RuleKind) -> Result<&RuleBinding, PluginError> {
        let unresolved = |why: String| PluginError::Unresolved { rule: rule.clone(), why };
        let binding = self.rules.get(rule).ok_or_else(|| unresolved("the profile binds no rule of this name".to_owned()))?;
        if binding.kind != kind {
            return Err(unresolved(format!("the profile binds it as `{}`, not as `{kind}`", binding.kind)));
        }
        Ok(binding)
    }

    async fn rule(&self, binding: &RuleBinding, config: &str) -> Result<Rule, PluginError> {
        self.snapshot.check(binding)?;
        let version = self.snapshot.resolve(binding)?;
        let limits = Limits::of(binding, &self.snapshot.runtime.ceilings)?;
        let loaded = version.code().await?;
        let log = GuestLog::discarded(version.counters.discarded_lines());
        Ok(Rule {
            runtime: Arc::clone(&self.snapshot.runtime),
            version,
            loaded,
            config: config.into(),
            options: Options::request(limits, log, self.meter.clone()),
        })
    }
}

impl std::fmt::Debug for Bindings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bindings").field("rules", &self.rules.keys().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

/// The binding's config with the members of `overlay` over it.
pub(crate) fn overlaid(binding: &RuleBinding, overlay: Option<&Value>) -> Result<String, PluginError> {
    let shape = || PluginError::ConfigShape { rule: binding.name.clone() };
    let members = |value: &Value| -> Result<Map<String, Value>, PluginError> {
        match value {
            Value::Null => Ok(Map::new()),
            Value::Object(members) => Ok(members.clone()),
            _ => Err(shape()),
        }
    };
    let mut config = members(&binding.config)?;
    if let Some(overlay) = overlay {
        config.extend(members(overlay)?);
    }
    Ok(Value::Object(config).to_string())
}
