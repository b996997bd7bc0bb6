//! Answers that are given again: to whom, and no longer than nothing under them has changed.

use lakehouse_access::Caller;
use lakehouse_types::{Code, ColumnName, Fault, KeyId};
use serde_json::json;

use super::{Host, admin, caller, dataset, reader, stamp};
use crate::{Params, QueryRequest};

fn question(sql: &str) -> QueryRequest {
    QueryRequest { sql: sql.to_owned(), ..QueryRequest::default() }
}

impl Host {
    /// Asks twice: the second answer is the first, kept.
    async fn kept(&self, caller: &Caller, sql: &str) -> String {
        let (first, _) = self.asked(caller, question(sql)).await.unwrap();
        let (second, cached) = self.asked(caller, question(sql)).await.unwrap();
        assert!(cached, "{sql}");
        assert_eq!(first, second, "{sql}");
        first
    }

    /// The answer to what must be answered anew.
    async fn anew(&self, caller: &Caller, sql: &str) -> String {
        let (answer, cached) = self.asked(caller, question(sql)).await.unwrap();
        assert!(!cached, "{sql}");
        answer
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_kept_until_something_under_it_changes() {
    let host = Host::open().await;
    let (of_table, of_view) = ("SELECT count(*), max(name) FROM people", "SELECT count(*), min(id) FROM adults");
    assert_eq!(host.kept(&admin(), of_table).await, "100 | name 99");
    assert_eq!(host.kept(&admin(), of_view).await, "82 | 18");
    let joined = "SELECT count(*) FROM payroll p JOIN named n ON p.id = n.id";
    assert_eq!(host.kept(&admin(), joined).await, "100");

    host.write("people").await;
    assert_eq!(host.anew(&admin(), of_table).await, "200 | name 99");
    assert_eq!(host.anew(&admin(), of_view).await, "164 | 18");
    assert_eq!(host.kept(&admin(), joined).await, "200");

    let id = ColumnName::new("id").unwrap();
    host.kept(&admin(), of_view).await;
    host.tables.bury(&stamp("ada"), &dataset("people"), &id, vec![json!(18)], None, "asked".into()).await.unwrap();
    assert_eq!(host.anew(&admin(), of_view).await, "162 | 19");

    host.kept(&admin(), of_view).await;
    host.view(json!({"name": "adults", "base_dataset": "people", "columns": ["id", "name"], "row_filter": "age >= 21"})).await;
    assert_eq!(host.anew(&admin(), of_view).await, "158 | 21");

    // What an erasure may have touched is not kept, even where nothing would give it out.
    host.kept(&admin(), of_view).await;
    assert!(host.engine.counts().cache.bytes > 0);
    host.engine.forget_what_was_read();
    assert_eq!((host.engine.counts().cache.entries, host.engine.counts().cache.bytes), (0, 0));
    host.anew(&admin(), of_view).await;

    // Nor is what was begun before, and is read to its end only after.
    host.engine.forget_what_was_read();
    let begun = host.engine.query(&admin(), question(of_table)).await.unwrap();
    host.engine.forget_what_was_read();
    let rows: Vec<_> = futures::StreamExt::collect(begun.answer.batches).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(host.engine.counts().cache.entries, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_rule_under_the_same_name_answers_anew() {
    let host = Host::open().await;
    host.install("redact-null").await;
    let hushed = |redaction: serde_json::Value| json!({"name": "hushed", "base_dataset": "people", "columns": ["id", "name"], "column_redactions": {"name": redaction}});
    host.view(hushed(json!("null"))).await;
    let sql = "SELECT count(id), count(name) FROM hushed";
    assert_eq!(host.kept(&admin(), sql).await, "100 | 0");
    host.view(json!({"name": "hushed", "base_dataset": "people", "columns": ["id", "name"]})).await;
    assert_eq!(host.anew(&admin(), sql).await, "100 | 100");
    host.view(hushed(json!("null"))).await;
    assert_eq!(host.anew(&admin(), sql).await, "100 | 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_its_keys_and_ends_with_its_grant() {
    let host = Host::open().await;
    let grants = json!([{"view": "adults", "verbs": ["read"]}]);
    let rita = reader(grants.clone());
    let sql = "SELECT count(*) FROM adults";
    assert_eq!(host.kept(&rita, sql).await, "82");
    // Of the same name, with another key; and under another profile's name.
    let mut other = lakehouse_access::Principal::clone(&rita.principal);
    other.key_id = KeyId::new("another").unwrap();
    assert_eq!(host.anew(&caller(other), sql).await, "82");

    assert_eq!(host.kept(&rita, sql).await, "82");
    let without = reader(json!([{"view": "named", "verbs": ["read"]}]));
    assert_eq!(without.principal.key_id, rita.principal.key_id);
    assert_eq!(host.asked(&without, question(sql)).await.unwrap_err().code(), Code::UnknownTable);
    assert_eq!(host.anew(&rita, sql).await, "82");
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_questions_are_equal_in_all_that_makes_the_answer() {
    let host = Host::open().await;
    let with = |params: serde_json::Value, max_rows: Option<u64>| QueryRequest {
        params: Params::from(params.as_array().unwrap().clone()),
        max_rows,
        ..question("SELECT id FROM people WHERE id >= $1 ORDER BY id")
    };
    for (request, expected) in [
        (with(json!([97]), None), "97\n98\n99"),
        (with(json!([98]), None), "98\n99"),
        (with(json!(["98"]), None), "98\n99"),
        (with(json!([97]), Some(1)), "97"),
    ] {
        assert_eq!(host.asked(&admin(), request.clone()).await.unwrap(), (expected.to_owned(), false), "{request:?}");
        let started = host.engine.query(&admin(), request.clone()).await.unwrap();
        assert!(started.answer.outcome.from_cache());
        assert_eq!(started.answer.outcome.truncated(), request.max_rows.is_some());
        drop(started);
        assert_eq!(host.asked(&admin(), request.clone()).await.unwrap(), (expected.to_owned(), true), "{request:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_looks_at_the_time_at_chance_or_at_the_server_is_answered_anew() {
    let host = Host::open().await;
    for sql in [
        "SELECT count(*) FROM people WHERE now() > '2020-01-01'",
        "SELECT count(*) FROM people WHERE id < 10 AND random() >= 0",
        "SELECT max(d) FROM (SELECT current_date AS d FROM people)",
        "SELECT count(*) FROM people WHERE id IN (SELECT CASE WHEN random() < 2 THEN id END FROM named)",
        "SELECT count(*) FROM system.journal",
        "SELECT count(*) FROM system.queries",
        "SELECT count(*) FROM information_schema.tables",
        "SELECT count(*) FROM __raw__people",
        "EXPLAIN SELECT * FROM people",
        "SHOW TABLES",
        "DESCRIBE people",
    ] {
        for _ in 0..2 {
            host.anew(&admin(), sql).await;
        }
    }
    assert_eq!(host.engine.counts().cache.entries, 0);
    // None of these asks for more than what is written in them.
    for sql in ["SELECT 1", "SELECT sum(value) FROM range(10)", "SELECT upper(name) FROM people WHERE id = 1"] {
        host.kept(&admin(), sql).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_large_or_was_not_read_to_its_end_is_not_kept() {
    let host = Host::open().await;
    let large = "SELECT repeat(name, 1000) AS x FROM people";
    for _ in 0..2 {
        host.anew(&admin(), large).await;
    }
    let left = "SELECT id FROM people ORDER BY id";
    drop(host.engine.query(&admin(), question(left)).await.unwrap());
    host.anew(&admin(), left).await;
    let failing = "SELECT CAST(name AS INT) FROM people";
    for _ in 0..2 {
        assert_eq!(host.asked(&admin(), question(failing)).await.unwrap_err().code(), Code::QueryFailed);
    }
    // All together are bounded: the ones that were asked for longest ago go.
    for at in 0..64 {
        host.kept(&admin(), &format!("SELECT id, repeat(name, 100) AS x FROM people WHERE id <> {at}")).await;
        assert!(host.engine.counts().cache.bytes <= 1 << 20);
    }
    assert!(host.engine.counts().cache.entries < 32, "{:?}", host.engine.counts().cache);
    host.anew(&admin(), "SELECT id, repeat(name, 100) AS x FROM people WHERE id <> 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_kept_is_a_query_like_any_other() {
    let host = Host::open().await;
    host.kept(&admin(), "SELECT name FROM people WHERE name = 'name 7'").await;
    let asked = host.text(&admin(), "SELECT state, statement, rows, cached FROM system.queries ORDER BY id DESC LIMIT 3").await;
    let asked = asked.unwrap();
    assert!(asked.contains("done | SELECT name FROM people WHERE name = ? | 1 | true"), "{asked}");
    assert!(asked.contains("done | SELECT name FROM people WHERE name = ? | 1 | false"), "{asked}");
    let counts = host.engine.counts().cache;
    assert_eq!((counts.hits, counts.misses), (1, 1), "{counts:?}");
}
