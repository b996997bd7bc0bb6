//! T-25 and T-26: whatever stands in a name, a filter or a value is a name, a filter or a value and nothing more; and no way of asking
//! leads to another's table.

use std::fmt::Write;

use reqwest::Method;
use serde_json::{Value, json};

use crate::lake::Lake;

/// Texts that have been more than texts elsewhere.
const TRICKS: [&str; 26] = [
    "a'b",
    "a''b",
    "a\"b",
    "a;DROP TABLE people;--",
    "a' OR '1'='1",
    "a\\' OR 1=1 --",
    "a/*b*/",
    "a\u{0}b",
    "a\nb",
    "a\r\nX-Evil: 1",
    "\u{ff41}\u{ff42}", // fullwidth letters
    "\u{430}dmin",      // a Cyrillic a
    "a\u{202e}b",       // right to left from here
    "a\u{200b}b",       // no width
    "a\u{301}",         // a combining accent
    "\u{1d4b6}",        // beyond the first plane
    "\u{fb01}le",       // a ligature
    "../../etc/passwd",
    "a/b",
    "a%2fb",
    "__raw__people",
    "People",
    "*",
    "%",
    "$1",
    "{\"$gt\": \"\"}",
];

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "%{byte:02x}");
        out
    })
}

/// T-25, names: none of these is one, wherever it stands, and nothing is made of it.
#[tokio::test]
async fn a_trick_is_no_name_of_anything() {
    let mut lake = Lake::start().await;
    lake.ingest("people", "id,name\n1,Ana\n").await.expect_ok();
    lake.put_view("safe", "people", &["id"], json!({})).await.expect_ok();
    let before = (lake.datasets().await, lake.names("/catalog/views", "views", "name").await, lake.events().await);
    for trick in TRICKS {
        let check = |what: &str, answer: &crate::answer::Answer| {
            assert!((400..500).contains(&answer.status), "{what} {trick:?}: {} {}", answer.status, answer.text());
            answer.expect_any_problem();
        };
        check("dataset", &lake.ingest_with(&format!("dataset={}&format=csv", encoded(trick)), "id\n1\n").await);
        check("mode", &lake.ingest_with(&format!("dataset=people&format=csv&mode={}", encoded(trick)), "id\n1\n").await);
        check("key", &lake.ingest_with(&format!("dataset=people&format=csv&key={}", encoded(trick)), "id\n1\n").await);
        check("view", &lake.put_view(trick, "people", &["id"], json!({})).await);
        check("base", &lake.put_view("other", trick, &["id"], json!({})).await);
        check("column", &lake.put_view("other", "people", &[trick], json!({})).await);
        check("redacted column", &lake.put_view("other", "people", &["id"], json!({ trick: "null" })).await);
        check("rule", &lake.put_view("other", "people", &["id"], json!({ "id": { "plugin": { "rule": trick } } })).await);
        check("key name", &lake.post("/admin/keys", json!({ "name": trick, "role": "reader", "grants": [] })).await);
        check("role", &lake.post("/admin/keys", json!({ "name": "k", "role": trick, "grants": [] })).await);
        if trick != "*" {
            for target in ["dataset", "view", "index", "profile", "source"] {
                let grants = json!([{ target: trick, "verbs": ["read"] }]);
                // A profile's name may be in capitals.
                if (target, trick) == ("profile", "People") || (target, trick) == ("profile", "__raw__people") {
                    continue;
                }
                check(target, &lake.post("/admin/keys", json!({ "name": "k", "role": "reader", "grants": grants })).await);
            }
        }
        check("index", &lake.get(&format!("/vectors/indexes/{}", encoded(trick))).await);
        check("tombstone column", &lake.bury("people", trick, ["1"]).await);
        check("described", &lake.get(&format!("/catalog/datasets/by-name/{}", encoded(trick))).await);
        let quoted = trick.replace('"', "\"\"");
        if trick != "__raw__people" {
            check("relation", &lake.sql(&format!("SELECT * FROM \"{quoted}\"")).await);
        }
        check("column", &lake.sql(&format!("SELECT \"{quoted}\" FROM people")).await);
        check("bare", &lake.sql(&format!("SELECT * FROM people WHERE {trick}")).await);
        for header in ["X-Lakehouse-Bucket", "X-Lakehouse-Profile"] {
            if let Ok(value) = reqwest::header::HeaderValue::from_bytes(trick.as_bytes()) {
                let path = if header.ends_with("Bucket") { "/ingest/file?dataset=people&format=csv" } else { "/query/sql" };
                let request = lake.request(Method::POST, path).header(header, value);
                let request = match path {
                    "/query/sql" => request.json(&json!({ "sql": "SELECT 1 AS one" })),
                    _ => request.body("id,name\n1,Ana\n"),
                };
                check(header, &lake.send(request).await);
            }
        }
    }
    let keys = lake.get("/admin/keys").await.expect_ok()["keys"].as_array().map(Vec::len);
    assert_eq!(keys, Some(1), "no key was made");
    assert_eq!((lake.datasets().await, lake.names("/catalog/views", "views", "name").await), (before.0, before.1));
    let changes = lake.get("/journal/events?kind=ingest").await.expect_ok()["events"].as_array().map(Vec::len);
    assert_eq!(changes, Some(1), "nothing was written");
    assert!(lake.is_alive());
}

