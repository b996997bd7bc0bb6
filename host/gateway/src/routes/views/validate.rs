//! A view's definition tried on a few rows; nothing is stored.

use std::collections::BTreeMap;

use axum::extract::State;
use lakehouse_engine::{Action, Column, MAX_SAMPLE_ROWS, RuleTrial, Sample, Shown, TrialReport, TryView};
use lakehouse_types::{Code, ColumnName, DatasetName, ViewName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::RedactionBody;
use crate::{
    answer::{Answer, Outcome},
    app::App,
    problem::Problem,
    request::{Json, Who},
    route::{Access, Route},
    routes::datasets::ColumnBody,
};

/// Rows of the base where the request says nothing of rows.
const DEFAULT_ROWS: usize = 20;

pub(super) fn route() -> Route {
    Route::new(__path_validate_view, validate_view, Access::May(Action::DryRun))
}

/// A definition as `POST /catalog/views` takes it, and what to try it on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ValidateViewBody {
    /// May be left out.
    #[schema(value_type = Option<String>)]
    name: Option<ViewName>,
    /// A dataset or a view.
    #[schema(value_type = String)]
    base_dataset: DatasetName,
    #[schema(value_type = Vec<String>)]
    columns: Vec<ColumnName>,
    /// Absent, all rows are kept: a filter that the view has already is not tried.
    row_filter: Option<String>,
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, RedactionBody>)]
    column_redactions: BTreeMap<ColumnName, RedactionBody>,
    /// At most 100 objects with columns of the base, as the base would give them out; without them, rows of the base are taken, which the
    /// key must be able to read.
    #[schema(value_type = Option<Vec<Object>>)]
    sample_rows: Option<Vec<Map<String, Value>>>,
    /// How many rows of the base: 20 where nothing is said, 100 at most.
    limit: Option<usize>,
}

/// What stands behind a redaction, and how it did.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RuleTrial)]
struct RuleTrialBody {
    column: String,
    rule: String,
    /// Its component under the profile of the request, `NAME@VERSION`.
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<String>,
    /// Of the component's content.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// Why readers would be given nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<RuleProblem>,
}

/// A rule that does not resolve, rejects its configuration, or failed on the rows.
#[derive(Debug, Serialize, ToSchema)]
struct RuleProblem {
    code: String,
    detail: String,
}

/// What readers of the view would be given of the rows.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ViewTrial)]
struct ViewTrialBody {
    /// Whether all rules did their work; without it nothing is shown.
    valid: bool,
    rows_sampled: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows_kept: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows_filtered: Option<usize>,
    /// Names and types as a query would have them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    columns: Vec<ColumnBody>,
    /// Objects, NULLs left out, redacted, in the order of the sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<Vec<Value>>,
    rules: Vec<RuleTrialBody>,
}

impl From<RuleTrial> for RuleTrialBody {
    fn from(trial: RuleTrial) -> Self {
        let RuleTrial { column, rule, resolved, problem } = trial;
        let (component, digest) = resolved.map(|(plugin, digest)| (plugin.to_string(), digest.to_string())).unzip();
        let problem = problem.map(|fault| RuleProblem { code: fault.code().as_str().to_owned(), detail: fault.public() });
        Self { column: column.to_string(), rule: rule.to_string(), component, digest, problem }
    }
}

impl From<TrialReport> for ViewTrialBody {
    fn from(TrialReport { rules, sampled, shown }: TrialReport) -> Self {
        let kept = shown.as_ref().map(|shown| shown.rows.len());
        let (columns, rows) = match shown {
            Some(Shown { schema, rows }) => (Column::of(&schema).into_iter().map(ColumnBody::from).collect(), Some(rows)),
            None => (Vec::new(), None),
        };
        Self {
            valid: rows.is_some(),
            rows_sampled: sampled,
            rows_kept: kept,
            rows_filtered: kept.map(|kept| sampled.saturating_sub(kept)),
            columns,
            rows,
            rules: rules.into_iter().map(RuleTrialBody::from).collect(),
        }
    }
}

/// Tries a view's definition on sample rows; nothing is stored.
///
/// The rows pass the same filter, rules and limits as those of a query under the key's profile. Own rows (`sample_rows`) stand for what
/// the base gives out, and need no grant; rows of the base need one to read it. A rule that fails is told in `rules`, a definition that
/// does not fit its base is a problem, as in `POST /catalog/views`.
#[utoipa::path(post, path = "/catalog/views/validate", tag = "views", request_body = ValidateViewBody,
    responses((status = 200, description = "What came out.", body = ViewTrialBody)))]
async fn validate_view(State(app): State<App>, Who(caller): Who, Json(body): Json<ValidateViewBody>) -> Outcome<ViewTrialBody> {
    let ValidateViewBody { name, base_dataset, columns, row_filter, column_redactions, sample_rows, limit } = body;
    let sample = match (sample_rows, limit) {
        (Some(_), Some(_)) => {
            return Err(Problem::new(Code::InvalidBody, "`limit` is for rows of the base, and there are `sample_rows`"));
        }
        (Some(rows), None) => Sample::Rows(rows),
        (None, limit) => Sample::First(limit.unwrap_or(DEFAULT_ROWS.min(MAX_SAMPLE_ROWS))),
    };
    let column_redactions = column_redactions.into_iter().map(|(column, how)| (column, how.into())).collect();
    let what = TryView { name, base_dataset, columns, row_filter, column_redactions, sample };
    Ok(Answer::ok(app.engine.try_view(&caller, what).await?.into()))
}
