//! Datasets: what there is, and an end to it.

use axum::extract::State;
use lakehouse_engine::{Action, Column, Dataset, RefreshPolicy};
use lakehouse_types::DatasetName;
use serde::Serialize;
use utoipa::ToSchema;

use super::paging::Paging;
use crate::{
    answer::{Answer, NoContent, Outcome},
    app::App,
    problem::Problem,
    request::{Named, Params, Who},
    route::{Access, Route},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(__path_list_datasets, list_datasets, Access::May(Action::ReadCatalog)),
        Route::new(__path_show_dataset, show_dataset, Access::May(Action::ReadCatalog)),
        Route::new(__path_delete_dataset, delete_dataset, Access::May(Action::DeleteDataset)),
    ]
}

/// A column.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Column)]
pub(super) struct ColumnBody {
    name: String,
    /// A type in words, for example `int64` or `text`.
    #[serde(rename = "type")]
    kind: String,
}

impl From<Column> for ColumnBody {
    fn from(column: Column) -> Self {
        Self { name: column.name, kind: column.data_type }
    }
}

/// A dataset as the catalog and its newest version have it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Dataset)]
struct DatasetBody {
    name: String,
    /// The bucket that holds it.
    bucket: String,
    /// Rows that queries see.
    rows: u64,
    /// The table version that the next query reads.
    version: u64,
    columns: Vec<ColumnBody>,
    /// The column whose values name its rows, once one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_column: Option<String>,
    /// Keys that are hidden.
    tombstones: usize,
    /// Rows that they hide, which a compaction drops for good.
    hidden_rows: u64,
    /// Data files of the version.
    files: u64,
    /// Those of them that a compaction merges.
    small_files: u64,
    bytes: u64,
    created_at: String,
    created_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_embedded_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding_stale_since: Option<String>,
    /// `manual`, `on_append` or `scheduled(cron)`.
    embedding_refresh_policy: String,
}

impl From<Dataset> for DatasetBody {
    fn from(dataset: Dataset) -> Self {
        let Dataset { record, state } = dataset;
        let shape = state.as_ref().map(|state| state.shape());
        Self {
            name: record.name.to_string(),
            bucket: record.bucket.to_string(),
            rows: state.as_ref().map_or(0, |state| state.visible_rows()),
            version: state.as_ref().map_or(0, |state| state.version),
            columns: state.iter().flat_map(|state| state.columns()).map(ColumnBody::from).collect(),
            key_column: record.key_column.as_ref().map(ToString::to_string),
            tombstones: state.as_ref().map_or(0, |state| state.tombstones.len()),
            hidden_rows: shape.map_or(0, |shape| shape.hidden),
            files: shape.map_or(0, |shape| shape.files),
            small_files: shape.map_or(0, |shape| shape.small_files),
            bytes: shape.map_or(0, |shape| shape.bytes),
            created_at: record.created_at.to_rfc3339(),
            created_by: record.created_by.to_string(),
            last_embedded_at: record.last_embedded_at.map(|at| at.to_rfc3339()),
            embedding_stale_since: record.embedding_stale_since.map(|at| at.to_rfc3339()),
            embedding_refresh_policy: policy(&record.embedding_refresh_policy),
        }
    }
}

fn policy(policy: &RefreshPolicy) -> String {
    match policy {
        RefreshPolicy::Manual => "manual".into(),
        RefreshPolicy::OnAppend => "on_append".into(),
        RefreshPolicy::Scheduled { cron } => format!("scheduled({cron})"),
    }
}

/// A page of datasets, by name.
#[derive(Debug, Serialize, ToSchema)]
struct Datasets {
    datasets: Vec<DatasetBody>,
    /// The cursor of the next page, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Lists the datasets that the key may read or write.
#[utoipa::path(get, path = "/catalog/datasets", tag = "datasets", params(Paging),
    responses((status = 200, description = "A page.", body = Datasets)))]
async fn list_datasets(State(app): State<App>, Who(caller): Who, Params(paging): Params<Paging>) -> Outcome<Datasets> {
    let page = app.engine.datasets(&caller, paging.after(), paging.limit())?;
    Ok(Answer::ok(Datasets { datasets: page.items.into_iter().map(DatasetBody::from).collect(), next: page.next }))
}

/// Shows a dataset: schema, rows, bucket, embedding state.
#[utoipa::path(get, path = "/catalog/datasets/by-name/{name}", tag = "datasets",
    params(("name" = String, Path, description = "The dataset.")),
    responses((status = 200, description = "The dataset.", body = DatasetBody)))]
async fn show_dataset(State(app): State<App>, Who(caller): Who, Named(name): Named<DatasetName>) -> Outcome<DatasetBody> {
    Ok(Answer::ok(app.engine.dataset(&caller, &name).await?.into()))
}

/// Deletes a dataset and its rows; refused while a view or profile uses it.
#[utoipa::path(delete, path = "/catalog/datasets/{name}", tag = "datasets",
    params(("name" = String, Path, description = "The dataset.")),
    responses((status = 204, description = "Gone."), (status = 409, description = "In use; `used_by` lists by what.",
        body = crate::openapi::ProblemBody, content_type = "application/problem+json")))]
async fn delete_dataset(State(app): State<App>, Who(caller): Who, Named(name): Named<DatasetName>) -> Result<NoContent, Problem> {
    app.engine.delete_dataset(&caller, &name).await?;
    Ok(NoContent)
}
