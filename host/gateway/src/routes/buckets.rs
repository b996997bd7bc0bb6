//! Buckets: where datasets may live.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    answer::Answer,
    app::App,
    request::Who,
    route::{Access, Route},
};

pub(super) fn routes() -> Vec<Route> {
    vec![Route::new(__path_buckets, buckets, Access::AnyKey)]
}

/// The server's buckets.
#[derive(Debug, Serialize, ToSchema)]
struct Buckets {
    /// Names, `primary` among them.
    buckets: Vec<String>,
}

/// Lists the buckets that `X-Lakehouse-Bucket` may name.
#[utoipa::path(get, path = "/buckets", tag = "datasets", responses((status = 200, description = "All buckets.", body = Buckets)))]
async fn buckets(State(app): State<App>, Who(caller): Who) -> Answer<Buckets> {
    Answer::ok(Buckets { buckets: app.engine.buckets(&caller).iter().map(ToString::to_string).collect() })
}
