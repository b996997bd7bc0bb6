//! A view is the whole of what its reader has: its columns, its rows, its redactions.

use serde_json::{Value, json};

use crate::lake::Lake;

const PEOPLE: &str = "id,name,age,note\nCAND-000001,Ana,31,x\nCAND-000002,Bo,,y\nshort,Žofie Malá,45,\n,Nobody,50,z\n";

async fn people() -> Lake {
    let lake = Lake::start().await;
    lake.ingest("people", PEOPLE).await.expect_ok();
    lake
}

#[tokio::test]
async fn each_redaction_does_what_the_specification_says() {
    let lake = people().await;
    let redactions =
        json!({ "id": { "mask": { "keep_prefix": 3, "keep_suffix": 2 } }, "name": "hash", "note": "null", "age": "hash" });
    lake.put_view("v", "people", &["id", "name", "age", "note"], redactions).await.expect_status(201);
    let reader = lake.reader("v").await;
    let rows = reader.sql("SELECT id, name, age, note FROM v").await.expect_ok()["rows"].as_array().unwrap().clone();
    let ids: Vec<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!(ids.len(), 3, "NULL stays NULL");
    for masked in ["CAN******01", "CAN******02", "*****"] {
        assert!(ids.contains(&masked), "{masked} in {ids:?}");
    }
    assert!(rows.iter().all(|row| row.get("note").is_none()), "{rows:?}");
    // sha-256 of `Ana` and of the text form of 31.
    let ana = rows.iter().find(|row| row["id"] == "CAN******01").unwrap();
    assert_eq!(ana["name"], sha256("Ana"));
    assert_eq!(ana["age"], sha256("31"), "an integer is hashed by its text form");
    assert!(rows.iter().any(|row| row["name"] == sha256("Žofie Malá").as_str()));
    assert!(rows.iter().any(|row| row.get("age").is_none()), "NULL stays NULL");
}

/// By another implementation than the server's.
fn sha256(text: &str) -> String {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };
    let mut sum = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sha256sum runs");
    sum.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = sum.wait_with_output().unwrap();
    String::from_utf8(out.stdout).unwrap().split_whitespace().next().unwrap().to_owned()
}

#[tokio::test]
async fn the_columns_are_the_whole_schema() {
    let lake = people().await;
    lake.put_view("v", "people", &["age", "id"], json!({})).await.expect_status(201);
    let reader = lake.reader("v").await;
    let columns = reader.sql("SELECT * FROM v").await.expect_ok()["columns"].clone();
    let names: Vec<&str> = columns.as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["age", "id"]);
    for sql in
        ["SELECT name FROM v", "SELECT v.name FROM v", "SELECT age FROM v WHERE name = 'Ana'", "SELECT age FROM v ORDER BY name"]
    {
        reader.sql(sql).await.expect_problem("unknown_column");
    }
}

#[tokio::test]
async fn a_reader_of_the_view_has_nothing_else() {
    let lake = people().await;
    lake.ingest("other", "id\n1\n").await.expect_ok();
    lake.put_view("v", "people", &["id"], json!({})).await.expect_status(201);
    let reader = lake.reader("v").await;
    reader.sql("SELECT count(*) AS n FROM v").await.expect_cell("n", 4);
    for relation in ["people", "__raw__people", "other", "\"PEOPLE\"", "public.people", "information_schema.tables"] {
        for sql in [
            format!("SELECT count(*) AS n FROM {relation}"),
            format!("SELECT 1 AS n FROM v JOIN {relation} ON true"),
            format!("SELECT 1 AS n FROM v WHERE EXISTS (SELECT 1 FROM {relation})"),
            format!("WITH c AS (SELECT * FROM {relation}) SELECT count(*) AS n FROM c"),
            format!("SELECT (SELECT count(*) FROM {relation}) AS n"),
            format!("EXPLAIN SELECT * FROM {relation}"),
            format!("DESCRIBE {relation}"),
        ] {
            let answer = reader.sql(&sql).await;
            if relation.starts_with("information") && answer.status < 400 {
                assert!(!answer.text().contains("people") && !answer.text().contains("other"), "{sql}: {}", answer.text());
            } else {
                answer.expect_any_problem();
            }
        }
    }
    let shown = reader.get("/catalog/datasets").await.text() + &reader.get("/catalog/views").await.text();
    assert!(!shown.contains("other") && !shown.contains("\"people\",\"bucket"), "{shown}");
}

