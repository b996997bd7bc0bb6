//! What every handler shares, and the router.

use std::sync::Arc;

use axum::{Router, handler::Handler, middleware};
use bytes::Bytes;
use http::{HeaderValue, Method, header};
use lakehouse_engine::Engine;
use lakehouse_types::Code;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::{
    credentials,
    envelope::{self, QUERY_ID, QUERY_NEXT, REQUEST_ID},
    guard::{self, PROFILE, Rule},
    metrics::Metrics,
    openapi,
    problem::Problem,
    route::Route,
    routes,
};

/// The state of the router.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) engine: Arc<Engine>,
    pub(crate) metrics: Arc<Metrics>,
    /// `/openapi.json`.
    pub(crate) document: Bytes,
}

impl App {
    /// # Panics
    /// Never: the metrics' names differ, as a test shows.
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        let metrics = Arc::new(Metrics::new().expect("metrics have names of their own"));
        let document = Bytes::from(openapi::document(&routes::all()).to_json().unwrap_or_default());
        Self { engine, metrics, document }
    }

    /// The whole service.
    pub(crate) fn router(&self) -> Router {
        let fallback = middleware::from_fn_with_state((self.clone(), Rule::FALLBACK), guard::guard);
        routes::all()
            .into_iter()
            .fold(Router::new(), |router, route: Route| route.mount(router, self))
            .fallback(unknown_route.layer(fallback.clone()))
            .method_not_allowed_fallback(wrong_method.layer(fallback))
            .layer(cors(&self.engine.settings().server.cors_origins))
            .layer(middleware::from_fn_with_state(self.clone(), envelope::envelope))
            .with_state(self.clone())
    }
}

async fn unknown_route() -> Problem {
    Problem::new(Code::UnknownRoute, "there is no such route")
}

async fn wrong_method() -> Problem {
    Problem::new(Code::MethodNotAllowed, "the route exists, but not with this method")
}

fn cors(origins: &[String]) -> CorsLayer {
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::ACCEPT,
            credentials::API_KEY,
            REQUEST_ID,
            PROFILE,
            routes::ingest::BUCKET,
            routes::ingest::IDEMPOTENCY_KEY,
        ])
        .expose_headers([REQUEST_ID, QUERY_ID, QUERY_NEXT, header::RETRY_AFTER])
}
