//! Profiles: which component stands behind which rule, and what a caller under the profile may reach.

use axum::extract::State;
use lakehouse_engine::{
    Action, Caller, ComponentRef, HnswConfig, Profile, ProfileInput, RuleBinding, RuleKind, RuleLimits, VectorBackend,
};
use lakehouse_types::{ProfileId, RuleName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::paging::Paging;
use crate::{
    answer::{Answer, NoContent, Outcome},
    app::App,
    problem::Problem,
    request::{Json, Named, Params, Who},
    route::{Access, Route},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(__path_put_profile, put_profile, Access::May(Action::ManageProfiles)),
        Route::new(__path_list_profiles, list_profiles, Access::May(Action::ReadCatalog)),
        Route::new(__path_show_profile, show_profile, Access::May(Action::ReadCatalog)),
        Route::new(__path_delete_profile, delete_profile, Access::May(Action::ManageProfiles)),
    ]
}

/// What one call of a rule may use.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct LimitsBody {
    /// 64 when absent.
    memory_mib: u32,
    /// 1000 when absent.
    deadline_ms: u32,
    /// 64 when absent.
    output_mib: u32,
    /// 64 when absent.
    log_kib: u32,
}

impl Default for LimitsBody {
    fn default() -> Self {
        RuleLimits::default().into()
    }
}

impl From<RuleLimits> for LimitsBody {
    fn from(limits: RuleLimits) -> Self {
        Self {
            memory_mib: limits.memory_mib,
            deadline_ms: limits.deadline_ms,
            output_mib: limits.output_mib,
            log_kib: limits.log_kib,
        }
    }
}

impl From<LimitsBody> for RuleLimits {
    fn from(body: LimitsBody) -> Self {
        Self { memory_mib: body.memory_mib, deadline_ms: body.deadline_ms, output_mib: body.output_mib, log_kib: body.log_kib }
    }
}

/// A rule's name bound to a component.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RuleBody {
    #[schema(value_type = String)]
    name: RuleName,
    /// `redactor`, `condition`, `chunker`, `id-mapper`, `embedder` or `model-adapter`.
    #[schema(value_type = String)]
    kind: RuleKind,
    /// `NAME` follows the active version; `NAME@1.2` and `NAME@sha256:…` pin one.
    #[schema(value_type = String)]
    component: ComponentRef,
    /// As the component's schema wants it.
    #[serde(default = "empty_object")]
    config: Value,
    #[serde(default)]
    limits: LimitsBody,
    /// Capabilities that the component asks for and is given.
    #[serde(default)]
    grants: Vec<String>,
}

fn empty_object() -> Value {
    Value::Object(serde_json::Map::new())
}

impl From<RuleBody> for RuleBinding {
    fn from(body: RuleBody) -> Self {
        let RuleBody { name, kind, component, config, limits, grants } = body;
        Self { name, kind, component, config, limits: limits.into(), grants }
    }
}

/// A rule of a profile. How it is configured and bounded is shown to those who manage profiles.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProfileRule)]
struct ShownRule {
    #[schema(value_type = String)]
    name: RuleName,
    /// `redactor`, `condition`, `chunker`, `id-mapper`, `embedder` or `model-adapter`.
    #[schema(value_type = String)]
    kind: RuleKind,
    #[schema(value_type = String)]
    component: ComponentRef,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<LimitsBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grants: Option<Vec<String>>,
}

impl ShownRule {
    fn of(binding: RuleBinding, manages: bool) -> Self {
        let RuleBinding { name, kind, component, config, limits, grants } = binding;
        let (config, limits, grants) =
            if manages { (Some(config), Some(limits.into()), Some(grants)) } else { (None, None, None) };
        Self { name, kind, component, config, limits, grants }
    }
}

/// Parameters of an HNSW index, where one is asked for by name.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = HnswConfig)]
#[serde(deny_unknown_fields, default)]
struct HnswBody {
    /// 10 to 400; 80 when absent.
    ef_construction: u32,
    /// 10 to 200; 30 when absent.
    ef_search: u32,
}

impl Default for HnswBody {
    fn default() -> Self {
        HnswConfig::default().into()
    }
}

impl From<HnswConfig> for HnswBody {
    fn from(HnswConfig { ef_construction, ef_search }: HnswConfig) -> Self {
        Self { ef_construction, ef_search }
    }
}

impl From<HnswBody> for HnswConfig {
    fn from(HnswBody { ef_construction, ef_search }: HnswBody) -> Self {
        Self { ef_construction, ef_search }
    }
}

/// A profile's definition; it replaces one of the same id and is in force when the answer arrives.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutProfileBody {
    #[schema(value_type = String)]
    id: ProfileId,
    #[serde(default)]
    description: String,
    #[serde(alias = "ollama_name")]
    model: Option<String>,
    /// Datasets and views that callers under the profile are limited to; empty means no such limit.
    #[serde(default)]
    bound_datasets: Vec<String>,
    #[serde(default)]
    rules: Vec<RuleBody>,
    hnsw_config: Option<HnswBody>,
    embed_model: Option<String>,
    #[schema(value_type = Option<String>)]
    vector_backend: Option<VectorBackend>,
}

