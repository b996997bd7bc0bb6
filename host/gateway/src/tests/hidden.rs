//! What a key may not know of does not show: not in answers, and not in the journal that the key may read.

use http::Method;
use serde_json::{Value, json};

use super::{Lake, Reply};

impl Lake {
    async fn reader(&self, name: &str) -> String {
        self.key(json!({"name": name, "role": "reader"})).await
    }

    /// A key's own events, without what differs between any two: times, ids, digests.
    async fn own_events(&self, key: &str) -> Vec<(Value, Value)> {
        let page = self.call(key, Method::GET, "/journal/events", None).await.expect(200);
        page["events"].as_array().unwrap().iter().map(|event| (event["kind"].clone(), event["details"].clone())).collect()
    }

    async fn query(&self, key: &str, sql: &str) -> Reply {
        self.call(key, Method::POST, "/query/sql", Some(&json!({ "sql": sql }))).await
    }
}

#[tokio::test]
async fn a_hidden_name_and_one_that_nothing_has_leave_the_same_journal() {
    let lake = Lake::start().await;
    lake.ingest("dataset=people", "id\n1\n").await.expect(201);
    lake.post("/catalog/views", json!({"name": "safe", "base_dataset": "people", "columns": ["id"]})).await.expect(201);
    lake.post("/catalog/profiles", json!({"id": "people"})).await.expect(201);
    for (n, (place, hidden, code)) in [
        ("/catalog/datasets/by-name", "people", "unknown_dataset"),
        ("/catalog/views", "safe", "unknown_view"),
        ("/catalog/profiles", "people", "unknown_profile"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut left = Vec::new();
        for (kind, name) in [("a", hidden), ("b", "nothing")] {
            let key = lake.reader(&format!("{kind}{n}")).await;
            let told = lake.call(&key, Method::GET, &format!("{place}/{name}"), None).await.expect_problem(404, code);
            let events = lake.own_events(&key).await;
            assert_eq!(events.len(), 1, "{place}/{name}: {events:?}");
            left.push((told["detail"].to_string(), format!("{events:?}")).to_owned());
        }
        let renamed = (left[0].0.replace(hidden, "nothing"), left[0].1.replace(hidden, "nothing"));
        assert_eq!(renamed, left[1], "{place}");
    }
}

#[tokio::test]
async fn a_statement_that_is_denied_is_journaled_whether_or_not_its_name_exists() {
    let lake = Lake::start().await;
    lake.ingest("dataset=people", "id\n1\n").await.expect(201);
    for (n, name) in ["people", "nothing", "__raw__people"].into_iter().enumerate() {
        let key = lake.reader(&format!("r{n}")).await;
        lake.query(&key, &format!("SELECT * FROM {name}")).await.expect_problem(400, "unknown_table");
        let denial = json!({"what": format!("read {name}"), "code": "unknown_table", "count": 1});
        let expected = json!({"count": 1, "denials": [denial]});
        assert_eq!(lake.own_events(&key).await, [(json!("denied"), expected)]);
    }
    // Words that no relation can have for a name may be anything, and stay for good where they are written.
    let key = lake.reader("careless").await;
    lake.query(&key, "SELECT * FROM \"Ada Lovelace\"").await.expect_problem(400, "unknown_table");
    let events = lake.own_events(&key).await;
    let denial = json!({"what": "read what nothing can be named", "code": "unknown_table", "count": 1});
    assert_eq!(events, [(json!("denied"), json!({"count": 1, "denials": [denial]}))]);
    let key = lake.reader("curious").await;
    lake.query(&key, "EXPLAIN ANALYZE SELECT 1").await.expect_problem(400, "statement_refused");
    assert_eq!(lake.own_events(&key).await.len(), 1);
    lake.query(&key, "SELECT 1 AS n").await.expect(200);
    lake.query(&key, "SELECT 1 +").await.expect_problem(400, "invalid_sql");
    assert_eq!(lake.own_events(&key).await.len(), 1, "an answer and a slip are no denials");

    let before = lake.get("/journal/stats").await.expect(200)["total_events_created"].clone();
    lake.query(super::ADMIN, "SELECT * FROM nothing").await.expect_problem(400, "unknown_table");
    assert_eq!(lake.get("/journal/stats").await.expect(200)["total_events_created"], before, "nothing is hidden from an admin");
}

#[tokio::test]
async fn a_writer_is_not_told_which_views_and_profiles_there_are() {
    let lake = Lake::start().await;
    lake.ingest("dataset=people", "id\n1\n").await.expect(201);
    for view in ["safe", "shown"] {
        lake.post("/catalog/views", json!({"name": view, "base_dataset": "people", "columns": ["id"]})).await.expect(201);
    }
    lake.post("/catalog/profiles", json!({"id": "hr", "bound_datasets": ["people"]})).await.expect(201);
    let grants = json!([{"dataset": "*", "verbs": ["write"]}, {"view": "shown", "verbs": ["read"]}]);
    let writer = lake.key(json!({"name": "wanda", "role": "writer", "grants": grants})).await;

    let delete =
        async |key: &str| lake.call(key, Method::DELETE, "/catalog/datasets/people", None).await.expect_problem(409, "in_use");
    let told = delete(&writer).await;
    assert_eq!((&told["used_by"], &told["used_by_hidden"]), (&json!([{"view": "shown"}]), &json!(2)), "{told}");
    assert_eq!(told["detail"], "dataset `people` is in use by view `shown`, 2 that the key may not see");
    let whole = delete(super::ADMIN).await;
    assert_eq!((whole["used_by"].as_array().unwrap().len(), whole.get("used_by_hidden")), (3, None), "{whole}");

    for (key, name, detail) in [
        (writer.as_str(), "safe", "the name `safe` is taken"),
        (&writer, "shown", "a view named `shown` already exists"),
        (super::ADMIN, "safe", "a view named `safe` already exists"),
    ] {
        let told = lake.ingest_as(key, &format!("dataset={name}"), "id\n1\n").await.expect_problem(409, "already_exists");
        assert_eq!(told["detail"], detail);
    }
}

#[tokio::test]
async fn an_operator_learns_nothing_of_a_row_filter() {
    let lake = Lake::start().await;
    lake.ingest("dataset=people", "id,city\n1,x\n2,y\n").await.expect(201);
    lake.ingest("dataset=others", "id\n1\n").await.expect(201);
    let view = |base: &str, filter: Option<&str>| {
        let mut view = json!({"name": "safe", "base_dataset": base, "columns": ["id"]});
        if let Some(filter) = filter {
            view["row_filter"] = filter.into();
        }
        view
    };
    lake.post("/catalog/views", view("people", Some("city <> 'canary'"))).await.expect(201);
    let operator = lake.key(json!({"name": "otto", "role": "operator"})).await;
    let put = async |key: &str, view: Value| lake.call(key, Method::POST, "/catalog/views", Some(&view)).await;

    for guess in ["city <> 'canary'", "city <> 'other'"] {
        put(&operator, view("people", Some(guess))).await.expect_problem(403, "forbidden");
    }
    put(&operator, view("people", None)).await.expect(201);
    let told = put(&operator, view("others", None)).await.expect_problem(422, "invalid_definition");
    assert_eq!(told["detail"], "the kept row filter of view `safe` does not fit its base");
    let told = put(super::ADMIN, view("others", Some("city <> 'x'"))).await.expect_problem(422, "invalid_definition");
    assert!(told["detail"].as_str().unwrap().contains("city"), "who sets it is told what is wrong: {told}");
    assert_eq!(lake.get("/catalog/views/safe").await.expect(200)["row_filter"], "city <> 'canary'");
}
