//! AI views: the columns, rows and redactions that a reader is given.

mod validate; // tried before it is in force
mod versions; // what it said before

use std::collections::BTreeMap;

use axum::{
    extract::State,
    http::{HeaderMap, header},
};
use lakehouse_engine::{Action, Column, Redaction, View, ViewInput, ViewRecord};
use lakehouse_types::{ColumnName, DatasetName, RuleName, ViewName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{datasets::ColumnBody, paging::Paging};
use crate::{
    answer::{Answer, NoContent, Outcome},
    app::App,
    problem::Problem,
    request::{Json, Named, Params, Who, header_value},
    route::{Access, Route},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(__path_put_view, put_view, Access::May(Action::ManageViews)),
        Route::new(__path_list_views, list_views, Access::May(Action::ReadCatalog)),
        Route::new(__path_show_view, show_view, Access::May(Action::ReadCatalog)),
        Route::new(__path_delete_view, delete_view, Access::May(Action::ManageViews)),
        validate::route(),
        versions::route(),
    ]
}

/// How a column is redacted: `"null"`, `"hash"`, `{"mask": {…}}` or `{"plugin": {…}}`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RedactionBody {
    /// Every value becomes NULL.
    Null,
    /// Lower-case hex of the SHA-256 of the text form.
    Hash,
    /// Stars between a prefix and a suffix.
    Mask(MaskBody),
    /// Any redactor that the profile binds to the rule's name.
    Plugin(PluginRuleBody),
}

/// Characters that stay readable.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MaskBody {
    #[serde(default)]
    keep_prefix: u32,
    #[serde(default)]
    keep_suffix: u32,
}

/// A rule of the profile.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PluginRuleBody {
    #[schema(value_type = String)]
    rule: RuleName,
    /// Laid over the binding's own configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<serde_json::Value>,
}

impl From<RedactionBody> for Redaction {
    fn from(body: RedactionBody) -> Self {
        match body {
            RedactionBody::Null => Self::Null,
            RedactionBody::Hash => Self::Hash,
            RedactionBody::Mask(MaskBody { keep_prefix, keep_suffix }) => Self::Mask { keep_prefix, keep_suffix },
            RedactionBody::Plugin(PluginRuleBody { rule, config }) => Self::Plugin { rule, config },
        }
    }
}

impl From<Redaction> for RedactionBody {
    fn from(redaction: Redaction) -> Self {
        match redaction {
            Redaction::Null => Self::Null,
            Redaction::Hash => Self::Hash,
            Redaction::Mask { keep_prefix, keep_suffix } => Self::Mask(MaskBody { keep_prefix, keep_suffix }),
            Redaction::Plugin { rule, config } => Self::Plugin(PluginRuleBody { rule, config }),
        }
    }
}

/// A view's definition; it replaces one of the same name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutViewBody {
    #[schema(value_type = String)]
    name: ViewName,
    /// A dataset, or another view: then rows, columns and values are those that it gives out.
    #[schema(value_type = String)]
    base_dataset: DatasetName,
    /// The whole schema: at least one column of the base, in the order wanted.
    #[schema(value_type = Vec<String>)]
    columns: Vec<ColumnName>,
    /// One boolean expression over the base's columns. Set, changed and removed by admins only; from others an absent one keeps what
    /// is there.
    row_filter: Option<String>,
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, RedactionBody>)]
    column_redactions: BTreeMap<ColumnName, RedactionBody>,
}

/// A view.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = View)]
struct ViewBody {
    name: String,
    /// Grows by one with every change of the definition; send it as `If-Match` to replace no other.
    version: u64,
    base_dataset: String,
    columns: Vec<String>,
    /// Shown to admins only.
    #[serde(skip_serializing_if = "Option::is_none")]
    row_filter: Option<String>,
    /// Shown with its rule's name only, as a `plugin` without `config`, to those who do not manage views.
    column_redactions: BTreeMap<String, RedactionBody>,
    /// Names and types as a query through it has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    schema: Vec<ColumnBody>,
    created_at: String,
    created_by: String,
    updated_at: String,
    /// Absent until the first change after earlier releases.
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_by: Option<String>,
}

