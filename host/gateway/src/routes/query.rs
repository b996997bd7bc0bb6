//! SQL over HTTP: a statement in, rows out in the form that the client accepts, as they come.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use futures::{FutureExt, StreamExt, stream};
use lakehouse_engine::{
    Action, Answer as Rowset, Caller, Form, QueryError, QueryRecord, QueryRequest,
    format::{Format, ProblemText, Rows},
};
use lakehouse_types::{Code, QueryId, RequestId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::datasets::ColumnBody;
use crate::{
    answer::{Answer, Outcome},
    app::App,
    envelope::{QUERY_ID, QUERY_NEXT},
    problem::Problem,
    request::{Json, Named, Params, Who},
    route::{Access, Route},
};

/// Rows of a page, unless the client says.
const PAGE_ROWS: u64 = 1_000;
const MAX_PAGE_ROWS: u64 = 100_000;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(__path_query_sql, query_sql, Access::May(Action::Query)),
        Route::new(__path_query_rows, query_rows, Access::May(Action::Query)),
        Route::new(__path_list_queries, list_queries, Access::May(Action::Query)),
        Route::new(__path_show_query, show_query, Access::May(Action::Query)),
        Route::new(__path_cancel_query, cancel_query, Access::May(Action::Query)),
    ]
}

/// A statement.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SqlBody {
    /// One reading statement. `$1`, `$2`, … stand for `params`.
    #[schema(example = "SELECT count(*) AS n FROM candidates")]
    sql: String,
    /// Values of the placeholders.
    #[serde(default)]
    params: Vec<Value>,
    /// Less than the server's own deadline.
    deadline_ms: Option<u64>,
    /// Fewer than the server's own limit; the answer is then marked `truncated`.
    max_rows: Option<u64>,
    /// Answers in pages of so many rows, 1 to 100,000: the first is in this answer, whose `next` (and header `X-Query-Next`) is the `after`
    /// of `GET /query/{id}/rows` for the one that follows. Absent: all rows in one answer, as they come.
    page_rows: Option<u64>,
}

/// How rows are written in JSON.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SqlParams {
    /// `object` (the default; NULLs are left out) or `array`.
    #[param(value_type = Option<String>)]
    rows: Option<RowsParam>,
    /// `number` (the default), or `text`: 64-bit integers in quotes, for clients whose numbers are floats. JSON and NDJSON only.
    #[param(value_type = Option<String>)]
    integers: Option<IntegersParam>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum IntegersParam {
    #[default]
    Number,
    Text,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RowsParam {
    #[serde(alias = "objects")]
    Object,
    #[serde(alias = "arrays")]
    Array,
}

/// A JSON answer.
#[derive(Debug, ToSchema)]
#[schema(as = SqlAnswer)]
#[expect(dead_code, reason = "documents what the encoder writes")]
struct AnswerBody {
    columns: Vec<ColumnBody>,
    /// Objects without their NULLs, or arrays.
    rows: Vec<Value>,
    row_count: u64,
    /// Present and true when the row limit cut the answer.
    truncated: Option<bool>,
    /// Of an answer in pages: the `after` of the next one. Absent from the last.
    next: Option<String>,
    /// Present when the query failed after its first rows: a problem.
    error: Option<crate::openapi::ProblemBody>,
}

/// Answers one reading statement as the key may see the data.
///
/// The `Accept` header chooses JSON, NDJSON, CSV, an Arrow IPC stream or a Parquet file. The answer streams; it ends when the client leaves. Its header
/// `X-Query-Id` names the query, for `GET` and `DELETE /query/{id}` and in `system.queries`.
#[utoipa::path(post, path = "/query/sql", tag = "query", params(SqlParams), request_body = SqlBody,
    responses((status = 200, description = "Rows.", content(
        (AnswerBody = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
        (crate::openapi::Binary = "application/vnd.apache.arrow.stream"),
        (crate::openapi::Binary = "application/vnd.apache.parquet")))))]
async fn query_sql(
    State(app): State<App>,
    Who(caller): Who,
    Params(params): Params<SqlParams>,
    headers: HeaderMap,
    Json(body): Json<SqlBody>,
) -> Result<Response, Problem> {
    let began = Instant::now();
    let form = form(&headers, params.rows, params.integers)?;
    let SqlBody { sql, params, deadline_ms, max_rows, page_rows } = body;
    let request = QueryRequest { sql, params: params.into(), deadline: deadline_ms.map(Duration::from_millis), max_rows };
    let started = match page_rows {
        None => app.engine.query(&caller, request).await?,
        Some(page_rows) => app.engine.query_in_pages(&caller, request, page_limit(page_rows)?).await?,
    };
    app.metrics.query_began(began.elapsed());
    written(&app, &caller, &started.id, started.answer, form)
}

