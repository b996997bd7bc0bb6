//! Against a real server.

mod refusals; // what is refused, and what is left then
mod types; // what becomes of each type

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::array_value_to_string;
use lakehouse_types::{Fault, Members};
use tokio::sync::OnceCell;

use super::{PostgresSource, PullRequest, Selection};
use crate::ingest::tests::{Lake, name, request};
use crate::testing::PostgresServer;
use crate::{Format, IngestError, IngestMode, IngestReport, Pulled};

/// The server that most tests share; each has tables of its own.
async fn server() -> &'static PostgresServer {
    static SERVER: OnceCell<PostgresServer> = OnceCell::const_new();
    SERVER.get_or_init(PostgresServer::start).await
}

fn table(name: &str) -> Selection {
    Selection::Table(name.parse().unwrap())
}

fn query(text: &str) -> Selection {
    Selection::Query(text.to_owned())
}

/// A pull into `t`.
fn pull(selection: Selection) -> PullRequest {
    let request = request("t", Format::Csv);
    PullRequest {
        dataset: request.dataset,
        bucket: None,
        mode: IngestMode::Append,
        selection,
        key: None,
        idempotency_key: None,
        by: request.by,
    }
}

async fn run(lake: &Lake, source: &Arc<PostgresSource>, request: PullRequest) -> Result<IngestReport, IngestError> {
    match lake.ingest.pull(source, request).await? {
        Pulled::Replayed(report) => Ok(report),
        Pulled::Whole(rows) => rows.commit().await,
    }
}

/// One column as text; `-` for NULL.
fn column(batch: &RecordBatch, name: &str) -> Vec<String> {
    let values = batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
    let shown = |row| match values.is_null(row) {
        true => "-".to_owned(),
        false => array_value_to_string(values, row).unwrap(),
    };
    (0..batch.num_rows()).map(shown).collect()
}

fn told(error: &IngestError) -> (String, String, Members) {
    (error.code().as_str().to_owned(), error.public(), error.members())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_comes_whole_and_grows_and_is_replaced() {
    let (server, lake) = (server().await, Lake::open().await);
    let source = server.shared_source();
    server
        .run(
            "CREATE SCHEMA \"My shop\"; GRANT USAGE ON SCHEMA \"My shop\" TO lake;
             CREATE TABLE \"My shop\".\"Odd.\"\"name\" (id int PRIMARY KEY, \"Größe (cm)\" text);
             GRANT SELECT ON ALL TABLES IN SCHEMA \"My shop\" TO lake;
             INSERT INTO \"My shop\".\"Odd.\"\"name\" SELECT n, 'v' || n FROM generate_series(1, 20000) n",
        )
        .await;
    let odd = || table(r#"My shop."Odd.""name""#);
    let report = run(&lake, &source, pull(odd())).await.unwrap();
    assert_eq!((report.rows, report.rejected_rows, report.version), (20_000, 0, 0));
    assert_eq!(report.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["id", "Größe (cm)"]);

    let wider = query("SELECT 20001 AS id, 'new' AS colour -- and no more");
    assert_eq!(run(&lake, &source, pull(wider)).await.unwrap().rows, 1);
    assert_eq!(lake.types(), ["integer", "text", "text"]);

    let one = PullRequest { mode: IngestMode::Replace, ..pull(query("VALUES (7, 'x')")) };
    assert_eq!(run(&lake, &source, one).await.unwrap().rows, 1);
    assert_eq!(lake.tables.dataset(&name("t")).unwrap().columns().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_is_answered_again_without_the_database() {
    let (server, lake) = (server().await, Lake::open().await);
    let once = |text: &str| PullRequest { idempotency_key: Some("once".into()), ..pull(query(text)) };
    let first = run(&lake, &server.shared_source(), once("SELECT 'canary' AS a")).await.unwrap();
    let nowhere = Arc::new(PostgresSource { host: "192.0.2.1".into(), ..server.source() });
    let again = run(&lake, &nowhere, once("SELECT 'canary' AS a")).await.unwrap();
    assert_eq!((again.version, again.rows, again.is_repeat), (first.version, 1, true));
    let other = run(&lake, &server.shared_source(), once("SELECT 'other' AS a")).await.unwrap_err();
    assert_eq!(told(&other).0, "idempotency_mismatch");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_by_a_batch_and_a_row() {
    let (server, lake) = (server().await, Lake::open().await);
    let source = server.shared_source();
    // 40 values of 8 MiB: more than one batch may hold.
    let wide = query("SELECT n, repeat('x', 8 << 20) AS v FROM generate_series(1, 40) n");
    assert_eq!(run(&lake, &source, pull(wide)).await.unwrap().rows, 40);
    let row = query("SELECT repeat('x', 65 << 20) AS v");
    let (code, public, _) = told(&run(&lake, &source, pull(row)).await.unwrap_err());
    assert_eq!((code.as_str(), public.as_str()), ("invalid_data", "a row of source `shop` is larger than 64 MiB"));
}
