//! Tombstones: rows hidden by key until they are restored or compacted away.

use axum::extract::State;
use lakehouse_engine::{Action, BurialFailure, Bury, FailureReason, Restore};
use lakehouse_types::{Actor, Code, ColumnName, DatasetName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::paging::Paging;
use crate::{
    answer::{Answer, Outcome},
    app::App,
    problem::Problem,
    request::{Json, Named, Params, Who},
    route::{Access, Route},
};

/// Longest reason, in bytes: each tombstone of a request keeps a copy.
const MAX_REASON_BYTES: usize = 1024;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(__path_bury, bury, Access::May(Action::Tombstone)),
        Route::new(__path_list_tombstones, list_tombstones, Access::May(Action::Tombstone)),
        Route::new(__path_restore, restore, Access::May(Action::Tombstone)),
    ]
}

/// Rows to hide.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BuryBody {
    /// The dataset's key column: the first tombstone decides it.
    #[schema(value_type = String)]
    row_key_column: ColumnName,
    /// Texts or integers.
    row_key_values: Vec<Value>,
    /// On whose behalf; else the key's name.
    #[schema(value_type = Option<String>)]
    actor: Option<Actor>,
    /// Why, for the audit: up to 1024 bytes.
    #[serde(default)]
    reason: String,
}

/// A value that did nothing.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TombstoneFailure)]
struct FailureBody {
    /// As it came.
    value: Value,
    /// `not_found`, `invalid_value`, `already_tombstoned` or `not_tombstoned`.
    #[schema(value_type = String)]
    reason: FailureReason,
}

impl From<BurialFailure> for FailureBody {
    fn from(BurialFailure { value, reason }: BurialFailure) -> Self {
        Self { value, reason }
    }
}

/// What was hidden.
#[derive(Debug, Serialize, ToSchema)]
struct BurialBody {
    dataset: String,
    rows_tombstoned: u64,
    failures: Vec<FailureBody>,
}

/// Values to show again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RestoreBody {
    row_key_values: Vec<Value>,
}

/// What is shown again.
#[derive(Debug, Serialize, ToSchema)]
struct RestorationBody {
    dataset: String,
    rows_restored: u64,
    failures: Vec<FailureBody>,
}

/// A tombstone with its audit data.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tombstone)]
struct TombstoneBody {
    dataset: String,
    row_key_column: String,
    row_key_value: String,
    deleted_at: String,
    actor: String,
    reason: String,
}

/// A page of tombstones, in the order of their keys' hashes.
#[derive(Debug, Serialize, ToSchema)]
struct Tombstones {
    tombstones: Vec<TombstoneBody>,
    /// The cursor of the next page, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Hides rows by key until they are restored or compacted away.
#[utoipa::path(post, path = "/catalog/datasets/by-name/{name}/tombstone", tag = "tombstones", request_body = BuryBody,
    params(("name" = String, Path, description = "The dataset.")),
    responses((status = 200, description = "All hidden.", body = BurialBody), (status = 207, description = "Some failed.", body = BurialBody)))]
async fn bury(
    State(app): State<App>,
    Who(caller): Who,
    Named(name): Named<DatasetName>,
    Json(body): Json<BuryBody>,
) -> Outcome<BurialBody> {
    let BuryBody { row_key_column: column, row_key_values: values, actor, reason } = body;
    if reason.len() > MAX_REASON_BYTES {
        return Err(Problem::new(Code::InvalidBody, format!("`reason` is longer than {MAX_REASON_BYTES} bytes")));
    }
    let burial = app.engine.bury(&caller, &name, Bury { column, values, actor, reason }).await?;
    let body = BurialBody {
        dataset: name.to_string(),
        rows_tombstoned: burial.rows_tombstoned,
        failures: burial.failures.into_iter().map(FailureBody::from).collect(),
    };
    Ok(if body.failures.is_empty() { Answer::ok(body) } else { Answer::multi_status(body) })
}

/// Lists tombstones with who, when and why.
#[utoipa::path(get, path = "/catalog/datasets/by-name/{name}/tombstone", tag = "tombstones",
    params(("name" = String, Path, description = "The dataset."), Paging),
    responses((status = 200, description = "A page.", body = Tombstones)))]
async fn list_tombstones(
    State(app): State<App>,
    Who(caller): Who,
    Named(name): Named<DatasetName>,
    Params(paging): Params<Paging>,
) -> Outcome<Tombstones> {
    let page = app.engine.tombstones(&caller, &name, paging.after(), paging.limit()).await?;
    let tombstones = page.items.into_iter().map(|record| TombstoneBody {
        dataset: record.dataset.to_string(),
        row_key_column: record.row_key_column.to_string(),
        row_key_value: record.row_key_value,
        deleted_at: record.deleted_at.to_rfc3339(),
        actor: record.actor.to_string(),
        reason: record.reason,
    });
    Ok(Answer::ok(Tombstones { tombstones: tombstones.collect(), next: page.next }))
}

/// Shows rows again, until compaction has taken them.
#[utoipa::path(delete, path = "/catalog/datasets/by-name/{name}/tombstone", tag = "tombstones", request_body = RestoreBody,
    params(("name" = String, Path, description = "The dataset.")),
    responses((status = 200, description = "All shown.", body = RestorationBody),
        (status = 207, description = "Some failed.", body = RestorationBody)))]
async fn restore(
    State(app): State<App>,
    Who(caller): Who,
    Named(name): Named<DatasetName>,
    Json(body): Json<RestoreBody>,
) -> Outcome<RestorationBody> {
    let wanted = Restore { values: body.row_key_values };
    let restored = app.engine.restore(&caller, &name, wanted).await?;
    let body = RestorationBody {
        dataset: name.to_string(),
        rows_restored: restored.rows_restored,
        failures: restored.failures.into_iter().map(FailureBody::from).collect(),
    };
    Ok(if body.failures.is_empty() { Answer::ok(body) } else { Answer::multi_status(body) })
}