impl From<ViewRecord> for ViewBody {
    fn from(record: ViewRecord) -> Self {
        View { record, schema: None }.into()
    }
}

impl From<View> for ViewBody {
    fn from(View { record, schema }: View) -> Self {
        Self {
            name: record.name.to_string(),
            version: record.version,
            base_dataset: record.base_dataset.to_string(),
            columns: record.columns.iter().map(ToString::to_string).collect(),
            row_filter: record.row_filter,
            column_redactions: record.column_redactions.into_iter().map(|(name, how)| (name.to_string(), how.into())).collect(),
            schema: schema.iter().flat_map(|schema| Column::of(schema)).map(ColumnBody::from).collect(),
            created_at: record.created_at.to_rfc3339(),
            created_by: record.created_by.to_string(),
            updated_at: record.updated_at.to_rfc3339(),
            updated_by: record.updated_by.map(|actor| actor.to_string()),
        }
    }
}

/// A page of views, by name.
#[derive(Debug, Serialize, ToSchema)]
struct Views {
    views: Vec<ViewBody>,
    /// The cursor of the next page, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A version as `If-Match` has it: `3` or `"3"`.
#[derive(Debug)]
struct Version(u64);

impl std::str::FromStr for Version {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        bare.parse().map(Self).map_err(|_| "is the `version` of the view that is to be replaced")
    }
}

/// Creates or replaces a view.
///
/// The base, a dataset or a view, must exist, the columns and the filter must fit it, and every redaction must resolve to a component
/// that accepts its configuration; at most 8 views stand upon each other. With `If-Match`, only that version of it is replaced
/// (`version_mismatch`). A definition under which views that stand on it would no longer fit is refused (`in_use`). An operator who may
/// read the view, or one that stands on it, needs a read grant on its base.
#[utoipa::path(post, path = "/catalog/views", tag = "views", request_body = PutViewBody,
    params(("If-Match" = Option<String>, Header, description = "The `version` that is to be replaced.")),
    responses((status = 201, description = "The view as it is now in force.", body = ViewBody)))]
async fn put_view(
    State(app): State<App>,
    Who(caller): Who,
    headers: HeaderMap,
    Json(body): Json<PutViewBody>,
) -> Outcome<ViewBody> {
    let expected = header_value::<Version>(&headers, &header::IF_MATCH)?.map(|Version(version)| version);
    let put = ViewInput {
        name: body.name,
        base_dataset: body.base_dataset,
        columns: body.columns,
        row_filter: body.row_filter,
        column_redactions: body.column_redactions.into_iter().map(|(name, how)| (name, how.into())).collect(),
    };
    Ok(Answer::created(app.engine.put_view(&caller, put, expected).await?.into()))
}

/// Lists the views that the key may read or manage.
#[utoipa::path(get, path = "/catalog/views", tag = "views", params(Paging),
    responses((status = 200, description = "A page.", body = Views)))]
async fn list_views(State(app): State<App>, Who(caller): Who, Params(paging): Params<Paging>) -> Outcome<Views> {
    let page = app.engine.views(&caller, paging.after(), paging.limit())?;
    Ok(Answer::ok(Views { views: page.items.into_iter().map(ViewBody::from).collect(), next: page.next }))
}

/// Shows a view.
#[utoipa::path(get, path = "/catalog/views/{name}", tag = "views", params(("name" = String, Path, description = "The view.")),
    responses((status = 200, description = "The view.", body = ViewBody)))]
async fn show_view(State(app): State<App>, Who(caller): Who, Named(name): Named<ViewName>) -> Outcome<ViewBody> {
    Ok(Answer::ok(app.engine.view(&caller, &name).await?.into()))
}

/// Deletes a view, with what it said before; refused while a view stands on it, a profile binds it or an index is of it.
#[utoipa::path(delete, path = "/catalog/views/{name}", tag = "views", params(("name" = String, Path, description = "The view.")),
    responses((status = 204, description = "Gone.")))]
async fn delete_view(State(app): State<App>, Who(caller): Who, Named(name): Named<ViewName>) -> Result<NoContent, Problem> {
    app.engine.delete_view(&caller, &name).await?;
    Ok(NoContent)
}
