//! What a caller could ask for, what a statement would answer with, and answers in pages.

use super::*;
use crate::{Params, Started};

fn rita() -> Caller {
    reader(json!([{"view": "adults", "verbs": ["read"]}, {"view": "masked", "verbs": ["read"]}]))
}

#[tokio::test(flavor = "multi_thread")]
async fn information_schema_tells_of_what_may_be_queried_and_of_nothing_else() {
    let host = Host::open().await;
    let tables = "SELECT table_schema, table_name, table_type FROM information_schema.tables ORDER BY 1, 2";
    assert_eq!(
        host.text(&rita(), tables).await.unwrap(),
        "main | adults | VIEW\nmain | masked | VIEW\nsystem | journal | SYSTEM VIEW\nsystem | queries | SYSTEM VIEW"
    );
    assert!(host.text(&admin(), tables).await.unwrap().contains("main | payroll | BASE TABLE"));
    // A view whose rule nothing binds has no columns, and hides no other's.
    let columns = "SELECT table_name, ordinal_position, column_name, data_type, is_nullable FROM information_schema.columns \
                   WHERE table_schema = 'main' ORDER BY 1, 2";
    assert_eq!(host.text(&rita(), columns).await.unwrap(), "adults | 1 | id | integer | YES\nadults | 2 | name | text | YES");
    let schemas = "SELECT schema_name FROM information_schema.schemata ORDER BY 1";
    assert_eq!(host.text(&rita(), schemas).await.unwrap(), "information_schema\nmain\nsystem");
    let nothing = host.text(&rita(), "SELECT * FROM information_schema.views").await.unwrap_err();
    assert_eq!(nothing.code(), Code::UnknownTable);
}

