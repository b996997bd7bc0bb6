//! Plugins: components in, versions, what they do.

use axum::{body::Body, extract::State, http::HeaderMap};
use lakehouse_engine::{
    Action, FolderFailure, PluginCheck, PluginDetail, PluginStats, PluginSummary, PushReport, PushState, RuleKind, VersionDetails,
};
use lakehouse_types::{Code, PluginName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::paging::Paging;
use crate::{
    answer::{Answer, NoContent, Outcome},
    app::App,
    problem::Problem,
    request::{Named, OptionalJson, Params, Who},
    route::{Access, Load, Route},
};

/// Comes with signed components. A signature that nobody checks is refused rather than ignored.
const SIGNATURE: &str = "x-plugin-signature";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(__path_push_plugin, push_plugin, Access::May(Action::ManagePlugins)).load(Load::Component),
        Route::new(__path_list_plugins, list_plugins, Access::May(Action::ReadPlugins)),
        Route::new(__path_show_plugin, show_plugin, Access::May(Action::ReadPlugins)),
        Route::new(__path_rollback_plugin, rollback_plugin, Access::May(Action::ManagePlugins)),
        Route::new(__path_enable_plugin, enable_plugin, Access::May(Action::ManagePlugins)),
        Route::new(__path_disable_plugin, disable_plugin, Access::May(Action::ManagePlugins)),
        Route::new(__path_delete_plugin, delete_plugin, Access::May(Action::ManagePlugins)),
    ]
}

/// Something that was checked before a component came into force.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginCheck)]
struct CheckBody {
    /// For example `component`, `imports`, `compile`, `instantiate`.
    check: &'static str,
    ok: bool,
    detail: String,
}

impl From<PluginCheck> for CheckBody {
    fn from(PluginCheck { check, ok, detail }: PluginCheck) -> Self {
        Self { check, ok, detail }
    }
}

/// What became of an upload.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PushReport)]
struct PushBody {
    name: String,
    version: String,
    /// SHA-256 of the component, hex.
    digest: String,
    /// Of `redactor`, `condition`, `chunker`, `id-mapper`, `embedder`, `model-adapter`.
    #[schema(value_type = Vec<String>)]
    kinds: Vec<RuleKind>,
    imports: Vec<String>,
    /// `active`, or `staged` while the plugin is disabled.
    #[schema(value_type = String)]
    state: PushState,
    checks: Vec<CheckBody>,
}

impl From<PushReport> for PushBody {
    fn from(report: PushReport) -> Self {
        Self {
            name: report.name.to_string(),
            version: report.version.into(),
            digest: report.digest.to_string(),
            kinds: report.kinds,
            imports: report.imports,
            state: report.state,
            checks: report.checks.into_iter().map(CheckBody::from).collect(),
        }
    }
}

/// A plugin.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plugin)]
struct PluginBody {
    name: String,
    /// The active version.
    version: String,
    digest: String,
    /// `active` or `disabled`.
    state: &'static str,
    #[schema(value_type = Vec<String>)]
    kinds: Vec<RuleKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    version_count: usize,
    updated_at: String,
}

impl From<PluginSummary> for PluginBody {
    fn from(plugin: PluginSummary) -> Self {
        Self {
            name: plugin.name.to_string(),
            version: plugin.version.into(),
            digest: plugin.digest.to_string(),
            state: if plugin.enabled { "active" } else { "disabled" },
            kinds: plugin.kinds,
            description: plugin.description,
            version_count: plugin.versions,
            updated_at: plugin.updated_at.to_rfc3339(),
        }
    }
}

/// A file of the plugin folder that was refused.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FolderFailure)]
struct FailureBody {
    file: String,
    at: String,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checks: Vec<CheckBody>,
}

impl From<FolderFailure> for FailureBody {
    fn from(failure: FolderFailure) -> Self {
        Self {
            file: failure.file,
            at: failure.at.to_rfc3339(),
            detail: failure.detail,
            checks: failure.checks.into_iter().map(CheckBody::from).collect(),
        }
    }
}