/// Which rows of an answer in pages.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PageParams {
    /// What the page before said in `next`, or in the header `X-Query-Next`.
    after: Option<u64>,
    /// Rows of this page, 1 to 100,000.
    #[param(value_type = Option<u64>)]
    limit: Option<u64>,
    /// As of `POST /query/sql`.
    #[param(value_type = Option<String>)]
    rows: Option<RowsParam>,
    /// As of `POST /query/sql`.
    #[param(value_type = Option<String>)]
    integers: Option<IntegersParam>,
}

/// Gives a page of an answer that was asked for with `page_rows`: the same rows however often it is asked, in any of the formats.
///
/// The answer is kept for five minutes after it was last read, for the key and profile that asked, and no longer than the server runs.
#[utoipa::path(get, path = "/query/{id}/rows", tag = "query", params(("id" = String, Path, description = "The query."), PageParams),
    responses((status = 200, description = "Rows.", content(
        (AnswerBody = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
        (crate::openapi::Binary = "application/vnd.apache.arrow.stream"),
        (crate::openapi::Binary = "application/vnd.apache.parquet")))))]
async fn query_rows(
    State(app): State<App>,
    Who(caller): Who,
    Named(id): Named<QueryId>,
    Params(params): Params<PageParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let PageParams { after, limit, rows, integers } = params;
    let form = form(&headers, rows, integers)?;
    let limit = page_limit(limit.unwrap_or(PAGE_ROWS))?;
    let answer = app.engine.query_page(&caller, &id, after.unwrap_or(0), limit).await?;
    written(&app, &caller, &id, answer, form)
}

fn page_limit(rows: u64) -> Result<u64, Problem> {
    if (1..=MAX_PAGE_ROWS).contains(&rows) {
        return Ok(rows);
    }
    Err(Problem::new(Code::InvalidParameter, format!("a page has 1 to {MAX_PAGE_ROWS} rows")))
}

fn form(headers: &HeaderMap, rows: Option<RowsParam>, integers: Option<IntegersParam>) -> Result<Form, Problem> {
    let rows = match rows.unwrap_or(RowsParam::Object) {
        RowsParam::Object => Rows::Objects,
        RowsParam::Array => Rows::Arrays,
    };
    let format = accepted(headers, rows)?;
    let is_json = matches!(format, Format::Json(_) | Format::NdJson);
    Ok(Form { format, integers_as_text: is_json && integers == Some(IntegersParam::Text) })
}

fn written(app: &App, caller: &Caller, id: &QueryId, answer: Rowset, form: Form) -> Result<Response, Problem> {
    let next = answer.outcome.next();
    let is_small = answer.outcome.from_cache();
    let mut chunks = app.engine.encoded(answer, form, in_words(caller.request_id.clone()), app.metrics.query_rows())?;
    // What is small and here already goes out in one piece, with its length.
    let first = if is_small { chunks.next().now_or_never().flatten() } else { None };
    let more = if first.is_some() { chunks.next().now_or_never() } else { None };
    let body = match (first, more) {
        (Some(Ok(whole)), Some(None)) => Body::from(whole),
        (first, more) => Body::from_stream(stream::iter(first.into_iter().chain(more.flatten())).chain(chunks)),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.format.content_type()));
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert(QUERY_ID, id);
    }
    if let Some(next) = next {
        headers.insert(QUERY_NEXT, HeaderValue::from(next));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// A query as it is now, or was at its end.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Query)]
struct QueryBody {
    id: String,
    request_id: String,
    /// Whose key asked.
    actor: String,
    profile: String,
    /// Each literal is a `?`. Absent where the statement could not be planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<String>,
    /// `running`, `done`, `failed`, `cancelled`, or `abandoned` by its client.
    state: &'static str,
    /// Of the problem, when it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// Rows that were handed over so far.
    rows: u64,
    began_at: String,
    /// Until now, or its end; the wait for a place included.
    duration_ms: f64,
    /// Whether the answer was kept from an equal question, so that nothing was read.
    cached: bool,
}

impl From<QueryRecord> for QueryBody {
    fn from(query: QueryRecord) -> Self {
        Self {
            id: query.id.to_string(),
            request_id: query.request_id.to_string(),
            actor: query.actor.to_string(),
            profile: query.profile.to_string(),
            statement: query.statement.map(|statement| statement.to_string()),
            state: query.state.as_str(),
            code: query.code.map(Code::as_str),
            rows: query.rows,
            began_at: query.began_at.to_rfc3339(),
            duration_ms: query.duration.as_secs_f64() * 1e3,
            cached: query.cached,
        }
    }
}

/// Queries that run now, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
struct QueryList {
    queries: Vec<QueryBody>,
}

/// Lists the queries that run now: the key's own, or everybody's for those who may read the whole journal. What ran before is in
/// `system.queries`.
#[utoipa::path(get, path = "/query", tag = "query", responses((status = 200, description = "What runs.", body = QueryList)))]
async fn list_queries(State(app): State<App>, Who(caller): Who) -> Outcome<QueryList> {
    let queries = app.engine.running_queries(&caller);
    Ok(Answer::ok(QueryList { queries: queries.into_iter().map(QueryBody::from).collect() }))
}

/// Shows a query: how long it runs and how far it is, or what became of it. The last 10,000 are remembered until the server stops.
#[utoipa::path(get, path = "/query/{id}", tag = "query", params(("id" = String, Path, description = "The query.")),
    responses((status = 200, description = "The query.", body = QueryBody)))]
