//! Activation: what a profile needs is loaded before the first request needs it.

use axum::{extract::State, response::Response};
use lakehouse_engine::{Action, ActivatedIndex, ActivatedRule, Activation, RuleKind};
use lakehouse_types::ProfileId;
use serde::Serialize;
use utoipa::ToSchema;

use super::indexes::millis;
use crate::{
    app::App,
    later::{self, Later, Started},
    problem::Problem,
    request::{Named, Who},
    route::{Access, Load, Route},
};

pub(super) fn routes() -> Vec<Route> {
    vec![Route::new(__path_activate_profile, activate_profile, Access::May(Action::ManageIndexes)).load(Load::Work)]
}

/// A rule's component, loaded or not.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ActivatedRule)]
struct ActivatedRuleBody {
    rule: String,
    #[schema(value_type = String)]
    kind: RuleKind,
    component: String,
    /// `ready` or `failed`.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    duration_ms: u64,
}

impl From<ActivatedRule> for ActivatedRuleBody {
    fn from(activated: ActivatedRule) -> Self {
        let problem = activated.problem();
        Self {
            rule: activated.rule.name.to_string(),
            kind: activated.rule.kind,
            component: activated.rule.component.to_string(),
            state: if problem.is_none() { "ready" } else { "failed" },
            problem,
            duration_ms: millis(activated.duration),
        }
    }
}

/// An index, in memory or not.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ActivatedIndex)]
struct ActivatedIndexBody {
    index: String,
    relation: String,
    /// `warm` or `failed`.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vectors: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    duration_ms: u64,
}

impl From<ActivatedIndex> for ActivatedIndexBody {
    fn from(activated: ActivatedIndex) -> Self {
        let problem = activated.problem();
        let loaded = activated.loaded.as_ref().ok();
        Self {
            index: activated.index.name.to_string(),
            relation: activated.index.relation.clone(),
            state: if problem.is_none() { "warm" } else { "failed" },
            problem,
            vectors: loaded.map(|(vectors, _)| *vectors),
            memory_bytes: loaded.map(|(_, bytes)| *bytes),
            duration_ms: millis(activated.duration),
        }
    }
}

/// What an activation came to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Activation)]
struct ActivationBody {
    profile: String,
    rules: Vec<ActivatedRuleBody>,
    indexes: Vec<ActivatedIndexBody>,
    /// The bucket of the profile's own, if one is declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<String>,
    /// Of `rules` and `indexes`.
    failed: usize,
    duration_ms: u64,
}

impl From<Activation> for ActivationBody {
    fn from(activation: Activation) -> Self {
        let rules: Vec<ActivatedRuleBody> = activation.rules.into_iter().map(Into::into).collect();
        let indexes: Vec<ActivatedIndexBody> = activation.indexes.into_iter().map(Into::into).collect();
        let failed = rules.iter().filter(|rule| rule.problem.is_some()).count();
        Self {
            profile: activation.profile.to_string(),
            failed: failed + indexes.iter().filter(|index| index.problem.is_some()).count(),
            rules,
            indexes,
            bucket: activation.bucket.map(|name| name.to_string()),
            duration_ms: millis(activation.duration),
        }
    }
}

/// Loads a profile's components and indexes before the first request needs them.
#[utoipa::path(post, path = "/vectors/profile/{id}/activate", tag = "vectors", 
    params(("id" = String, Path, description = "The profile."),
        ("Prefer" = Option<String>, Header, description = "`respond-async`: a job instead of waiting.")),
    responses((status = 200, description = "What is loaded; one failure stops no other.", body = ActivationBody),
        (status = 202, description = "The job.", body = Started)))]
async fn activate_profile(
    State(app): State<App>,
    Who(caller): Who,
    later: Later,
    Named(id): Named<ProfileId>,
) -> Result<Response, Problem> {
    let (engine, asking) = (app.engine.clone(), caller.clone());
    later::answer(&app, &caller, later, "activate", id.to_string(), |_| async move {
        Ok(ActivationBody::from(engine.activate(&asking, &id).await?))
    })
    .await
}
