//! Probes: whether the process answers, whether it is ready for work.

use std::time::Duration;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    answer::Answer,
    app::App,
    route::{Access, Route},
};

/// A reader that has not known for as long what the writer does is sent no work.
const MAX_BEHIND: Duration = Duration::from_secs(10);

pub(super) fn routes() -> Vec<Route> {
    vec![Route::new(__path_health, health, Access::Open), Route::new(__path_ready, ready, Access::AnyKey)]
}

/// Whether what the server stands on answers.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// `ok`, or `failing` when a part does not answer.
    status: &'static str,
    /// Whether the buckets answer.
    storage: &'static str,
    /// Whether the metadata store answers.
    metadata: &'static str,
    version: &'static str,
}

fn word(answers: bool) -> &'static str {
    if answers { "ok" } else { "failing" }
}

/// Says whether storage and metadata answer.
///
/// The one route that needs no key, for load balancers.
#[utoipa::path(get, path = "/health", tag = "server",
    responses((status = 200, description = "All parts answer.", body = Health), (status = 503, description = "A part does not.", body = Health)))]
async fn health(State(app): State<App>) -> Answer<Health> {
    let parts = app.engine.health().await;
    let body = Health {
        status: word(parts.storage && parts.metadata),
        storage: word(parts.storage),
        metadata: word(parts.metadata),
        version: env!("CARGO_PKG_VERSION"),
    };
    if parts.storage && parts.metadata { Answer::ok(body) } else { Answer::unavailable(body) }
}

/// Whether the server takes work.
#[derive(Debug, Serialize, ToSchema)]
struct Readiness {
    ready: bool,
    /// `writer`, or `reader` beside another host that writes.
    role: &'static str,
    /// Milliseconds since a reader last knew all that the writer had done.
    #[serde(skip_serializing_if = "Option::is_none")]
    behind_ms: Option<u64>,
}

/// Says whether the server takes work: not while it starts or drains, nor while it reads and has lost sight of the host that writes.
#[utoipa::path(get, path = "/ready", tag = "server",
    responses((status = 200, description = "Ready.", body = Readiness), (status = 503, description = "Draining, or behind.", body = Readiness)))]
async fn ready(State(app): State<App>) -> Answer<Readiness> {
    let engine = &app.engine;
    let behind = engine.behind_for();
    // One that has lost sight of the writer answers from what was.
    let ready = engine.is_ready() && behind.is_none_or(|behind| behind < MAX_BEHIND);
    let role = if engine.is_reader() { "reader" } else { "writer" };
    let behind_ms = behind.map(|behind| u64::try_from(behind.as_millis()).unwrap_or(u64::MAX));
    let body = Readiness { ready, role, behind_ms };
    if ready { Answer::ok(body) } else { Answer::unavailable(body) }
}
