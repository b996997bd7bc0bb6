//! Long work: its report is the answer, or, with `Prefer: respond-async` (RFC 7240), a job that holds the report later.
//!
//! **Invariant**: both ways run the same work and end in the same report or problem.

use std::{future::Future, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use lakehouse_engine::{Advance, Caller, Job, JobState};
use lakehouse_types::{Progress, Unwatched};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{answer::Answer, app::App, problem::Problem};

const PREFER: &str = "prefer";
const RESPOND_ASYNC: &str = "respond-async";

/// Whether the caller would rather not wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Later(bool);

impl FromRequestParts<App> for Later {
    type Rejection = Problem;

    /// A preference that is not understood is no error: RFC 7240.
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        Ok(Self(is_wished(&parts.headers)))
    }
}

fn is_wished(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    lists
        .flat_map(|list| list.split(','))
        .any(|wish| wish.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(RESPOND_ASYNC))
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub(crate) struct JobBody {
    id: String,
    /// `compact`, `refresh`, `activate`, `erasure`.
    kind: String,
    /// The dataset, index or profile that it works on.
    subject: String,
    owner: String,
    /// `running`, `done`, `failed` or `cancelled`.
    #[schema(value_type = String)]
    state: JobState,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<ProgressBody>,
    /// Once it is done: what the call would have answered, had it been waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Value>,
    /// When it failed, or was cancelled: the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Value>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
}

/// How far a running job is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobProgress)]
struct ProgressBody {
    done: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    /// What is counted: `rows`, `objects`.
    unit: &'static str,
}

impl From<(Job, Option<Advance>)> for JobBody {
    fn from((job, advance): (Job, Option<Advance>)) -> Self {
        let progress = advance.map(|advance| ProgressBody { done: advance.done, total: advance.total, unit: advance.unit });
        Self {
            id: job.id.to_string(),
            problem: job.failure.as_ref().map(|failure| Problem::of_job(failure).body(&job.request_id)),
            kind: job.kind,
            subject: job.subject,
            owner: job.owner.to_string(),
            state: job.state,
            progress,
            report: job.report,
            created_at: job.created_at.to_rfc3339(),
            ended_at: job.ended_at.map(|at| at.to_rfc3339()),
        }
    }
}

/// A job that was started.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Started {
    job: JobBody,
}

/// Runs work to its report, or starts it as a job. It is handed what it tells how far it is, and asks whether to go on.
pub(crate) async fn answer<T, F>(
    app: &App,
    caller: &Caller,
    later: Later,
    kind: &'static str,
    subject: String,
    work: impl FnOnce(Arc<dyn Progress>) -> F,
) -> Result<Response, Problem>
where
    T: Serialize + Send + 'static,
    F: Future<Output = Result<T, Problem>> + Send + 'static,
{
    if !later.0 {
        return Ok(Answer::ok(work(Arc::new(Unwatched)).await?).into_response());
    }
    let request_id = caller.request_id.clone();
    let job = app.engine.start_job(caller, kind, subject, |watch| {
        let work = work(watch);
        async move {
            match work.await {
                Ok(report) => serde_json::to_value(report)
                    .map_err(|_| Problem::new(lakehouse_types::Code::Internal, "the report could not be written").into_failure()),
                Err(problem) => {
                    tracing::warn!(
                        %request_id, code = problem.code().as_str(), cause = problem.cause().unwrap_or_default(), "a job failed"
                    );
                    Err(problem.into_failure())
                }
            }
        }
    });
    let started = Started { job: (job.await?, None).into() };
    let location = HeaderValue::from_str(&format!("/jobs/{}", started.job.id));
    let mut response = Answer::ok(started).into_response();
    *response.status_mut() = StatusCode::ACCEPTED;
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response.headers_mut().insert("preference-applied", HeaderValue::from_static(RESPOND_ASYNC));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::is_wished;

    #[test]
    fn the_preference_is_read_as_rfc_7240_writes_it() {
        let wished = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| {
                headers.append("prefer", HeaderValue::from_static(value));
            });
            is_wished(&headers)
        };
        assert!(wished(&["respond-async"]));
        assert!(wished(&["wait=10, Respond-Async"]));
        assert!(wished(&["handling=lenient", "respond-async; foo=bar"]));
        assert!(!wished(&[]));
        assert!(!wished(&["respond-asynchronously", "return=minimal"]));
    }
}
