//! Rows, views and tombstones over HTTP.

use super::*;

#[tokio::test]
async fn rows_go_in_and_come_out_in_every_form() {
    let lake = Lake::start().await;
    let report = lake.ingest("dataset=people&key=id", "id,name,age\nA-1,Ann,31\nA-2,Bob,\n").await.expect(201);
    assert_eq!((&report["rows"], &report["mode"], &report["bucket"]), (&json!(2), &json!("append"), &json!("primary")));

    let answer = lake.sql("SELECT id, age FROM people ORDER BY id").await;
    assert_eq!(answer["rows"], json!([{"id": "A-1", "age": 31}, {"id": "A-2"}]));
    assert_eq!(answer["row_count"], 2);
    let arrays = lake.post("/query/sql?rows=array", json!({"sql": "SELECT id, age FROM people ORDER BY id"})).await.expect(200);
    assert_eq!(arrays["rows"], json!([["A-1", 31], ["A-2", null]]));
    let bound =
        lake.post("/query/sql", json!({"sql": "SELECT name FROM people WHERE id = $1", "params": ["A-2"]})).await.expect(200);
    assert_eq!(bound["rows"], json!([{"name": "Bob"}]));

    for (accept, kind, begins) in [
        ("text/csv", "text/csv; charset=utf-8", "id\nA-1\n"),
        ("application/x-ndjson", "application/x-ndjson", "{\"id\":\"A-1\"}\n"),
        ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.stream", "\u{fffd}"),
    ] {
        let request = Request::post("/query/sql")
            .header("x-api-key", ADMIN)
            .header("content-type", "application/json")
            .header("accept", accept)
            .body(Body::from(json!({"sql": "SELECT id FROM people ORDER BY id"}).to_string()));
        let reply = lake.send(request.unwrap()).await;
        assert_eq!(reply.headers["content-type"], kind);
        assert!(reply.text.replace("\r\n", "\n").starts_with(begins), "{accept}: {:?}", reply.text);
    }

    let shown = lake.get("/catalog/datasets/by-name/people").await.expect(200);
    assert_eq!((&shown["rows"], &shown["columns"][0]["name"]), (&json!(2), &json!("id")));
    assert_eq!(lake.get("/catalog/datasets").await.expect(200)["datasets"].as_array().unwrap().len(), 1);
    assert_eq!(lake.get("/journal/stats").await.expect(200)["total_events_created"], 1);
}

#[tokio::test]
async fn a_view_shows_its_columns_to_who_has_a_grant_and_its_base_to_nobody_without_one() {
    let lake = Lake::start().await;
    lake.ingest("dataset=people", "id,email\n1,a@x.org\n2,b@x.org\n").await.expect(201);
    let view = json!({"name": "safe", "base_dataset": "people", "columns": ["id"], "row_filter": "id > 1"});
    lake.post("/catalog/views", view).await.expect(201);
    let key = lake.key(json!({"name": "ada", "role": "reader", "grants": [{"view": "safe", "verbs": ["read"]}]})).await;

    let rows = lake.call(&key, Method::POST, "/query/sql", Some(&json!({"sql": "SELECT * FROM safe"}))).await.expect(200);
    assert_eq!(rows["rows"], json!([{"id": 2}]));
    for sql in ["SELECT * FROM people", "SELECT * FROM peopel"] {
        let reply = lake.call(&key, Method::POST, "/query/sql", Some(&json!({ "sql": sql }))).await;
        let told = reply.expect_problem(400, "unknown_table")["detail"].as_str().unwrap().to_owned();
        assert!(!told.contains("did you mean `people`"), "{told}");
    }
    let listed = lake.call(&key, Method::GET, "/catalog/views", None).await.expect(200);
    assert_eq!(listed["views"][0]["name"], "safe");
    assert!(listed["views"][0].get("row_filter").is_none(), "{listed}");
    assert_eq!(lake.call(&key, Method::GET, "/catalog/datasets", None).await.expect(200)["datasets"], json!([]));
    lake.call(&key, Method::GET, "/catalog/datasets/by-name/people", None).await.expect_problem(404, "unknown_dataset");

    let used = lake.call(ADMIN, Method::DELETE, "/catalog/datasets/people", None).await.expect_problem(409, "in_use");
    assert_eq!(used["used_by"], json!([{"view": "safe"}]));
    let operator = lake.key(json!({"name": "otto", "role": "operator"})).await;
    lake.call(&operator, Method::DELETE, "/catalog/views/safe", None).await.expect_problem(403, "forbidden");
    let open = json!({"name": "safe", "base_dataset": "people", "columns": ["id"], "row_filter": "id > 0"});
    lake.call(&operator, Method::POST, "/catalog/views", Some(&open)).await.expect_problem(403, "forbidden");
    lake.call(ADMIN, Method::DELETE, "/catalog/views/safe", None).await.expect(204);
    lake.call(ADMIN, Method::DELETE, "/catalog/datasets/people", None).await.expect(204);
    lake.get("/catalog/datasets/by-name/people").await.expect_problem(404, "unknown_dataset");
}

#[tokio::test]
async fn buried_rows_are_hidden_listed_and_shown_again() {
    let lake = Lake::start().await;
    lake.ingest("dataset=people", "id\n1\n2\n3\n").await.expect(201);
    let path = "/catalog/datasets/by-name/people/tombstone";
    let burial =
        lake.post(path, json!({"row_key_column": "id", "row_key_values": [1, "2"], "reason": "asked"})).await.expect(200);
    assert_eq!(burial["rows_tombstoned"], 2);
    let partly = lake.post(path, json!({"row_key_column": "id", "row_key_values": [3, 99]})).await.expect(207);
    assert_eq!(partly["failures"], json!([{"value": 99, "reason": "not_found"}]));
    lake.post(path, json!({"row_key_column": "nope", "row_key_values": [3]})).await.expect_problem(409, "key_column_mismatch");
    let wordy = json!({"row_key_column": "id", "row_key_values": [3], "reason": "x".repeat(1025)});
    lake.post(path, wordy).await.expect_problem(400, "invalid_body");
    assert_eq!(lake.sql("SELECT count(*) AS n FROM people").await["rows"], json!([{"n": 0}]));
    let listed = lake.get(&format!("{path}?limit=2")).await.expect(200);
    assert_eq!((listed["tombstones"].as_array().unwrap().len(), listed["next"].is_string()), (2, true));
    let restored = lake.call(ADMIN, Method::DELETE, path, Some(&json!({"row_key_values": [1]}))).await.expect(200);
    assert_eq!(restored["rows_restored"], 1);
    assert_eq!(lake.sql("SELECT count(*) AS n FROM people").await["rows"], json!([{"n": 1}]));
}
