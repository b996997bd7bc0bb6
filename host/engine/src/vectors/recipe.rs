//! The rules that make an index, by content.

use std::sync::Arc;

use lakehouse_catalog::{
    CatalogError, DefinitionError, IndexRecord, IndexRules, IndexSource, Pin, PinnedRule, Profile, Recipe, RuleBinding, RuleKind,
};
use lakehouse_plugins::{Bindings, PluginError, Snapshot};
use lakehouse_types::{IndexName, PluginName, RuleName};
use lakehouse_vector::{Embedding, Source};
use serde_json::{Map, Value, json};

use super::RefreshIndex;
use crate::EngineError;

/// What an index adds to the configuration of the profile's rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Overlays {
    pub(super) chunker: Value,
    pub(super) id_mapper: Value,
}

impl Overlays {
    pub(super) fn of(rules: &IndexRules) -> Self {
        let chunker = rules.chunker.as_ref().map(|rule| rule.overlay.clone()).unwrap_or_default();
        Self { chunker, id_mapper: rules.id_mapper.overlay.clone() }
    }

    pub(super) fn set(into: &mut Value, member: &str, value: Value) {
        let members = match into {
            Value::Object(members) => members,
            other => {
                *other = Value::Object(Map::new());
                other.as_object_mut().expect("it was just made one")
            }
        };
        members.insert(member.to_owned(), value);
    }
}

/// Names of the rules that make an index under a profile.
struct Names {
    id_mapper: RuleName,
    chunker: RuleName,
    embedder: RuleName,
}

impl Names {
    /// The profile's `embed_model` names its embedder; `embed` where it names none.
    fn of(profile: &Profile) -> Result<Self, EngineError> {
        let name = |text: &str| RuleName::new(text).expect("the default names are slugs");
        let embedder = match &profile.embed_model {
            None => name("embed"),
            Some(model) => RuleName::new(model).map_err(|_| {
                let reason = DefinitionError::NoEmbedder { model: model.clone() };
                CatalogError::Definition { what: format!("profile `{}`", profile.id), reason }
            })?,
        };
        Ok(Self { id_mapper: name("ids"), chunker: name("chunk"), embedder })
    }
}

/// What the index is made with from now on.
pub(super) fn of(
    before: Option<&IndexRecord>,
    what: &RefreshIndex,
    bindings: &Bindings,
    profile: &Profile,
    name: &IndexName,
) -> Result<Recipe, EngineError> {
    let before = before.map(|before| &before.recipe);
    let missing = |member| EngineError::IndexNeeds { index: name.clone(), member };
    let id_column = what.id_column.clone().or_else(|| before.map(|before| before.id_column.clone()));
    let source = what.source.clone().or_else(|| before.map(|before| before.source.clone()));
    let source = source.ok_or_else(|| missing("text_column"))?;
    let metric = what.metric.or_else(|| before.map(|before| before.metric)).unwrap_or_default();
    let mut overlays = before.map(|before| Overlays::of(&before.rules)).unwrap_or_default();
    if let IndexSource::Text(_) = source {
        for (member, value) in [("chunk_size", what.chunk_size), ("overlap", what.overlap)] {
            if let Some(value) = value {
                Overlays::set(&mut overlays.chunker, member, json!(value));
            }
        }
    } else if what.chunk_size.is_some() || what.overlap.is_some() {
        return Err(EngineError::VectorsAreWhole);
    }
    if let Some(prefix) = &what.id_prefix {
        Overlays::set(&mut overlays.id_mapper, "prefix", Value::from(prefix.as_str()));
    }
    let rules = resolve(bindings, profile, &source, &overlays)?;
    Ok(Recipe { id_column: id_column.ok_or_else(|| missing("id_column"))?, source, metric, rules })
}

/// The plugin that the profile embeds with.
pub(super) fn embedder_of(profile: &Profile) -> Result<PluginName, EngineError> {
    let rule = Names::of(profile)?.embedder;
    let bound = profile.effective_rules().into_iter().find(|bound| bound.name == rule && bound.kind == RuleKind::Embedder);
    let unresolved =
        || PluginError::Unresolved { rule: rule.clone(), why: "the profile binds no embedder of this name".to_owned() };
    bound.map(|bound| bound.component.plugin).ok_or_else(|| unresolved().into())
}

/// What the rules stand for now.
pub(super) fn resolve(
    bindings: &Bindings,
    profile: &Profile,
    source: &IndexSource,
    overlays: &Overlays,
) -> Result<IndexRules, EngineError> {
    let names = Names::of(profile)?;
    let pinned = |name: &RuleName, kind: RuleKind, overlay: &Value| -> Result<PinnedRule, EngineError> {
        let resolved = bindings.resolved(name, kind, Some(overlay))?;
        Ok(PinnedRule {
            plugin: resolved.plugin.name,
            version: resolved.plugin.version.into(),
            digest: resolved.digest,
            config: serde_json::from_str(&resolved.config).unwrap_or_else(|_| json!({})),
            overlay: overlay.clone(),
        })
    };
    let is_text = matches!(source, IndexSource::Text(_));
    let of_text = |name: &RuleName, kind, overlay: &Value| is_text.then(|| pinned(name, kind, overlay)).transpose();
    Ok(IndexRules {
        id_mapper: pinned(&names.id_mapper, RuleKind::IdMapper, &overlays.id_mapper)?,
        chunker: of_text(&names.chunker, RuleKind::Chunker, &overlays.chunker)?,
        embedder: of_text(&names.embedder, RuleKind::Embedder, &Value::Null)?,
    })
}

/// The rules, open.
pub(super) async fn open(bindings: &Bindings, profile: &Profile, recipe: &Recipe) -> Result<Embedding, EngineError> {
    let (names, overlays) = (Names::of(profile)?, Overlays::of(&recipe.rules));
    let source = match &recipe.source {
        IndexSource::Vectors(_) => Source::Vectors,
        IndexSource::Text(_) => Source::Text {
            chunker: Box::new(bindings.chunker(&names.chunker, Some(&overlays.chunker)).await?),
            embedder: Box::new(bindings.embedder(&names.embedder, None).await?),
        },
    };
    let id_mapper = bindings.id_mapper(&names.id_mapper, Some(&overlays.id_mapper)).await?;
    Ok(Embedding { id_mapper, source, metric: recipe.metric })
}

/// Bindings with one rule: a component by its content, configured as it was. The limits are those of the profile's own rule where it
/// still runs that plugin.
pub(super) fn pinned(snapshot: Arc<Snapshot>, profile: &Profile, rule: &PinnedRule, kind: RuleKind) -> (Bindings, RuleName) {
    let name = RuleName::new("pinned").expect("a plain word is a slug");
    let mut binding = RuleBinding::new(name.clone(), kind, rule.plugin.clone());
    let bound = profile.effective_rules().into_iter().find(|bound| bound.kind == kind && bound.component.plugin == rule.plugin);
    if let Some(bound) = bound {
        (binding.limits, binding.grants) = (bound.limits, bound.grants);
    }
    binding.component.pin = Pin::Digest(rule.digest.clone());
    binding.config = rule.config.clone();
    (Bindings::new(snapshot, vec![binding]), name)
}
