//! Queries that run and ran: who may see and end them, and what is kept of their statements.

use std::time::Duration;

use serde_json::json;

use crate::lake::Lake;

/// Takes long before its first row.
const LONG: &str = "SELECT count(*) AS n FROM safe a, safe b, safe c, safe d WHERE a.name || b.name = c.name || d.name || 'Ana'";

#[tokio::test]
async fn a_query_is_seen_and_ended_by_its_own_key_and_by_admins() {
    let lake = Lake::start().await;
    let rows: String = (0..2_000).map(|n| format!("{n},name {n}\n")).collect();
    lake.ingest("people", format!("id,name\n{rows}")).await.expect_ok();
    lake.put_view("safe", "people", &["id", "name"], json!({})).await.expect_ok();
    let grants = json!([{ "view": "safe", "verbs": ["read"] }]);
    let rita = lake.new_key("rita", "reader", grants.clone()).await;
    let other = lake.new_key("other", "reader", grants).await;

    let answer = rita.sql("SELECT id FROM safe WHERE name = 'name 7'").await;
    let path = format!("/query/{}", answer.headers["x-query-id"].to_str().unwrap());
    let told = rita.get(&path).await.expect_ok();
    assert_eq!((&told["state"], &told["rows"], &told["actor"]), (&json!("done"), &json!(1), &json!("rita")), "{told}");
    assert_eq!(told["statement"], "SELECT id FROM safe WHERE name = ?");
    assert_eq!(lake.get(&path).await.expect_ok()["state"], "done");
    other.get(&path).await.expect_problem("unknown_query");
    other.delete(&path).await.expect_problem("unknown_query");

    let working = tokio::spawn({
        let rita = rita.clone();
        async move { rita.sql(LONG).await }
    });
    let running = loop {
        let listed = rita.get("/query").await.expect_ok();
        if let Some(running) = listed["queries"].get(0) {
            break running.clone();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(running["state"], "running", "{running}");
    assert!(!running.to_string().contains("Ana"), "{running}");
    assert_eq!(other.get("/query").await.expect_ok()["queries"], json!([]));
    assert_eq!(lake.get("/query").await.expect_ok()["queries"].as_array().map(Vec::len), Some(1));
    let path = format!("/query/{}", running["id"].as_str().unwrap());
    other.delete(&path).await.expect_problem("unknown_query");
    lake.delete(&path).await.expect_ok();
    let ended = tokio::time::timeout(Duration::from_secs(20), working).await.expect("it ends").unwrap();
    ended.expect_problem("cancelled");
    assert_eq!(rita.get(&path).await.expect_ok()["state"], "cancelled");

    let asked = "SELECT state, count(*) AS n FROM system.queries WHERE state <> 'running' GROUP BY state ORDER BY state";
    let told = rita.sql(asked).await.expect_ok();
    assert_eq!(told["rows"], json!([{ "state": "cancelled", "n": 1 }, { "state": "done", "n": 1 }]), "{told}");
    let mine = other.sql(asked).await.expect_ok();
    assert_eq!(mine["rows"], json!([]), "{mine}");
}
