//! Jobs: what runs, how far it is, and what came of it.

use axum::extract::State;
use lakehouse_types::JobId;
use serde::Serialize;
use utoipa::ToSchema;

use super::paging::Paging;
use crate::{
    answer::{Answer, Outcome},
    app::App,
    later::JobBody,
    request::{Named, Params, Who},
    route::{Access, Route},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(__path_list_jobs, list_jobs, Access::AnyKey),
        Route::new(__path_show_job, show_job, Access::AnyKey),
        Route::new(__path_cancel_job, cancel_job, Access::AnyKey),
    ]
}

/// A page of jobs, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
struct JobList {
    jobs: Vec<JobBody>,
    /// The cursor of the next page, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Lists the key's own jobs, or everybody's for those who may read the whole journal. Ended ones are kept for a day.
#[utoipa::path(get, path = "/jobs", tag = "jobs", params(Paging),
    responses((status = 200, description = "A page.", body = JobList)))]
async fn list_jobs(State(app): State<App>, Who(caller): Who, Params(paging): Params<Paging>) -> Outcome<JobList> {
    let page = app.engine.jobs(&caller, paging.after(), paging.limit());
    Ok(Answer::ok(JobList { jobs: page.items.into_iter().map(JobBody::from).collect(), next: page.next }))
}

/// Shows a job: how far it is, its report when it is done, its problem when it failed.
#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "The job.")),
    responses((status = 200, description = "The job.", body = JobBody)))]
async fn show_job(State(app): State<App>, Who(caller): Who, Named(id): Named<JobId>) -> Outcome<JobBody> {
    Ok(Answer::ok(app.engine.job(&caller, &id)?.into()))
}

/// Tells a job to stop at its next safe place, before it has changed anything; one that is past it runs to its end.
#[utoipa::path(delete, path = "/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "The job.")),
    responses((status = 200, description = "The job as it is now.", body = JobBody)))]
async fn cancel_job(State(app): State<App>, Who(caller): Who, Named(id): Named<JobId>) -> Outcome<JobBody> {
    Ok(Answer::ok(app.engine.cancel_job(&caller, &id)?.into()))
}
