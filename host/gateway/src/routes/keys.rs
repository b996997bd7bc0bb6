//! Keys: who may come in, as what, to what.

use axum::extract::State;
use lakehouse_engine::{Action, CreateKey, Grant, KeyInfo, ListedKey, Role};
use lakehouse_types::{Code, KeyId, KeyName, ProfileId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::paging::Paging;
use crate::{
    answer::{Answer, NoContent, Outcome},
    app::App,
    problem::Problem,
    request::{Json, Named, Params, Who},
    route::{Access, Route},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(__path_create_key, create_key, Access::May(Action::ManageKeys)),
        Route::new(__path_list_keys, list_keys, Access::May(Action::ManageKeys)),
        Route::new(__path_revoke_key, revoke_key, Access::May(Action::ManageKeys)),
    ]
}

/// Leave to read or write a dataset, view, index, profile or source; exactly one of the five is named, `*` names all.
#[derive(Debug, ToSchema)]
#[schema(as = Grant)]
#[expect(dead_code, reason = "documents how `Grant` is written")]
pub(crate) struct GrantBody {
    #[schema(example = "candidates")]
    dataset: Option<String>,
    view: Option<String>,
    index: Option<String>,
    profile: Option<String>,
    /// A database of the server's config.
    source: Option<String>,
    /// `read`, `write`.
    verbs: Vec<String>,
}

/// A new key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateKeyBody {
    /// Who the journal says it was: never a name that another key has or had, nor one of the server's own.
    #[schema(value_type = String)]
    name: KeyName,
    /// `admin`, `operator`, `writer` or `reader`.
    #[schema(value_type = String)]
    role: Role,
    #[serde(default)]
    #[schema(value_type = Vec<GrantBody>)]
    grants: Vec<Grant>,
    /// Profiles that the key may name beside `default_profile`.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    profiles: Vec<ProfileId>,
    /// The profile of requests that name none; the first of `profiles` when absent, and `default` without any.
    #[schema(value_type = Option<String>)]
    default_profile: Option<ProfileId>,
    /// RFC 3339; never when absent.
    expires_at: Option<String>,
}

/// A key without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
struct KeyBody {
    id: String,
    name: String,
    role: String,
    /// In a list all that are in force, those of the access file among them.
    #[schema(value_type = Vec<GrantBody>)]
    grants: Vec<Grant>,
    profiles: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_profile: Option<String>,
    created_at: String,
    created_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
    /// To a minute or so; absent when it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<String>,
}

impl From<KeyInfo> for KeyBody {
    fn from(record: KeyInfo) -> Self {
        Self {
            id: record.id.to_string(),
            name: record.name.to_string(),
            role: record.role.to_string(),
            grants: record.grants,
            profiles: record.profiles.iter().map(ToString::to_string).collect(),
            default_profile: record.default_profile.map(|profile| profile.to_string()),
            created_at: record.created_at.to_rfc3339(),
            created_by: record.created_by.to_string(),
            expires_at: record.expires_at.map(|at| at.to_rfc3339()),
            revoked_at: record.revoked_at.map(|at| at.to_rfc3339()),
            last_used_at: None,
        }
    }
}

impl From<ListedKey> for KeyBody {
    fn from(listed: ListedKey) -> Self {
        Self { last_used_at: listed.last_used_at.map(|at| at.to_rfc3339()), ..listed.info.into() }
    }
}

/// A key with its secret, shown this once.
#[derive(Debug, Serialize, ToSchema)]
struct NewKeyBody {
    /// What to send as `Authorization: Bearer`.
    key: String,
    #[serde(flatten)]
    record: KeyBody,
}

/// A page of keys, by id.
#[derive(Debug, Serialize, ToSchema)]
struct Keys {
    keys: Vec<KeyBody>,
    /// The cursor of the next page, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Creates a key; its secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/admin/keys", tag = "keys", request_body = CreateKeyBody,
    responses((status = 201, description = "The key.", body = NewKeyBody)))]
async fn create_key(State(app): State<App>, Who(caller): Who, Json(body): Json<CreateKeyBody>) -> Outcome<NewKeyBody> {
    let expires_at = body.expires_at.as_deref().map(chrono::DateTime::parse_from_rfc3339).transpose();
    let create = CreateKey {
        name: body.name,
        role: body.role,
        grants: body.grants,
        profiles: body.profiles,
        default_profile: body.default_profile,
        expires_at: expires_at
            .map_err(|_| Problem::new(Code::InvalidBody, "`expires_at` must be a time like 2026-01-31T12:00:00Z"))?
            .map(|at| at.to_utc()),
    };
    let made = app.engine.create_key(&caller, create).await?;
    Ok(Answer::created(NewKeyBody { key: made.key, record: made.record.into() }))
}

/// Lists keys, revoked ones too, without secrets.
#[utoipa::path(get, path = "/admin/keys", tag = "keys", params(Paging),
    responses((status = 200, description = "A page.", body = Keys)))]
async fn list_keys(State(app): State<App>, Who(caller): Who, Params(paging): Params<Paging>) -> Outcome<Keys> {
    let page = app.engine.keys(&caller, paging.after(), paging.limit()).await?;
    Ok(Answer::ok(Keys { keys: page.items.into_iter().map(KeyBody::from).collect(), next: page.next }))
}

/// Revokes a key: the next request with it is refused.
///
/// It stays listed, with the time of its end.
#[utoipa::path(delete, path = "/admin/keys/{id}", tag = "keys", params(("id" = String, Path, description = "The key's id.")),
    responses((status = 204, description = "Revoked.")))]
async fn revoke_key(State(app): State<App>, Who(caller): Who, Named(id): Named<KeyId>) -> Result<NoContent, Problem> {
    app.engine.revoke_key(&caller, &id).await?;
    Ok(NoContent)
}