#[tokio::test(flavor = "multi_thread")]
async fn relations_are_listed_with_their_columns_when_these_are_asked_for() {
    let host = Host::open().await;
    let names = |listed: Vec<crate::Listed>| {
        let told = listed.into_iter().map(|one| (one.schema, one.name, one.kind, one.columns.fields().len()));
        told.collect::<Vec<_>>()
    };
    let expected = |columns: usize| vec![("main".to_owned(), "adults".to_owned(), "view", columns)];
    for (with_columns, columns) in [(false, 0), (true, 2)] {
        let listed = host.engine.relations(&rita(), with_columns, |_, name, _| name == "adults" || name == "people").await;
        assert_eq!(names(listed.unwrap()), expected(columns));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_described_without_being_run() {
    let host = Host::open().await;
    let described = host
        .engine
        .describe(&rita(), "SELECT id, name AS n FROM adults WHERE id = $1 AND name = $2".into(), Params::default())
        .await
        .unwrap();
    let columns: Vec<String> =
        described.schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    assert_eq!(columns.len(), 2, "{columns:?}");
    assert!(columns[0].starts_with("id Int64") && columns[1].starts_with("n Utf8"), "{columns:?}");
    assert_eq!(described.params.len(), 2);
    assert_eq!(described.params[0], Some(arrow::datatypes::DataType::Int64));
    let explained = host.engine.describe(&rita(), "EXPLAIN SELECT 1".into(), Params::default()).await.unwrap();
    assert_eq!(explained.schema.field(1).name(), "plan");
    for (sql, code) in [
        ("SELECT * FROM people", Code::UnknownTable),
        ("DROP TABLE adults", Code::StatementRefused),
        ("SELECT nome FROM adults", Code::UnknownColumn),
        ("SELECT $0", Code::InvalidSql),
        ("SELECT $99999999", Code::InvalidParameter),
        ("SELECT", Code::InvalidSql),
    ] {
        assert_eq!(host.engine.describe(&rita(), sql.into(), Params::default()).await.unwrap_err().code(), code, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_column_of_a_join_with_itself_lists_each_name_once() {
    let host = Host::open().await;
    let error = host.text(&rita(), "SELECT zzz FROM adults a JOIN adults b ON a.id = b.id").await.unwrap_err();
    assert_eq!(error.members()["columns"], json!(["id", "name"]), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_may_come_as_a_row_of_typed_columns() {
    let host = Host::open().await;
    let id: ArrayRef = Arc::new(Int64Array::from(vec![20]));
    let name: ArrayRef = Arc::new(StringArray::from(vec!["name 20"]));
    let row = RecordBatch::try_from_iter([("a", id), ("b", name)]).unwrap();
    let request = QueryRequest {
        sql: "SELECT id FROM adults WHERE id = $1 AND name = $2".into(),
        params: Params::Row(row),
        ..QueryRequest::default()
    };
    let answer = host.engine.query(&rita(), request).await.unwrap().answer;
    let batches: Vec<RecordBatch> = answer.batches.try_collect().await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
}

async fn ids(started: crate::Answer) -> (Vec<i64>, Option<u64>) {
    let next = started.outcome.next();
    let batches: Vec<RecordBatch> = started.batches.try_collect().await.unwrap();
    let ids = batches.iter().flat_map(|batch| {
        let column = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
        column.values().to_vec()
    });
    (ids.collect(), next)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_pages_is_one_answer_for_its_own_principal() {
    let host = Host::open().await;
    let ask = |sql: &str| QueryRequest { sql: sql.to_owned(), ..QueryRequest::default() };
    let caller = rita();
    let Started { id, answer } = host.engine.query_in_pages(&caller, ask("SELECT id FROM adults ORDER BY id"), 30).await.unwrap();
    assert_eq!(ids(answer).await, ((18..48).collect(), Some(30)));
    // What comes meanwhile is not in it, and a page may be read again.
    host.write("people").await;
    for _ in 0..2 {
        assert_eq!(ids(host.engine.page(&caller, &id, 30, 30).unwrap()).await, ((48..78).collect(), Some(60)));
    }
    assert_eq!(ids(host.engine.page(&caller, &id, 60, 100).unwrap()).await, ((78..100).collect(), None));
    assert_eq!(ids(host.engine.page(&caller, &id, 82, 10).unwrap()).await, (vec![], None));
    assert_eq!(host.engine.page(&caller, &id, 83, 10).unwrap_err().code(), Code::InvalidParameter);

    let lost = |caller: &Caller| host.engine.page(caller, &id, 0, 10).unwrap_err().code();
    let poorer = reader(json!([{"view": "adults", "verbs": ["read"]}]));
    assert_eq!(lost(&poorer), Code::UnknownQuery, "the grants have changed");
    assert_eq!(lost(&admin()), Code::UnknownQuery);
    let elsewhere = Caller { profile: ProfileId::new("other").unwrap(), ..rita() };
    assert_eq!(lost(&elsewhere), Code::UnknownQuery);
    host.engine.forget_what_was_read();
    assert_eq!(lost(&caller), Code::UnknownQuery);

    // A short answer is its own last page.
    let Started { id, answer } = host.engine.query_in_pages(&caller, ask("SELECT id FROM adults LIMIT 3"), 30).await.unwrap();
    assert_eq!(ids(answer).await.1, None);
    assert_eq!(host.engine.page(&caller, &id, 0, 10).unwrap_err().code(), Code::UnknownQuery);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_begun_before_an_erasure_is_not_kept_after_it() {
    let host = Host::open().await;
    let caller = rita();
    let cleared = host.engine.pages.cleared();
    let request = QueryRequest { sql: "SELECT id FROM adults".into(), ..QueryRequest::default() };
    let started = host.engine.query(&caller, request).await.unwrap();
    host.engine.forget_what_was_read();
    let Started { id, answer } = host.engine.pages.first(&caller, started, 30, cleared).await.unwrap();
    assert_eq!(ids(answer).await.1, Some(30));
    assert_eq!(host.engine.page(&caller, &id, 30, 30).unwrap_err().code(), Code::UnknownQuery);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_in_pages_are_bounded_in_number_and_in_memory() {
    let host = Host::with_memory(24 << 20).await;
    let ask = |sql: &str| QueryRequest { sql: sql.to_owned(), ..QueryRequest::default() };
    let mut made = Vec::new();
    for _ in 0..=crate::KEPT_OF_A_KEY {
        made.push(host.engine.query_in_pages(&admin(), ask("SELECT id FROM people"), 1).await.unwrap().id);
    }
    assert_eq!(host.engine.page(&admin(), &made[0], 0, 1).unwrap_err().code(), Code::UnknownQuery, "the oldest made room");
    assert!(made[1..].iter().all(|id| host.engine.page(&admin(), id, 0, 1).is_ok()));
    // Kept answers take from the memory of all queries, and give it back.
    let large = "SELECT repeat(name, 4000) AS t FROM people";
    let mut refused = None;
    let mut held = Vec::new();
    for _ in 0..100 {
        match host.engine.query_in_pages(&admin(), ask(large), 1).await {
            Ok(started) => held.push(started.id),
            Err(error) => {
                refused = Some(error.code());
                break;
            }
        }
    }
    assert_eq!(refused, Some(Code::MemoryExceeded));
    host.engine.forget_what_was_read();
    host.engine.query_in_pages(&admin(), ask(large), 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_while_rows_are_read_is_told_with_its_place() {
    let host = Host::open().await;
    for (sql, told) in [
        ("SELECT id,\n  1 / (id - id) FROM people", "a division by zero, at line 2, column 5"),
        ("SELECT CAST(name AS INT) FROM people", "a value could not be converted to the type asked for, at line 1, column 8"),
    ] {
        let error = host.text(&admin(), sql).await.unwrap_err();
        assert_eq!(error.public(), told);
        assert_eq!(error.code(), Code::QueryFailed);
        assert!(error.members()["at"].is_array());
    }
}
