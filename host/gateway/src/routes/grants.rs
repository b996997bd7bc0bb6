//! Grants of keys that exist: what each may name, given and taken back without a new key.

use axum::extract::State;
use lakehouse_engine::{AccessFileStatus, Action, Grant, GrantOrigin, KeyGrant};
use lakehouse_types::{Code, GrantId, KeyId, KeyName};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{keys::GrantBody, paging};
use crate::{
    answer::{Answer, NoContent, Outcome},
    app::App,
    problem::Problem,
    request::{Json, Named, Params, Who},
    route::{Access, Route},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(__path_list_grants, list_grants, Access::May(Action::ManageKeys)),
        Route::new(__path_add_grant, add_grant, Access::May(Action::ManageKeys)),
        Route::new(__path_remove_grant, remove_grant, Access::May(Action::ManageKeys)),
    ]
}

/// Which grants to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GrantParams {
    /// Of this key, by its id or its name; of all keys that open something when absent.
    #[param(value_type = Option<String>)]
    key: Option<KeyId>,
    /// The `next` of the page before.
    after: Option<String>,
    /// 1 to 1000; 100 when absent.
    limit: Option<usize>,
}

/// A grant to give.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AddGrantBody {
    /// The key's id or name.
    #[schema(value_type = String, example = "analyst")]
    key: KeyId,
    #[schema(value_type = GrantBody)]
    grant: Grant,
}

/// A grant of a key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyGrant)]
struct KeyGrantBody {
    id: String,
    /// The key's id.
    key: String,
    key_name: String,
    #[schema(value_type = GrantBody)]
    grant: Grant,
    /// `key`: it is kept with the key; `file`: it stands in the access file, and is taken back there.
    origin: &'static str,
    /// The group of the access file that the key has it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
}

impl From<KeyGrant> for KeyGrantBody {
    fn from(given: KeyGrant) -> Self {
        let (origin, group) = match given.origin {
            GrantOrigin::Key => ("key", None),
            GrantOrigin::File { group } => ("file", group),
        };
        Self {
            id: given.id.to_string(),
            key: given.key.to_string(),
            key_name: given.key_name.to_string(),
            grant: given.grant,
            origin,
            group: group.map(|name| name.to_string()),
        }
    }
}

/// How the access file stands.
#[derive(Debug, Serialize, ToSchema)]
struct AccessFileBody {
    name: String,
    /// Grants in force, those of groups counted once for each of their keys.
    grants: usize,
    /// Grows by one with each edit that came into force.
    revision: u64,
    /// Why the file as it stands is not in force; its earlier grants are.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Names in it that no key has; up to 100 of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown_keys: Vec<String>,
}

impl AccessFileBody {
    fn new(status: AccessFileStatus, unknown: &[KeyName]) -> Self {
        let AccessFileStatus { file, grants, groups: _, revision, error } = status;
        Self { name: file, grants, revision, error, unknown_keys: unknown.iter().map(ToString::to_string).collect() }
    }
}

/// A page of grants, by key and id.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Grants)]
struct GrantsBody {
    grants: Vec<KeyGrantBody>,
    /// The cursor of the next page, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    file: AccessFileBody,
}

/// Lists grants, with where each is written down, and how the access file stands.
#[utoipa::path(get, path = "/admin/grants", tag = "keys", params(GrantParams),
    responses((status = 200, description = "A page.", body = GrantsBody)))]
async fn list_grants(State(app): State<App>, Who(caller): Who, Params(params): Params<GrantParams>) -> Outcome<GrantsBody> {
    let after: Option<GrantId> =
        params.after.as_deref().map(str::parse).transpose().map_err(|_| {
            Problem::new(Code::InvalidParameter, "query parameters: after: must be the `next` of the page before")
        })?;
    let listed = app.engine.grants(&caller, params.key.as_ref(), after.as_ref(), paging::limit(params.limit)).await?;
    Ok(Answer::ok(GrantsBody {
        grants: listed.page.items.into_iter().map(KeyGrantBody::from).collect(),
        next: listed.page.next,
        file: AccessFileBody::new(listed.file, &listed.unknown_keys),
    }))
}

/// Gives a key one more grant, for requests that begin from now on.
///
/// A grant that the key has already is answered as it is, with 200.
#[utoipa::path(post, path = "/admin/grants", tag = "keys", request_body = AddGrantBody,
    responses((status = 201, description = "Given.", body = KeyGrantBody), (status = 200, description = "The key had it.", body = KeyGrantBody)))]
async fn add_grant(State(app): State<App>, Who(caller): Who, Json(body): Json<AddGrantBody>) -> Outcome<KeyGrantBody> {
    let (given, is_new) = app.engine.add_grant(&caller, &body.key, body.grant).await?;
    let body = KeyGrantBody::from(given);
    Ok(if is_new { Answer::created(body) } else { Answer::ok(body) })
}

/// Takes a grant back: the next request is judged without it.
///
/// Answers and uploads that run for the key end within a second, unless its other grants permit the same.
#[utoipa::path(delete, path = "/admin/grants/{id}", tag = "keys", params(("id" = String, Path, description = "The grant's id.")),
    responses((status = 204, description = "Taken back.")))]
async fn remove_grant(State(app): State<App>, Who(caller): Who, Named(id): Named<GrantId>) -> Result<NoContent, Problem> {
    app.engine.remove_grant(&caller, &id).await?;
    Ok(NoContent)
}
