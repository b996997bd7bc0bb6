//! Compaction: small files into large ones, hidden rows gone for good.

use axum::{extract::State, response::Response};
use lakehouse_engine::{Action, Compaction, PurgedIndex};
use lakehouse_types::DatasetName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    answer::{Answer, Outcome},
    app::App,
    later::{self, Later, Started},
    problem::Problem,
    request::{Json, Named, Who},
    route::{Access, Load, Route},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(__path_compact_dataset, compact_dataset, Access::May(Action::Compact)).load(Load::Work),
        Route::new(__path_compact_all, compact_all, Access::May(Action::Compact)).load(Load::Work),
        Route::new(__path_compact_tombstones, compact_tombstones, Access::May(Action::Compact)).load(Load::Work),
    ]
}

/// What to compact.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CompactBody {
    #[schema(value_type = String)]
    dataset: DatasetName,
}

/// What a compaction did.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CompactionReport)]
struct CompactionBody {
    dataset: String,
    /// The table version that the next query reads.
    version: u64,
    /// Tombstones that are gone, because their rows are.
    tombstones_applied: u64,
    rows_dropped_by_tombstones: u64,
    /// Rows in the files.
    final_rows: u64,
    files_before: u64,
    files_after: u64,
    files_rewritten: u64,
    bytes_before: u64,
    bytes_after: u64,
    /// Indexes that rows were taken out of.
    indexes: Vec<PurgedIndexBody>,
    duration_ms: u64,
}

/// An index that rows were taken out of.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PurgedIndex)]
pub(super) struct PurgedIndexBody {
    index: String,
    rows_removed: u64,
    segments_rewritten: u64,
    /// What it may keep could not be told: it holds nothing until its next refresh.
    emptied: bool,
}

impl From<PurgedIndex> for PurgedIndexBody {
    fn from(purged: PurgedIndex) -> Self {
        let PurgedIndex { index, rows_removed, segments_rewritten, is_emptied } = purged;
        Self { index: index.to_string(), rows_removed, segments_rewritten, emptied: is_emptied }
    }
}

impl From<Compaction> for CompactionBody {
    fn from(Compaction { report, indexes }: Compaction) -> Self {
        Self {
            dataset: report.dataset.to_string(),
            version: report.version,
            tombstones_applied: report.tombstones_applied,
            rows_dropped_by_tombstones: report.rows_dropped_by_tombstones,
            final_rows: report.final_rows,
            files_before: report.files_before,
            files_after: report.files_after,
            files_rewritten: report.files_rewritten,
            bytes_before: report.bytes_before,
            bytes_after: report.bytes_after,
            indexes: indexes.into_iter().map(PurgedIndexBody::from).collect(),
            duration_ms: report.duration_ms,
        }
    }
}

/// What became of all datasets.
#[derive(Debug, Serialize, ToSchema)]
struct AllCompacted {
    reports: Vec<CompactionBody>,
    failed: Vec<FailedCompaction>,
}

/// A dataset that could not be compacted; the others were.
#[derive(Debug, Serialize, ToSchema)]
struct FailedCompaction {
    dataset: String,
    problem: Value,
}

/// What became of the records of tombstones.
#[derive(Debug, Serialize, ToSchema)]
struct TombstonesCompacted {
    dataset: String,
    /// Keys that are hidden.
    tombstones: u64,
    /// Records of the whole metadata that live.
    metadata_records: u64,
    metadata_bytes: u64,
}

/// Merges a dataset's small files, and drops the rows that tombstones hide for good.
///
/// What is written is read back before it takes the place of the old files. Afterwards, as soon as running queries are done, no file
/// holds the dropped rows: earlier versions, the table's log and the texts of indexes included. A key that is ingested again later is
/// visible again. With `Prefer: respond-async` it is a job.
#[utoipa::path(post, path = "/query/compact", tag = "storage", request_body = CompactBody,
    params(("Prefer" = Option<String>, Header, description = "`respond-async`: a job instead of waiting.")),
    responses((status = 200, description = "What was done.", body = CompactionBody), (status = 202, description = "The job.", body = Started)))]
async fn compact_dataset(
    State(app): State<App>,
    Who(caller): Who,
    later: Later,
    Json(body): Json<CompactBody>,
) -> Result<Response, Problem> {
    let (engine, asking, dataset) = (app.engine.clone(), caller.clone(), body.dataset);
    later::answer(&app, &caller, later, "compact", dataset.to_string(), |progress| async move {
        Ok(CompactionBody::from(engine.compact(&asking, &dataset, progress).await?))
    })
    .await
}

/// Compacts every dataset that has hidden rows or many small files.
#[utoipa::path(post, path = "/query/compact/all", tag = "storage",
    params(("Prefer" = Option<String>, Header, description = "`respond-async`: a job instead of waiting.")),
    responses((status = 200, description = "What was done.", body = AllCompacted), (status = 202, description = "The job.", body = Started)))]
async fn compact_all(State(app): State<App>, Who(caller): Who, later: Later) -> Result<Response, Problem> {
    let (engine, asking) = (app.engine.clone(), caller.clone());
    later::answer(&app, &caller, later, "compact", "all".to_owned(), |progress| async move {
        let (mut reports, mut failed) = (Vec::new(), Vec::new());
        for (dataset, outcome) in Box::pin(engine.compact_all(&asking, progress)).await? {
            match outcome {
                Ok(compaction) => reports.push(compaction.into()),
                Err(error) => {
                    let problem = Problem::from(error).body(&asking.request_id);
                    failed.push(FailedCompaction { dataset: dataset.to_string(), problem });
                }
            }
        }
        Ok(AllCompacted { reports, failed })
    })
    .await
}

/// Rewrites where tombstones are kept, so that nothing is left of those that were undone or applied. It happens by itself at each
/// erasure.
#[utoipa::path(post, path = "/catalog/datasets/by-name/{name}/tombstones/compact", tag = "tombstones",
    params(("name" = String, Path, description = "The dataset.")),
    responses((status = 200, description = "What is left.", body = TombstonesCompacted)))]
async fn compact_tombstones(
    State(app): State<App>,
    Who(caller): Who,
    Named(name): Named<DatasetName>,
) -> Outcome<TombstonesCompacted> {
    let (tombstones, renewal) = app.engine.compact_tombstones(&caller, &name).await?;
    Ok(Answer::ok(TombstonesCompacted {
        dataset: name.to_string(),
        tombstones,
        metadata_records: renewal.records,
        metadata_bytes: renewal.bytes,
    }))
}
