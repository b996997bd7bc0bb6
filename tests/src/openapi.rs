//! What the server says about itself is true.

use reqwest::Method;
use serde_json::Value;

use crate::lake::{Lake, Options};

#[tokio::test]
async fn the_document_lists_every_route_and_every_problem() {
    let lake = Lake::start().await;
    let document = lake.get("/openapi.json").await.expect_ok();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.")), "{}", document["openapi"]);
    let text = document.to_string();
    for code in ["unknown_bucket", "plugin_timeout", "unresolved_rule", "body_too_large"] {
        assert!(text.contains(code), "{code} is not in the document");
    }
    // Every reference points somewhere.
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                if let Some(target) = members.get("$ref").and_then(Value::as_str) {
                    assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
                }
                open.extend(members.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(operation["responses"].as_object().is_some_and(|responses| !responses.is_empty()), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn problems_have_a_page_each_and_unknown_things_are_problems() {
    let lake = Lake::start().await;
    let problem = lake.get("/catalog/views/nope").await.expect_problem("unknown_view");
    let page = lake.get(problem["type"].as_str().unwrap()).await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(page.text().contains("GET /catalog/views"), "{}", page.text());
    lake.get("/no/such/route").await.expect_problem("unknown_route");
    lake.send(lake.request(Method::PATCH, "/query/sql")).await.expect_problem("method_not_allowed");
    let broken = lake.request(Method::POST, "/query/sql").header("Content-Type", "application/json").body("{\"sql\": ");
    lake.send(broken).await.expect_problem("invalid_body");
    let unknown = lake.post("/query/sql", serde_json::json!({ "sql": "SELECT 1", "sq": 1 })).await.expect_problem("invalid_body");
    assert!(unknown["detail"].as_str().unwrap().contains("sq"), "{unknown}");
    lake.post("/query/sql", serde_json::json!({ "sql": 7 })).await.expect_problem("invalid_body");
}

#[tokio::test]
async fn health_says_what_answers_and_metrics_count() {
    let lake = Lake::start().await;
    let health = lake.nobody().get("/health").await.expect_ok();
    assert!(health.is_object(), "{health}");
    lake.get("/ready").await.expect_ok();
    lake.sql("SELECT 1 AS n").await.expect_ok();
    let metrics = lake.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.text().lines().any(|line| line.starts_with("# TYPE")), "{}", metrics.text());
    let page = lake.get("/docs").await;
    assert_eq!(page.status, 200);
    assert!(page.text().to_lowercase().contains("<html"), "a browsable page");
}

#[tokio::test]
async fn pages_of_other_origins_ask_only_when_allowed() {
    let preflight = |lake: &Lake, origin: &str| {
        let request = lake
            .nobody()
            .request(Method::OPTIONS, "/query/sql")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "authorization,content-type");
        let caller = lake.nobody();
        async move { caller.send(request).await.headers.get("access-control-allow-origin").cloned() }
    };
    let closed = Lake::start().await;
    assert!(preflight(&closed, "https://app.example.com").await.is_none());
    let config = "[server]\ncors_origins = [\"https://app.example.com\"]\n";
    let open = Lake::start_with(Options { config: Some(config.into()), ..Options::default() }).await;
    assert_eq!(preflight(&open, "https://app.example.com").await.unwrap(), "https://app.example.com");
    assert!(preflight(&open, "https://other.example.com").await.is_none());
}
