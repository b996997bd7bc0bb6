//! What describes the server: metrics, the OpenAPI document, the page that browses it, the problem codes.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use lakehouse_engine::Action;
use lakehouse_types::Code;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    answer::Answer,
    app::App,
    problem::{self, Problem},
    request::Named,
    route::{Access, Route},
};

/// The page, whole: it loads nothing but `/openapi.json`.
const PAGE: &str = include_str!("../docs.html");

/// The page may run its own script and talk to its own server, and be framed by nobody.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(__path_metrics, metrics, Access::May(Action::ReadMetrics)),
        Route::new(__path_openapi, openapi, Access::AnyKey).page(),
        Route::new(__path_docs, docs, Access::AnyKey).page(),
        Route::new(__path_problems, problems, Access::AnyKey).page(),
        Route::new(__path_problem, problem, Access::AnyKey).page(),
    ]
}

fn text(kind: &'static str, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn html(body: impl IntoResponse) -> Response {
    let mut response = text("text/html; charset=utf-8", body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "server",
    responses((status = 200, description = "Metrics.", body = String, content_type = "text/plain; version=0.0.4")))]
async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    let metrics = app.metrics.text(&app.engine).map_err(|_| Problem::new(Code::Internal, "the metrics could not be written"))?;
    Ok(text("text/plain; version=0.0.4; charset=utf-8", metrics))
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "server",
    responses((status = 200, description = "OpenAPI 3.1.", body = serde_json::Value)))]
async fn openapi(State(app): State<App>) -> Response {
    text("application/json", app.document.clone())
}

/// A page to browse and try the API with.
///
/// A browser is asked for a name (any) and a password (the key).
#[utoipa::path(get, path = "/docs", tag = "server",
    responses((status = 200, description = "A page.", body = String, content_type = "text/html")))]
async fn docs() -> Response {
    html(PAGE)
}

/// A problem code, explained.
#[derive(Debug, Serialize, ToSchema)]
struct Explanation {
    code: &'static str,
    title: &'static str,
    /// The status that it usually has.
    status: u16,
    /// `fix_request`, `authenticate`, `get_permission`, `retry`, `check_outcome` or `report`.
    action: &'static str,
    /// What to do about it.
    advice: &'static str,
}

impl From<Code> for Explanation {
    fn from(code: Code) -> Self {
        Self {
            code: code.as_str(),
            title: code.title(),
            status: problem::usual_status(code).as_u16(),
            action: problem::action(code),
            advice: code.advice(),
        }
    }
}

/// All problem codes.
#[derive(Debug, Serialize, ToSchema)]
struct Explanations {
    problems: Vec<Explanation>,
}

/// Lists the problem codes.
#[utoipa::path(get, path = "/problems", tag = "server",
    responses((status = 200, description = "All codes.", body = Explanations)))]
async fn problems() -> Answer<Explanations> {
    Answer::ok(Explanations { problems: Code::ALL.iter().map(|code| Explanation::from(*code)).collect() })
}

/// Explains a problem code: what it means and what to do.
///
/// Answers HTML to a browser, JSON to others. The code may be written with `-` or `_`.
#[utoipa::path(get, path = "/problems/{code}", tag = "server", params(("code" = String, Path, description = "A code.")),
    responses((status = 200, description = "The code.", body = Explanation)))]
async fn problem(Named(code): Named<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let wanted = code.replace('-', "_");
    let found = Code::ALL.iter().find(|code| code.as_str() == wanted);
    let known =
        found.ok_or_else(|| Problem::new(Code::UnknownRoute, "there is no such problem code; GET /problems lists them"))?;
    let told = Explanation::from(*known);
    let wants_html =
        headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"));
    if !wants_html {
        return Ok(Answer::ok(told).into_response());
    }
    // Every part is a constant of this server: nothing to escape.
    Ok(html(format!(
        "<!doctype html><meta charset=utf-8><title>{title}</title><style>body{{font:16px/1.5 system-ui;max-width:40em;\
         margin:3em auto;padding:0 1em}}</style><h1>{title}</h1><p><code>{code}</code>, status {status}, action \
         <code>{action}</code></p><p>{advice}</p>",
        title = told.title,
        code = told.code,
        status = told.status,
        action = told.action,
        advice = told.advice
    )))
}