/// T-25, values: each of these is a value like another, as a parameter, in a filter, as a key that is buried.
#[tokio::test]
async fn a_trick_is_a_value_like_another() {
    let lake = Lake::start().await;
    let rows: String = TRICKS.iter().enumerate().map(|(n, trick)| format!("{}\n", json!({ "n": n, "t": trick }))).collect();
    lake.ingest_with("dataset=values&format=ndjson&key=t", rows).await.expect_ok();
    for (n, trick) in TRICKS.iter().enumerate() {
        let found = lake.post("/query/sql", json!({ "sql": "SELECT n FROM values WHERE t = $1", "params": [trick] })).await;
        let found = if found.status == 200 {
            found
        } else {
            // A keyword may need its quotes.
            lake.post("/query/sql", json!({ "sql": "SELECT n FROM \"values\" WHERE t = $1", "params": [trick] })).await
        };
        assert_eq!(found.expect_ok()["rows"], json!([{ "n": n }]), "{trick:?}");
        if !trick.contains('\0') {
            let filter = format!("t <> '{}'", trick.replace('\'', "''"));
            let view =
                json!({ "name": format!("without_{n}"), "base_dataset": "values", "columns": ["n"], "row_filter": filter });
            lake.post("/catalog/views", view).await.expect_status(201);
            let left = lake.sql(&format!("SELECT n FROM without_{n} ORDER BY n")).await.expect_ok();
            let expected: Vec<Value> = (0..TRICKS.len()).filter(|row| *row != n).map(|row| json!({ "n": row })).collect();
            assert_eq!(left["rows"], json!(expected), "{trick:?}");
        }
    }
    for (n, trick) in TRICKS.iter().enumerate() {
        let buried = lake.bury("values", "t", [trick]).await.expect_ok();
        assert_eq!(buried["rows_tombstoned"], 1, "{trick:?}: {buried}");
        let left = lake.sql("SELECT count(*) AS n FROM \"values\"").await.expect_ok();
        assert_eq!(left["rows"], json!([{ "n": TRICKS.len() - n - 1 }]), "{trick:?}");
    }
}

/// T-25, filters: one boolean expression over the base's columns, or nothing.
#[tokio::test]
async fn a_filter_that_is_more_than_an_expression_is_refused() {
    let lake = Lake::start().await;
    lake.ingest("people", "id,name\n1,Ana\n").await.expect_ok();
    lake.ingest("payroll", "id,pay\n1,5\n").await.expect_ok();
    for filter in [
        "true; DROP TABLE people",
        "true) UNION SELECT * FROM payroll --",
        "id = 1 -- ) AND false",
        "id = (SELECT max(pay) FROM payroll)",
        "EXISTS (SELECT 1 FROM payroll)",
        "id IN (SELECT id FROM payroll)",
        "count(*) > 0",
        "row_number() OVER () = 1",
        "name",
        "id + 1",
        "'x'",
        "name = 'a",
        "nome = 'a'",
        "id = $1",
        "random() < 0.5",
        "id = 1, name = 'a'",
        "SELECT true",
    ] {
        let view = json!({ "name": "v", "base_dataset": "people", "columns": ["id"], "row_filter": filter });
        let answer = lake.post("/catalog/views", view).await;
        // A comment at the end says nothing and does nothing.
        if filter.contains("-- )") {
            answer.expect_status(201);
            assert_eq!(lake.sql("SELECT * FROM v").await.expect_ok()["row_count"], 1);
            lake.delete("/catalog/views/v").await;
            continue;
        }
        answer.expect_any_problem();
        assert!((400..500).contains(&answer.status), "{filter}: {}", answer.text());
    }
}

