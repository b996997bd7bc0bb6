//! Who sees and changes what, beyond the role.

use std::time::Duration;

use axum::{body::Body, extract::Request};
use http::Method;
use serde_json::{Value, json};

use super::{Lake, Reply};

impl Lake {
    async fn put_view(&self, key: &str, view: Value) -> Reply {
        self.call(key, Method::POST, "/catalog/views", Some(&view)).await
    }

    pub(super) async fn ingest_as(&self, key: &str, query: &str, csv: &str) -> Reply {
        let request = Request::post(format!("/ingest/file?{query}"))
            .header("x-api-key", key)
            .header("content-type", "text/csv")
            .body(Body::from(csv.to_owned()));
        self.send(request.unwrap()).await
    }
}

#[tokio::test]
async fn who_reads_a_view_defines_it_only_over_what_it_reads() {
    let lake = Lake::start().await;
    lake.ingest("dataset=people", "id,email\n1,a@x.org\n").await.expect(201);
    let view = |name: &str, columns: &[&str]| json!({"name": name, "base_dataset": "people", "columns": columns});
    lake.post("/catalog/views", view("safe", &["id"])).await.expect(201);
    let operator = async |name: &str, grants: Value| lake.key(json!({"name": name, "role": "operator", "grants": grants})).await;
    let one = operator("reads-one", json!([{"view": "safe", "verbs": ["read"]}])).await;
    let all = operator("reads-all", json!([{"view": "*", "verbs": ["read"]}])).await;
    let none = operator("reads-none", json!([])).await;
    let both = json!([{"view": "safe", "verbs": ["read"]}, {"dataset": "people", "verbs": ["read"]}]);
    let both = operator("reads-both", both).await;

    for key in [&one, &all] {
        let told = lake.put_view(key, view("safe", &["id", "email"])).await.expect_problem(403, "forbidden");
        let told = told["detail"].as_str().unwrap();
        assert!(told.contains("`safe`") && told.contains("read grant on dataset `people`"), "{told}");
        let sql = json!({"sql": "SELECT email FROM safe"});
        lake.call(key, Method::POST, "/query/sql", Some(&sql)).await.expect_problem(400, "unknown_column");
    }
    lake.put_view(&all, view("fresh", &["email"])).await.expect_problem(403, "forbidden");
    lake.put_view(&one, view("fresh", &["email"])).await.expect(201);
    lake.put_view(&none, view("safe", &["id"])).await.expect(201);
    lake.put_view(&both, view("safe", &["id", "email"])).await.expect(201);
    let denied = lake.get("/journal/events?kind=denied&actor=reads-one").await.expect(200);
    assert!(!denied["events"].as_array().unwrap().is_empty(), "{denied}");
}

#[tokio::test]
async fn an_operator_keeps_the_filter_that_it_does_not_see() {
    let lake = Lake::start().await;
    lake.ingest("dataset=people", "id,city\n1,x\n2,y\n").await.expect(201);
    let view = |columns: &[&str], filter: Option<&str>| {
        let mut view = json!({"name": "safe", "base_dataset": "people", "columns": columns});
        if let Some(filter) = filter {
            view["row_filter"] = filter.into();
        }
        view
    };
    lake.post("/catalog/views", view(&["id"], Some("id > 1"))).await.expect(201);
    let operator = lake.key(json!({"name": "otto", "role": "operator"})).await;

    let put = lake.put_view(&operator, view(&["id", "city"], None)).await.expect(201);
    assert!(put.get("row_filter").is_none(), "{put}");
    let shown = lake.get("/catalog/views/safe").await.expect(200);
    assert_eq!((&shown["row_filter"], &shown["columns"]), (&json!("id > 1"), &json!(["id", "city"])));
    assert_eq!(lake.sql("SELECT count(*) AS n FROM safe").await["rows"], json!([{"n": 1}]));
    lake.put_view(&operator, view(&["id"], Some("id > 0"))).await.expect_problem(403, "forbidden");

    lake.post("/catalog/views", view(&["id"], None)).await.expect(201);
    assert!(
        lake.get("/catalog/views/safe").await.expect(200).get("row_filter").is_none(),
        "an admin removes it by leaving it out"
    );
}

#[tokio::test]
async fn the_journals_totals_are_those_of_what_a_key_may_read() {
    let lake = Lake::start().await;
    let grants = json!([{"dataset": "*", "verbs": ["write"]}]);
    let writer = lake.key(json!({"name": "wanda", "role": "writer", "grants": grants})).await;
    let reader = lake.key(json!({"name": "rita", "role": "reader"})).await;
    lake.ingest("dataset=others", "id\n1\n").await.expect(201);
    for _ in 0..2 {
        lake.ingest_as(&writer, "dataset=hers", "id\n1\n").await.expect(201);
    }
    let stats = async |key: &str| lake.call(key, Method::GET, "/journal/stats", None).await.expect(200);
    assert_eq!(stats(&writer).await, json!({"total_events_created": 2, "by_kind": {"ingest": 2}}));
    assert_eq!(stats(&reader).await, json!({"total_events_created": 0, "by_kind": {}}));
    let whole = lake.get("/journal/stats").await.expect(200);
    assert_eq!((&whole["total_events_created"], &whole["by_kind"]["ingest"]), (&json!(5), &json!(3)), "{whole}");
    assert!(whole["head"].is_string());
}

