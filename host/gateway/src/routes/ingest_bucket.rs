//! Files in that are in a bucket already: all that match become one version of a dataset.

use std::str::FromStr;

use axum::{extract::State, http::HeaderMap};
use lakehouse_engine::{Action, Format, IngestBucket, IngestMode, Ingested, OnError, PathPattern};
use lakehouse_types::{BucketName, Code, ColumnName, DatasetName};
use serde::Deserialize;
use utoipa::ToSchema;

use super::ingest::{ReportBody, bucket, idempotency_key};
use crate::{
    answer::{Answer, Outcome},
    app::App,
    problem::Problem,
    request::{Json, Who},
    route::{Access, Load, Route},
};

pub(super) fn routes() -> Vec<Route> {
    vec![Route::new(__path_ingest_bucket, ingest_bucket, Access::May(Action::Ingest)).load(Load::Work)]
}

/// Which files are read, and into which dataset.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = IngestBucket)]
struct IngestBucketBody {
    /// The dataset; made when it does not exist.
    #[schema(value_type = String, example = "orders")]
    dataset: DatasetName,
    /// Where the files are.
    #[schema(value_type = String, example = "primary")]
    bucket: BucketName,
    /// A file, or files: `*` stands for anything within a name, `?` for one character, the name `**` for any number of folders.
    #[schema(example = "incoming/2026/*.csv")]
    path: String,
    /// `csv`, `tsv`, `json`, `ndjson`, `parquet`, `arrow`; else each file's name decides.
    format: Option<String>,
    /// `append` (the default), `replace`, or `upsert`: rows take the place of those with the same `key`.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    mode: IngestMode,
    /// The column whose values name the rows.
    #[schema(value_type = Option<String>)]
    key: Option<ColumnName>,
    /// `fail` (the default) refuses everything at the first bad row, `skip` leaves bad rows out and reports them.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    on_error: OnError,
}

/// Ingests every file of a bucket that matches a path, as one version.
///
/// Only folders that the server's config names may be read. The files are read in the order of their names; all of their rows come
/// in, or none.
#[utoipa::path(post, path = "/ingest/bucket", tag = "ingest",
    params(
        ("X-Lakehouse-Bucket" = Option<String>, Header, description = "The dataset's bucket; `primary` when absent."),
        ("Idempotency-Key" = Option<String>, Header, description = "Repeats with one key have one effect and one answer.")),
    request_body = IngestBucketBody,
    responses((status = 201, description = "Committed.", body = ReportBody)))]
async fn ingest_bucket(
    State(app): State<App>,
    Who(caller): Who,
    headers: HeaderMap,
    Json(body): Json<IngestBucketBody>,
) -> Outcome<ReportBody> {
    let format = body.format.as_deref().map(Format::from_str).transpose()?;
    let idempotency_key = idempotency_key(&headers)?;
    let path: PathPattern =
        body.path.parse().map_err(|expected| Problem::new(Code::InvalidBody, format!("`path` {expected}")))?;
    app.engine.require_ingest(&caller, &body.dataset).await?;
    let bucket = bucket(&headers, || app.engine.bucket_names(&caller))?;
    let wanted = IngestBucket {
        dataset: body.dataset,
        bucket,
        mode: body.mode,
        from: body.bucket,
        path,
        format,
        key: body.key,
        on_error: body.on_error,
        idempotency_key,
    };
    let Ingested { report, is_repeat } = app.engine.ingest_bucket(&caller, wanted).await?;
    if !is_repeat {
        app.metrics.ingested(report.rows, report.duration_ms);
    }
    Ok(Answer::created(report.into()))
}