#[tokio::test]
async fn joins_and_aggregates_over_views_work_on_what_is_shown() {
    let lake = Lake::start().await.with_candidates(2_000).await.with_safe_view().await;
    let reader = lake.reader("candidates_safe").await;
    let n = lake.sql("SELECT count(*) AS n FROM candidates WHERE status <> 'do_not_contact'").await.n();
    reader.sql("SELECT count(*) AS n FROM candidates_safe").await.expect_cell("n", n);
    reader
        .sql("SELECT sum(c) AS n FROM (SELECT vertical, count(*) AS c FROM candidates_safe GROUP BY vertical)")
        .await
        .expect_cell("n", n);
    reader.sql("SELECT count(DISTINCT candidate_id) AS n FROM candidates_safe").await.expect_cell("n", 100);
    let joined = reader
        .sql("SELECT count(*) AS n FROM candidates_safe a JOIN candidates_safe b ON a.candidate_id = b.candidate_id")
        .await
        .n();
    assert!(joined > n, "masked keys are equal, {joined}");
    reader
        .sql("SELECT candidate_id AS m FROM candidates_safe ORDER BY candidate_id LIMIT 1")
        .await
        .expect_cell("m", "CAN******00");
}

#[tokio::test]
async fn a_filter_is_one_condition_and_set_by_admins() {
    let lake = people().await;
    let with = |filter: &str| json!({ "name": "v", "base_dataset": "people", "columns": ["id"], "row_filter": filter });
    for bad in [
        "age > 1; DROP TABLE people",
        "age",
        "SELECT true",
        "age > 1) OR (true",
        "nope = 1",
        "age > (SELECT min(age) FROM people)",
        "sum(age) > 1",
        "",
    ] {
        let answer = lake.post("/catalog/views", with(bad)).await;
        answer.expect_any_problem();
        assert!((400..500).contains(&answer.status), "{bad}: {}", answer.text());
    }
    let operator = lake.new_key("op", "operator", json!([])).await;
    operator.post("/catalog/views", with("age > 1")).await.expect_problem("forbidden");
    assert_eq!(lake.names("/catalog/views", "views", "name").await, [""; 0]);
    lake.post("/catalog/views", with("age > 40")).await.expect_status(201);
    lake.sql("SELECT count(*) AS n FROM v").await.expect_cell("n", 2);
}

#[tokio::test]
async fn a_definition_that_does_not_fit_is_refused_and_nothing_changes() {
    let lake = people().await;
    lake.put_view("v", "people", &["id"], json!({})).await.expect_status(201);
    let events = lake.events().await;
    let put = |name: &'static str, base: &'static str, columns: &'static [&'static str], redactions: Value| {
        let lake = &lake;
        async move { lake.put_view(name, base, columns, redactions).await }
    };
    put("w", "nope", &["id"], json!({})).await.expect_problem("unknown_dataset");
    let missing = put("w", "people", &["id", "nope"], json!({})).await;
    assert!(missing.expect_any_problem()["detail"].as_str().unwrap().contains("nope"));
    put("w", "people", &[], json!({})).await.expect_any_problem();
    put("w", "people", &["id", "id"], json!({})).await.expect_any_problem();
    put("people", "people", &["id"], json!({})).await.expect_problem("already_exists");
    put("W", "people", &["id"], json!({})).await.expect_any_problem();
    put("w", "people", &["id"], json!({ "age": "null" })).await.expect_any_problem();
    put("w", "people", &["id"], json!({ "id": "blank" })).await.expect_any_problem();
    put("w", "people", &["id"], json!({ "id": { "mask": { "keep": 3 } } })).await.expect_any_problem();
    let unresolved = put("w", "people", &["id"], json!({ "id": { "plugin": { "rule": "no-such-rule" } } })).await;
    assert!(unresolved.expect_problem("unresolved_rule")["detail"].as_str().unwrap().contains("no-such-rule"));
    let wrong =
        put("w", "people", &["id"], json!({ "id": { "plugin": { "rule": "mask", "config": { "keep_prefx": 3 } } } })).await;
    let said = wrong.expect_problem("invalid_rule_config");
    assert!(said["detail"].as_str().unwrap().contains("keep_prefx"), "the component's own words: {said}");
    lake.ingest("v", "id\n1\n").await.expect_problem("already_exists");
    assert_eq!(lake.names("/catalog/views", "views", "name").await, ["v"]);
    assert_eq!(lake.events().await, events);
}