async fn show_query(State(app): State<App>, Who(caller): Who, Named(id): Named<QueryId>) -> Outcome<QueryBody> {
    Ok(Answer::ok(app.engine.query_record(&caller, &id)?.into()))
}

/// Ends a query that runs: one's own, or any for an admin. Its client gets the problem `cancelled`. One that has ended stays as it is.
#[utoipa::path(delete, path = "/query/{id}", tag = "query", params(("id" = String, Path, description = "The query.")),
    responses((status = 200, description = "The query as it was then.", body = QueryBody)))]
async fn cancel_query(State(app): State<App>, Who(caller): Who, Named(id): Named<QueryId>) -> Outcome<QueryBody> {
    Ok(Answer::ok(app.engine.cancel_query(&caller, &id)?.into()))
}

/// How the `error` member of an answer that broke off is written.
fn in_words(request_id: RequestId) -> ProblemText {
    Arc::new(move |error: &QueryError| {
        let problem = Problem::from(error.clone());
        tracing::warn!(%request_id, code = problem.code().as_str(), cause = problem.cause(), "an answer broke off");
        problem.body(&request_id).to_string()
    })
}

/// The format that the client likes best of those there are; JSON when it does not say.
fn accepted(headers: &HeaderMap, rows: Rows) -> Result<Format, Problem> {
    let mut best: Option<(f32, Format)> = None;
    let mut said = false;
    for value in headers.get_all(header::ACCEPT) {
        for choice in value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|choice| !choice.is_empty()) {
            said = true;
            let mut parts = choice.split(';').map(str::trim);
            let format = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "*/*" | "application/*" | "application/json" => Format::Json(rows),
                "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Format::NdJson,
                "text/csv" | "text/*" => Format::Csv,
                "application/vnd.apache.arrow.stream" => Format::ArrowStream,
                "application/vnd.apache.parquet" => Format::Parquet,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.trim().parse::<f32>().ok()).unwrap_or(1.0);
            if quality > best.map_or(0.0, |(liked, _)| liked) {
                best = Some((quality, format));
            }
        }
    }
    match (best, said) {
        (Some((_, format)), _) => Ok(format),
        (None, false) => Ok(Format::Json(rows)),
        (None, true) => Err(Problem::new(
            Code::UnsupportedFormat,
            "rows come as application/json, application/x-ndjson, text/csv, application/vnd.apache.arrow.stream or \
             application/vnd.apache.parquet",
        )),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};
    use lakehouse_engine::format::{Format, Rows};

    use super::accepted;

    #[test]
    fn the_client_chooses_and_json_is_the_default() {
        let check = |accept: Option<&'static str>, expected: Option<Format>| {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert("accept", HeaderValue::from_static(accept));
            }
            assert_eq!(accepted(&headers, Rows::Objects).ok(), expected, "{accept:?}");
        };
        let json = Format::Json(Rows::Objects);
        check(None, Some(json));
        check(Some("*/*"), Some(json));
        check(Some("text/csv"), Some(Format::Csv));
        check(Some("text/csv;q=0.5, application/vnd.apache.arrow.stream"), Some(Format::ArrowStream));
        check(Some("text/html, application/x-ndjson;q=0.1"), Some(Format::NdJson));
        check(Some("application/json;q=0, text/csv;q=0.2"), Some(Format::Csv));
        check(Some("application/vnd.apache.parquet"), Some(Format::Parquet));
        check(Some("image/png"), None);
    }
}