/// T-26: however a reader asks for a table that is not theirs, it does not exist.
#[tokio::test]
async fn no_way_of_asking_leads_to_anothers_table() {
    let lake = Lake::start().await;
    lake.ingest("people", "id,name\n1,Ana\n2,Bo\n").await.expect_ok();
    lake.ingest("payroll", "id,pay\n1,77123\n").await.expect_ok();
    lake.put_view("safe", "people", &["id", "name"], json!({})).await.expect_ok();
    lake.put_view("rich", "payroll", &["id", "pay"], json!({})).await.expect_ok();
    let reader = lake.reader("safe").await;
    // What somebody else was answered is nobody else's.
    let asked = "SELECT max(pay) AS m FROM payroll";
    for _ in 0..2 {
        assert_eq!(lake.sql(asked).await.expect_ok()["rows"], json!([{ "m": 77123 }]));
        reader.sql(asked).await.expect_problem("unknown_table");
    }
    for table in [
        "payroll",
        "rich",
        "people",
        "__raw__payroll",
        "__raw__people",
        "PAYROLL",
        "\"payroll\"",
        "main.payroll",
        "lakehouse.main.payroll",
    ] {
        for shape in [
            "SELECT * FROM T",
            "TABLE T",
            "SELECT s.id FROM safe s JOIN T t ON s.id = t.id",
            "SELECT s.id FROM safe s LEFT JOIN T t ON true",
            "SELECT id FROM safe WHERE id IN (SELECT id FROM T)",
            "SELECT id FROM safe WHERE EXISTS (SELECT 1 FROM T t WHERE t.id = safe.id)",
            "SELECT id, (SELECT max(id) FROM T) AS m FROM safe",
            "SELECT id FROM safe UNION ALL SELECT id FROM T",
            "SELECT id FROM safe EXCEPT SELECT id FROM T",
            "WITH x AS (SELECT * FROM T) SELECT * FROM x",
            "WITH safe AS (SELECT * FROM T) SELECT * FROM safe",
            "WITH RECURSIVE x AS (SELECT id FROM T UNION ALL SELECT id FROM x WHERE id < 0) SELECT * FROM x",
            "SELECT * FROM (SELECT * FROM T) AS x",
            "SELECT * FROM safe, LATERAL (SELECT * FROM T) AS x",
            "SELECT * FROM T FOR SYSTEM_TIME AS OF '2026-01-01'",
            "SELECT * FROM T VERSION AS OF 0",
            "SELECT * FROM T@v0",
            "SELECT * FROM T TABLESAMPLE BERNOULLI (100)",
            "EXPLAIN SELECT * FROM T",
            "DESCRIBE T",
            "SHOW COLUMNS FROM T",
        ] {
            let answer = reader.sql(&shape.replace('T', "\u{1}").replace("\u{1}ABLE", "TABLE").replace('\u{1}', table)).await;
            let text = answer.text();
            assert!((400..500).contains(&answer.status), "{shape} {table}: {text}");
            answer.expect_any_problem();
            assert!(!text.contains("77123") && !text.contains("\"pay\""), "{shape} {table}: {text}");
        }
    }
    // Nor do the other doors.
    for path in ["/catalog/datasets/by-name/payroll", "/catalog/views/rich", "/catalog/datasets/by-name/payroll/tombstone"] {
        reader.get(path).await.expect_any_problem();
    }
    let view = json!({ "name": "mine", "base_dataset": "payroll", "columns": ["pay"] });
    reader.post("/catalog/views", view).await.expect_problem("forbidden");
    for (path, body) in [
        ("/vectors/hybrid", json!({ "index": "payroll_text", "query": "x", "k": 1 })),
        ("/vectors/refresh/payroll", json!({ "index_name": "i", "id_column": "id", "text_column": "pay" })),
        ("/query/compact", json!({ "dataset": "payroll" })),
    ] {
        let answer = reader.post(path, body).await;
        answer.expect_any_problem();
        assert!(!answer.text().contains("77123"), "{path}");
    }
    assert_eq!(reader.datasets().await, Vec::<String>::new());
    assert_eq!(reader.names("/catalog/views", "views", "name").await, ["safe"]);
    for sql in ["SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'", "SHOW TABLES"] {
        let told = reader.sql(sql).await.expect_ok().to_string();
        assert!(told.contains("safe") && !told.contains("payroll") && !told.contains("rich"), "{told}");
    }
}
