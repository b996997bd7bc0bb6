//! Databases in: a PostgreSQL table or query becomes rows of a dataset.

use axum::{extract::State, http::HeaderMap};
use lakehouse_engine::{Action, IngestMode, IngestSource, Ingested, Selection, TableName};
use lakehouse_types::{Code, ColumnName, DatasetName, SourceName};
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
    vec![Route::new(__path_ingest_db, ingest_db, Access::May(Action::Ingest)).load(Load::Work)]
}

/// What is read of which database, and into which dataset.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = IngestDb)]
struct IngestDbBody {
    /// The dataset; made when it does not exist.
    #[schema(value_type = String, example = "customers")]
    dataset: DatasetName,
    /// A database of the server's config.
    #[schema(value_type = String, example = "crm")]
    source: SourceName,
    /// `table` or `schema.table`, as written there: case counts. A part with a dot in it stands in double quotes.
    #[schema(example = "public.customers")]
    table: Option<String>,
    /// One SELECT, instead of `table`.
    query: Option<String>,
    /// `append` (the default), `replace`, or `upsert`: rows take the place of those with the same `key`.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    mode: IngestMode,
    /// The column whose values name the rows.
    #[schema(value_type = Option<String>)]
    key: Option<ColumnName>,
}

/// Ingests a table of a database, or the rows of a query.
///
/// The database is one that an operator declared; the key needs a read grant on it beside its write grant on the dataset. Columns have
/// the types that are declared there. All rows come in, or none; acknowledged means durable and visible to the next query.
#[utoipa::path(post, path = "/ingest/db", tag = "ingest",
    params(
        ("X-Lakehouse-Bucket" = Option<String>, Header, description = "The bucket; `primary` when absent."),
        ("Idempotency-Key" = Option<String>, Header, description = "Repeats with one key have one effect and one answer.")),
    request_body = IngestDbBody,
    responses((status = 201, description = "Committed.", body = ReportBody)))]
async fn ingest_db(
    State(app): State<App>,
    Who(caller): Who,
    headers: HeaderMap,
    Json(body): Json<IngestDbBody>,
) -> Outcome<ReportBody> {
    let idempotency_key = idempotency_key(&headers)?;
    let selection = selection(body.table.as_deref(), body.query)?;
    app.engine.require_ingest(&caller, &body.dataset).await?;
    let bucket = bucket(&headers, || app.engine.bucket_names(&caller))?;
    let wanted = IngestSource {
        dataset: body.dataset,
        bucket,
        mode: body.mode,
        source: body.source,
        selection,
        key: body.key,
        idempotency_key,
    };
    let Ingested { report, is_repeat } = app.engine.ingest_source(&caller, wanted).await?;
    if !is_repeat {
        app.metrics.ingested(report.rows, report.duration_ms);
    }
    Ok(Answer::created(report.into()))
}

fn selection(table: Option<&str>, query: Option<String>) -> Result<Selection, Problem> {
    let invalid = |detail: String| Problem::new(Code::InvalidBody, detail);
    match (table, query) {
        (Some(table), None) => {
            let table: TableName = table.parse().map_err(|expected| invalid(format!("`table` {expected}")))?;
            Ok(Selection::Table(table))
        }
        (None, Some(query)) if query.trim().is_empty() || query.contains('\0') => {
            Err(invalid("`query` must be one SELECT".to_owned()))
        }
        (None, Some(query)) => Ok(Selection::Query(query)),
        _ => Err(invalid("give exactly one of `table` and `query`".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::selection;

    #[test]
    fn a_table_or_a_query_and_never_both() {
        let query = || Some("SELECT 1".to_owned());
        assert!(selection(Some("a.b"), None).is_ok() && selection(None, query()).is_ok());
        for (table, query) in [
            (None, None),
            (Some("a"), query()),
            (Some("a.b.c"), None),
            (Some(""), None),
            (None, Some(" \n".to_owned())),
            (None, Some("SELECT '\0'".to_owned())),
        ] {
            assert!(selection(table, query.clone()).is_err(), "{table:?} {query:?}");
        }
    }
}