/// A page of plugins, by name.
#[derive(Debug, Serialize, ToSchema)]
struct Plugins {
    plugins: Vec<PluginBody>,
    /// Files of the plugin folder that were refused, until they change or go.
    failures: Vec<FailureBody>,
    /// The cursor of the next page, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What a version has done since the server started.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginStats)]
struct StatsBody {
    calls: u64,
    /// Values, contexts, documents, ids, texts or requests handed over.
    rows: u64,
    /// Timeouts included.
    errors: u64,
    timeouts: u64,
    latency_sum_us: u64,
    latency_max_us: u64,
    peak_memory_bytes: u64,
    /// Lines that instances logged or printed. They may repeat values, so nobody has kept them.
    log_lines_discarded: u64,
    /// Tries on an operator's own rows; not in the other counts.
    dry_runs: u64,
    dry_run_errors: u64,
}

impl From<PluginStats> for StatsBody {
    fn from(stats: PluginStats) -> Self {
        Self {
            calls: stats.calls,
            rows: stats.rows,
            errors: stats.errors,
            timeouts: stats.timeouts,
            latency_sum_us: stats.latency_sum_us,
            latency_max_us: stats.latency_max_us,
            peak_memory_bytes: stats.peak_memory_bytes,
            log_lines_discarded: stats.log_lines_discarded,
            dry_runs: stats.dry_runs,
            dry_run_errors: stats.dry_run_errors,
        }
    }
}

/// One version of a plugin.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginVersion)]
struct VersionBody {
    version: String,
    digest: String,
    active: bool,
    size_bytes: u64,
    #[schema(value_type = Vec<String>)]
    kinds: Vec<RuleKind>,
    imports: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    licenses: Option<String>,
    /// JSON Schema of a rule's `config`.
    #[serde(skip_serializing_if = "Option::is_none")]
    config_schema: Option<Value>,
    /// `upload`, `folder` or `shipped`.
    #[schema(value_type = String)]
    origin: lakehouse_engine::PluginOrigin,
    pushed_at: String,
    pushed_by: String,
    stats: StatsBody,
}

impl From<VersionDetails> for VersionBody {
    fn from(VersionDetails { record, active, stats }: VersionDetails) -> Self {
        Self {
            version: record.version.into(),
            digest: record.digest.to_string(),
            active,
            size_bytes: record.size_bytes,
            kinds: record.kinds,
            imports: record.imports,
            description: record.description,
            licenses: record.licenses,
            config_schema: record.config_schema,
            origin: record.origin,
            pushed_at: record.pushed_at.to_rfc3339(),
            pushed_by: record.pushed_by.to_string(),
            stats: stats.into(),
        }
    }
}

/// A rule that runs a plugin.
#[derive(Debug, Serialize, ToSchema)]
struct UserBody {
    profile: String,
    rule: String,
}

/// A plugin with its versions and who uses it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginDetails)]
struct DetailsBody {
    #[serde(flatten)]
    plugin: PluginBody,
    /// Newest first.
    versions: Vec<VersionBody>,
    used_by: Vec<UserBody>,
}

impl From<PluginDetail> for DetailsBody {
    fn from(PluginDetail { plugin, used_by }: PluginDetail) -> Self {
        Self {
            plugin: plugin.summary.into(),
            versions: plugin.all.into_iter().map(VersionBody::from).collect(),
            used_by: used_by
                .into_iter()
                .map(|(profile, rule)| UserBody { profile: profile.to_string(), rule: rule.to_string() })
                .collect(),
        }
    }
}

/// Where to roll back to.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RollbackBody {
    /// A version, or `sha256:` and a digest; else the version that was active before.
    to: Option<String>,
}

/// Nothing: a body may be left out, and any member is refused.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SwitchBody {}

/// Pushes a component: compiled and checked while the old version serves, then swapped in at once.
///
/// The name must be the component's own; one that names itself nothing takes any. A refusal lists its `checks` and leaves the old version in force.
#[utoipa::path(put, path = "/plugins/{name}", tag = "plugins", params(("name" = String, Path, description = "The component's name.")),
    request_body(content((crate::openapi::Binary = "application/wasm")), description = "A WebAssembly component."),
    responses((status = 201, description = "In force, or staged.", body = PushBody)))]