#[tokio::test]
async fn a_rule_that_is_no_longer_bound_fails_closed() {
    let lake = people().await;
    let rules = json!([{ "name": "pii", "kind": "redactor", "component": "redact-pii", "config": {} }]);
    lake.put_rules("hr", rules).await.expect_ok();
    let under = lake.under("hr");
    under.put_view("v", "people", &["id", "name"], json!({ "name": { "plugin": { "rule": "pii" } } })).await.expect_status(201);
    under.sql("SELECT count(name) AS n FROM v").await.expect_cell("n", 4);

    for asked in [lake.sql("SELECT name FROM v").await, lake.sql("SELECT id FROM v WHERE name = 'Ana'").await] {
        let problem = asked.expect_problem("unresolved_rule");
        assert!(problem["detail"].as_str().unwrap().contains("pii"), "{problem}");
        assert!(!problem.to_string().contains("Ana"));
    }
    lake.put_rules("hr", json!([])).await.expect_ok();
    under.sql("SELECT name FROM v").await.expect_problem("unresolved_rule");
}

#[tokio::test]
async fn a_view_survives_a_restart_and_follows_its_redefinition() {
    let mut lake = people().await;
    lake.put_view("v", "people", &["id"], json!({ "id": { "mask": { "keep_prefix": 1, "keep_suffix": 0 } } }))
        .await
        .expect_status(201);
    lake.kill_and_restart().await;
    lake.sql("SELECT max(id) AS m FROM v").await.expect_cell("m", "s****");
    lake.put_view("v", "people", &["id", "age"], json!({ "id": "null" })).await.expect_ok();
    lake.sql("SELECT count(id) AS n FROM v").await.expect_cell("n", 0);
    let shown = lake.get("/catalog/views/v").await.expect_ok();
    assert_eq!((&shown["columns"], &shown["column_redactions"]), (&json!(["id", "age"]), &json!({ "id": "null" })));
    lake.delete("/catalog/views/v").await.expect_ok();
    lake.sql("SELECT 1 FROM v").await.expect_problem("unknown_table");
}

#[tokio::test]
async fn every_type_can_be_redacted() {
    let lake = Lake::start().await;
    let csv = "t,i,f,b,d,ts\nabc,12345,1.5,true,2026-01-31,2026-01-31T12:00:00Z\n,,,,,\n";
    lake.ingest("t", csv).await.expect_ok();
    for (how, redaction) in
        [("mask", json!({ "mask": { "keep_prefix": 1, "keep_suffix": 1 } })), ("hash", json!("hash")), ("null", json!("null"))]
    {
        let redactions: serde_json::Map<String, Value> =
            ["t", "i", "f", "b", "d", "ts"].iter().map(|column| ((*column).to_owned(), redaction.clone())).collect();
        lake.put_view("v", "t", &["t", "i", "f", "b", "d", "ts"], Value::Object(redactions)).await.expect_ok();
        let answer = lake.sql("SELECT * FROM v").await;
        let rows = answer.expect_ok()["rows"].as_array().unwrap().clone();
        assert_eq!(rows.len(), 2, "{how}");
        let values = rows.iter().map(|row| row.as_object().unwrap().len()).max().unwrap();
        assert_eq!(values, if how == "null" { 0 } else { 6 }, "{how}: {rows:?}");
        assert!(rows.iter().any(|row| row.as_object().unwrap().is_empty()), "{how}: NULL stays NULL");
        for raw in ["abc", "12345", "2026-01-31"] {
            assert!(!answer.text().contains(raw), "{how}: {}", answer.text());
        }
        if how == "mask" {
            assert!(rows.iter().any(|row| row["t"] == "a*c" && row["i"] == "1***5"), "{rows:?}");
        }
    }
}
