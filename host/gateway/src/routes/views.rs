//! AI views: the columns, rows and redactions that a reader is given.

use std::collections::BTreeMap;

use axum::extract::State;
use lakehouse_engine::{Action, Column, Redaction, View, ViewInput};
use lakehouse_types::{ColumnName, DatasetName, RuleName, ViewName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{datasets::ColumnBody, paging::Paging};
use crate::{
    answer::{Answer, NoContent, Outcome},
    app::App,
    problem::Problem,
    request::{Json, Named, Params, Who},
    route::{Access, Route},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(__path_put_view, put_view, Access::May(Action::ManageViews)),
        Route::new(__path_list_views, list_views, Access::May(Action::ReadCatalog)),
        Route::new(__path_show_view, show_view, Access::May(Action::ReadCatalog)),
        Route::new(__path_delete_view, delete_view, Access::May(Action::ManageViews)),
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
}

impl From<View> for ViewBody {
    fn from(View { record, schema }: View) -> Self {
        Self {
            name: record.name.to_string(),
            base_dataset: record.base_dataset.to_string(),
            columns: record.columns.iter().map(ToString::to_string).collect(),
            row_filter: record.row_filter,
            column_redactions: record.column_redactions.into_iter().map(|(name, how)| (name.to_string(), how.into())).collect(),
            schema: schema.iter().flat_map(|schema| Column::of(schema)).map(ColumnBody::from).collect(),
            created_at: record.created_at.to_rfc3339(),
            created_by: record.created_by.to_string(),
            updated_at: record.updated_at.to_rfc3339(),
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

/// Creates or replaces a view.
///
/// The base must exist, the columns and the filter must fit it, and every redaction must resolve to a component that accepts
/// its configuration. An operator who may read the view needs a read grant on its base.
#[utoipa::path(post, path = "/catalog/views", tag = "views", request_body = PutViewBody,
    responses((status = 201, description = "The view as it is now in force.", body = ViewBody)))]
async fn put_view(State(app): State<App>, Who(caller): Who, Json(body): Json<PutViewBody>) -> Outcome<ViewBody> {
    let put = ViewInput {
        name: body.name,
        base_dataset: body.base_dataset,
        columns: body.columns,
        row_filter: body.row_filter,
        column_redactions: body.column_redactions.into_iter().map(|(name, how)| (name, how.into())).collect(),
    };
    Ok(Answer::created(app.engine.put_view(&caller, put).await?.into()))
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

/// Deletes a view; refused while a profile uses it.
#[utoipa::path(delete, path = "/catalog/views/{name}", tag = "views", params(("name" = String, Path, description = "The view.")),
    responses((status = 204, description = "Gone.")))]
async fn delete_view(State(app): State<App>, Who(caller): Who, Named(name): Named<ViewName>) -> Result<NoContent, Problem> {
    app.engine.delete_view(&caller, &name).await?;
    Ok(NoContent)
}