#[tokio::test]
async fn the_conditions_of_truth_rules_and_a_failed_reload_are_for_those_who_manage_them() {
    const RULE: &str = "[[rule]]\nid = \"senior\"\ntask_class = \"fill\"\n\
                        condition = { field_greater = { path = \"years\", value = 7 } }\nactions = [\"allow\"]\n";
    let lake = Lake::start_with(|settings| {
        settings.truth.poll = Duration::from_millis(50);
        std::fs::create_dir_all(&settings.truth.dir).unwrap();
        std::fs::write(settings.truth.dir.join("fill.toml"), RULE).unwrap();
    })
    .await;
    let reader = lake.key(json!({"name": "rita", "role": "reader"})).await;
    let operator = lake.key(json!({"name": "otto", "role": "operator"})).await;
    let rules = async |key: &str| lake.call(key, Method::GET, "/truth/rules", None).await.expect(200);
    let plain = json!({"rules": [{"id": "senior", "task_class": "fill", "actions": ["allow"]}]});
    assert_eq!(rules(&reader).await, plain);
    assert_eq!(rules(&operator).await["rules"][0]["condition"], json!({"field_greater": {"path": "years", "value": 7}}));

    let file = lake.engine().settings().truth.dir.join("fill.toml");
    std::fs::write(file, RULE.replace("task_class", "task_clas")).unwrap();
    let failed = async {
        loop {
            let shown = rules(&operator).await;
            if let Some(error) = shown.get("reload_error") {
                assert_eq!(shown["rules"].as_array().unwrap().len(), 1, "the old rules stay");
                return error.as_str().unwrap().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(10), failed).await.expect("the edit is looked at");
    assert!(error.contains("fill.toml"), "{error}");
    assert_eq!(rules(&reader).await, plain);
}

#[tokio::test]
async fn without_keys_a_foreign_page_changes_nothing() {
    let send = async |lake: &Lake, method: Method, path: &str, origin: &str| {
        let mut request =
            Request::builder().method(method).uri(path).header("host", "127.0.0.1:3100").header("x-api-key", super::ADMIN);
        if !origin.is_empty() {
            request = request.header("origin", origin);
        }
        lake.send(request.header("content-type", "text/csv").body(Body::from("id\n1\n")).unwrap()).await
    };
    let lake = Lake::start_with(|settings| {
        settings.auth.enabled = false;
        settings.server.cors_origins = vec!["https://app.example.com".into()];
    })
    .await;
    for origin in ["https://evil.example", "null", "http://127.0.0.1:8000"] {
        send(&lake, Method::POST, "/ingest/file?dataset=t", origin).await.expect_problem(403, "forbidden");
        send(&lake, Method::DELETE, "/catalog/datasets/t", origin).await.expect_problem(403, "forbidden");
        send(&lake, Method::GET, "/catalog/datasets", origin).await.expect(200);
    }
    assert_eq!(lake.get("/catalog/datasets").await.expect(200)["datasets"], json!([]));
    assert_eq!(lake.get("/journal/events?kind=denied").await.expect(200)["events"][0]["actor"], "anonymous");
    for origin in ["", "https://app.example.com", "http://127.0.0.1:3100"] {
        send(&lake, Method::POST, "/ingest/file?dataset=t", origin).await.expect(201);
    }

    let keyed = Lake::start().await;
    send(&keyed, Method::POST, "/ingest/file?dataset=t", "https://evil.example").await.expect(201);
}

#[tokio::test]
async fn without_keys_only_this_machine_itself_is_asked_for() {
    let lake = Lake::start_with(|settings| {
        settings.auth.enabled = false;
        settings.server.cors_origins = vec!["https://app.example.com".into()];
    })
    .await;
    let send = async |lake: &Lake, method: Method, path: &str, host: &str| {
        let request = Request::builder().method(method).uri(path).header("host", host).header("x-api-key", super::ADMIN);
        lake.send(request.header("content-type", "text/csv").body(Body::from("id\n1\n")).unwrap()).await
    };
    // A page of evil.example, whose name now points here, may read what it asks for.
    for host in ["evil.example", "evil.example:3100", "127.0.0.1.evil.example"] {
        for path in ["/catalog/datasets", "/admin/keys", "/journal/events", "/openapi.json", "/no/such/route"] {
            send(&lake, Method::GET, path, host).await.expect_problem(403, "forbidden");
        }
        send(&lake, Method::POST, "/ingest/file?dataset=t", host).await.expect_problem(403, "forbidden");
        send(&lake, Method::GET, "/health", host).await.expect(200);
    }
    for host in ["127.0.0.1:3100", "localhost:3100", "[::1]:3100", "app.example.com"] {
        send(&lake, Method::GET, "/catalog/datasets", host).await.expect(200);
        send(&lake, Method::POST, "/ingest/file?dataset=t", host).await.expect(201);
    }
    let keyed = Lake::start().await;
    send(&keyed, Method::GET, "/catalog/datasets", "lake.example.com").await.expect(200);
}