/// A profile.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Profile)]
struct ProfileBody {
    id: String,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// What callers under the profile are limited to. To those who do not manage profiles, what of it they may read or write.
    bound_datasets: Vec<String>,
    rules: Vec<ShownRule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hnsw_config: Option<HnswBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embed_model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    vector_backend: Option<VectorBackend>,
    created_at: String,
    created_by: String,
    updated_at: String,
}

impl ProfileBody {
    fn of(profile: Profile, caller: &Caller) -> Self {
        let manages = caller.principal.may(Action::ManageProfiles);
        Self {
            id: profile.id.to_string(),
            description: profile.description,
            model: profile.model,
            bound_datasets: profile.bound_datasets,
            rules: profile.rules.into_iter().map(|rule| ShownRule::of(rule, manages)).collect(),
            hnsw_config: profile.hnsw_config.map(HnswBody::from),
            embed_model: profile.embed_model,
            vector_backend: profile.vector_backend,
            created_at: profile.created_at.to_rfc3339(),
            created_by: profile.created_by.to_string(),
            updated_at: profile.updated_at.to_rfc3339(),
        }
    }
}

/// A page of profiles, by id.
#[derive(Debug, Serialize, ToSchema)]
struct Profiles {
    profiles: Vec<ProfileBody>,
    /// The cursor of the next page, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Creates or replaces a profile.
///
/// Each rule's component must exist, be of the kind, and accept the configuration; limits stay within the server's ceilings;
/// bound datasets and views must exist.
#[utoipa::path(post, path = "/catalog/profiles", tag = "profiles", request_body = PutProfileBody,
    responses((status = 201, description = "The profile as it is now in force.", body = ProfileBody)))]
async fn put_profile(State(app): State<App>, Who(caller): Who, Json(body): Json<PutProfileBody>) -> Outcome<ProfileBody> {
    let put = ProfileInput {
        id: body.id,
        description: body.description,
        model: body.model,
        bound_datasets: body.bound_datasets,
        rules: body.rules.into_iter().map(RuleBinding::from).collect(),
        hnsw_config: body.hnsw_config.map(HnswConfig::from),
        embed_model: body.embed_model,
        vector_backend: body.vector_backend,
    };
    let profile = app.engine.put_profile(&caller, put).await?;
    Ok(Answer::created(ProfileBody::of(profile, &caller)))
}

/// Lists the profiles that the key may name or manage.
#[utoipa::path(get, path = "/catalog/profiles", tag = "profiles", params(Paging),
    responses((status = 200, description = "A page.", body = Profiles)))]
async fn list_profiles(State(app): State<App>, Who(caller): Who, Params(paging): Params<Paging>) -> Outcome<Profiles> {
    let page = app.engine.profiles(&caller, paging.after(), paging.limit())?;
    let profiles = page.items.into_iter().map(|profile| ProfileBody::of(profile, &caller)).collect();
    Ok(Answer::ok(Profiles { profiles, next: page.next }))
}

/// Shows a profile.
#[utoipa::path(get, path = "/catalog/profiles/{id}", tag = "profiles", params(("id" = String, Path, description = "The profile.")),
    responses((status = 200, description = "The profile.", body = ProfileBody)))]
async fn show_profile(State(app): State<App>, Who(caller): Who, Named(id): Named<ProfileId>) -> Outcome<ProfileBody> {
    Ok(Answer::ok(ProfileBody::of(app.engine.profile(&caller, &id).await?, &caller)))
}

/// Deletes a profile; `default` always exists.
#[utoipa::path(delete, path = "/catalog/profiles/{id}", tag = "profiles", params(("id" = String, Path, description = "The profile.")),
    responses((status = 204, description = "Gone.")))]
async fn delete_profile(State(app): State<App>, Who(caller): Who, Named(id): Named<ProfileId>) -> Result<NoContent, Problem> {
    app.engine.delete_profile(&caller, &id).await?;
    Ok(NoContent)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{RuleBinding, RuleKind, ShownRule};

    #[test]
    fn only_managers_see_how_a_rule_is_configured() {
        let mut rule = RuleBinding::new("cut".parse().unwrap(), RuleKind::Redactor, "scissors".parse().unwrap());
        rule.config = json!({"length": 3});
        let plain = serde_json::to_value(ShownRule::of(rule.clone(), false)).unwrap();
        assert_eq!(plain, json!({"name": "cut", "kind": "redactor", "component": "scissors"}));
        let whole = serde_json::to_value(ShownRule::of(rule, true)).unwrap();
        assert_eq!(
            (&whole["config"]["length"], &whole["limits"]["memory_mib"], &whole["grants"]),
            (&json!(3), &json!(64), &json!([]))
        );
    }
}