async fn push_plugin(
    State(app): State<App>,
    Who(caller): Who,
    Named(name): Named<PluginName>,
    headers: HeaderMap,
    body: Body,
) -> Outcome<PushBody> {
    if headers.contains_key(SIGNATURE) {
        return Err(Problem::new(
            Code::InvalidParameter,
            "signatures are not checked yet; leave the header X-Plugin-Signature out",
        ));
    }
    // The guard bounds the body.
    let wasm = axum::body::to_bytes(body, usize::MAX).await.map_err(|_| Problem::new(Code::InvalidBody, "the body broke off"))?;
    Ok(Answer::created(app.engine.push_plugin(&caller, &name, wasm).await?.into()))
}

/// Lists the plugins, and the files of the plugin folder that were refused.
#[utoipa::path(get, path = "/plugins", tag = "plugins", params(Paging),
    responses((status = 200, description = "A page.", body = Plugins)))]
async fn list_plugins(State(app): State<App>, Who(caller): Who, Params(paging): Params<Paging>) -> Outcome<Plugins> {
    let page = app.engine.plugins(&caller, paging.after(), paging.limit()).await?;
    Ok(Answer::ok(Plugins {
        plugins: page.plugins.items.into_iter().map(PluginBody::from).collect(),
        failures: page.failures.into_iter().map(FailureBody::from).collect(),
        next: page.plugins.next,
    }))
}

/// Shows a plugin: versions, statistics, who uses it.
#[utoipa::path(get, path = "/plugins/{name}", tag = "plugins", params(("name" = String, Path, description = "The plugin.")),
    responses((status = 200, description = "The plugin.", body = DetailsBody)))]
async fn show_plugin(State(app): State<App>, Who(caller): Who, Named(name): Named<PluginName>) -> Outcome<DetailsBody> {
    Ok(Answer::ok(app.engine.plugin(&caller, &name).await?.into()))
}

/// Makes another version active: the named one, else the one before.
#[utoipa::path(post, path = "/plugins/{name}/rollback", tag = "plugins", request_body = Option<RollbackBody>,
    params(("name" = String, Path, description = "The plugin.")),
    responses((status = 200, description = "The plugin as it is now in force.", body = PluginBody)))]
async fn rollback_plugin(
    State(app): State<App>,
    Who(caller): Who,
    Named(name): Named<PluginName>,
    OptionalJson(body): OptionalJson<RollbackBody>,
) -> Outcome<PluginBody> {
    Ok(Answer::ok(app.engine.rollback_plugin(&caller, &name, body.to).await?.into()))
}

/// Lets rules resolve to a plugin again.
#[utoipa::path(post, path = "/plugins/{name}/enable", tag = "plugins", params(("name" = String, Path, description = "The plugin.")),
    responses((status = 200, description = "The plugin.", body = PluginBody)))]
async fn enable_plugin(
    State(app): State<App>,
    Who(caller): Who,
    Named(name): Named<PluginName>,
    OptionalJson(SwitchBody {}): OptionalJson<SwitchBody>,
) -> Outcome<PluginBody> {
    Ok(Answer::ok(app.engine.switch_plugin(&caller, &name, true).await?.into()))
}

/// Makes every rule that runs a plugin fail closed.
#[utoipa::path(post, path = "/plugins/{name}/disable", tag = "plugins", params(("name" = String, Path, description = "The plugin.")),
    responses((status = 200, description = "The plugin.", body = PluginBody)))]
async fn disable_plugin(
    State(app): State<App>,
    Who(caller): Who,
    Named(name): Named<PluginName>,
    OptionalJson(SwitchBody {}): OptionalJson<SwitchBody>,
) -> Outcome<PluginBody> {
    Ok(Answer::ok(app.engine.switch_plugin(&caller, &name, false).await?.into()))
}

/// Deletes a plugin with its versions; refused while a profile binds it.
#[utoipa::path(delete, path = "/plugins/{name}", tag = "plugins", params(("name" = String, Path, description = "The plugin.")),
    responses((status = 204, description = "Gone.")))]
async fn delete_plugin(State(app): State<App>, Who(caller): Who, Named(name): Named<PluginName>) -> Result<NoContent, Problem> {
    app.engine.delete_plugin(&caller, &name).await?;
    Ok(NoContent)
}
