//! What a view said before.

use axum::extract::State;
use lakehouse_engine::Action;
use lakehouse_types::ViewName;
use serde::Serialize;
use utoipa::ToSchema;

use super::ViewBody;
use crate::{
    answer::{Answer, Outcome},
    app::App,
    request::{Named, Who},
    route::{Access, Route},
};

pub(super) fn route() -> Route {
    Route::new(__path_list_view_versions, list_view_versions, Access::May(Action::ManageViews))
}

/// The last definitions of a view.
#[derive(Debug, Serialize, ToSchema)]
struct ViewVersions {
    /// The present one first.
    versions: Vec<ViewBody>,
}

/// Lists the last 20 definitions of a view, the present one first. Row filters are shown to admins only.
#[utoipa::path(get, path = "/catalog/views/{name}/versions", tag = "views",
    params(("name" = String, Path, description = "The view.")),
    responses((status = 200, description = "Its definitions.", body = ViewVersions)))]
async fn list_view_versions(State(app): State<App>, Who(caller): Who, Named(name): Named<ViewName>) -> Outcome<ViewVersions> {
    let versions = app.engine.view_versions(&caller, &name).await?;
    Ok(Answer::ok(ViewVersions { versions: versions.into_iter().map(ViewBody::from).collect() }))
}
