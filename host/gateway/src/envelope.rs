//! What surrounds every answer: its request id, its problem if it has one, its log line, its metrics.
//!
//! **Invariant**: nothing leaves without `X-Request-Id`; a panic becomes a problem; no log line holds a query, a value or a key.

use std::panic::AssertUnwindSafe;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use futures::FutureExt;
use http::header;
use http_body_util::BodyExt;
use lakehouse_types::{Code, ErrorKind, RequestId};
use tokio::time::Instant;
use tracing::Instrument;

use crate::{
    app::App,
    lineage,
    problem::{self, Problem},
};

/// The request id's header.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Names the query of an answer.
pub(crate) const QUERY_ID: HeaderName = HeaderName::from_static("x-query-id");
/// Where the next page of an answer begins.
pub(crate) const QUERY_NEXT: HeaderName = HeaderName::from_static("x-query-next");

/// The label of what no route matched.
pub(crate) const UNMATCHED: &str = "unmatched";

/// The `WWW-Authenticate` of a 401.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Challenge(&'static str);

impl Challenge {
    pub(crate) const BEARER: Self = Self("Bearer realm=\"lakehouse\"");
    /// Makes a browser ask for a name (any) and a password (the key).
    pub(crate) const BASIC: Self = Self("Basic realm=\"lakehouse: any name, the key as password\", charset=\"UTF-8\"");
}

/// The outermost middleware.
pub(crate) async fn envelope(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or(UNMATCHED, MatchedPath::as_str).to_owned();
    request.extensions_mut().insert(id.clone());

    let started = Instant::now();
    let in_flight = app.metrics.enter();
    let span = tracing::info_span!("http.request", request_id = %id, %method, route, status = tracing::field::Empty);
    lineage::adopt(&span, request.headers());
    let response = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
    let _entered = span.enter();

    let mut response = response.unwrap_or_else(|_| {
        axum::response::IntoResponse::into_response(Problem::new(Code::Internal, "the server failed to handle the request"))
    });
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        log_problem(&problem);
        response = rendered(&problem, &id, &response);
    }
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let elapsed = started.elapsed();
    let status = response.status().as_u16();
    span.record("status", status);
    app.metrics.answered(&route, method.as_str(), status, elapsed);
    tracing::info!(status, latency_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX), "answered");
    // The request is in flight until its answer's last byte.
    response.map(|body| {
        axum::body::Body::new(body.map_frame(move |frame| {
            let _held = &in_flight;
            frame
        }))
    })
}

/// The problem's own answer with the headers that layers inside had added (CORS).
fn rendered(problem: &Problem, id: &RequestId, inner: &Response) -> Response {
    let Challenge(challenge) = inner.extensions().get().copied().unwrap_or(Challenge::BEARER);
    let mut response = problem::render(problem, id, challenge);
    for (name, value) in inner.headers() {
        if name != header::CONTENT_LENGTH && name != header::CONTENT_TYPE {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

/// The caller's own id when it is well formed, else a fresh one.
fn request_id(request: &Request) -> RequestId {
    let given = request.headers().get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    given.and_then(|text| RequestId::new(text).ok()).unwrap_or_else(RequestId::fresh)
}

fn log_problem(problem: &Problem) {
    let (code, cause) = (problem.code().as_str(), problem.cause().unwrap_or_default());
    match problem.code().kind() {
        ErrorKind::Bug => tracing::error!(code, cause, "problem"),
        ErrorKind::PluginFault | ErrorKind::Unavailable | ErrorKind::Timeout => tracing::warn!(code, cause, "problem"),
        _ => tracing::debug!(code, cause, "problem"),
    }
}
