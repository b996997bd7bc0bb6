//! Files that are in a bucket already come in together, or not at all.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};

use crate::lake::{Lake, Options};

const CONFIG: &str = "[ingest]\nimport = ['primary/incoming/']\n";

async fn lake() -> Lake {
    let lake = Lake::start_with(Options { config: Some(CONFIG.into()), ..Options::default() }).await;
    for (name, text) in [
        ("a.csv", "id,name\n1,Ana\n2,Bo\n"),
        ("b.ndjson", "{\"id\": 3, \"colour\": \"red\"}\n"),
        ("deep/c.csv", "id,name\n4,Cy\n"),
        ("broken.tsv", "id\tname\nfive\tDi\n"),
    ] {
        let path = lake.data().join("data/incoming").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    lake
}

fn body(path: &str) -> Value {
    json!({ "dataset": "t", "bucket": "primary", "path": path })
}

#[tokio::test]
async fn files_of_a_bucket_become_one_version() {
    let mut lake = lake().await;
    let send = || {
        let request = lake.request(Method::POST, "/ingest/bucket").header("Idempotency-Key", "once");
        lake.send(request.json(&body("incoming/?.*")))
    };
    let report = send().await.expect_status(201);
    assert_eq!((&report["rows"], &report["version"]), (&json!(3), &json!(0)), "{report}");
    assert_eq!(send().await.expect_status(201), report);
    assert_eq!(lake.events().await, 1);
    lake.sql("SELECT name FROM t WHERE id = 2").await.expect_cell("name", "Bo");
    lake.sql("SELECT colour FROM t WHERE id = 3").await.expect_cell("colour", "red");

    let mut all = body("incoming/**/*.csv");
    all["mode"] = "replace".into();
    assert_eq!(lake.post("/ingest/bucket", all).await.expect_ok()["rows"], 3);
    lake.kill_and_restart().await;
    assert_eq!(lake.sql("SELECT id FROM t ORDER BY id").await.column("id"), [1, 2, 4]);
}

#[tokio::test]
async fn a_broken_file_is_named_and_nothing_of_the_others_comes_in() {
    let lake = lake().await;
    let problem = lake.post("/ingest/bucket", body("incoming/*")).await.expect_problem("invalid_data");
    assert_eq!((&problem["file"], &problem["line"]), (&json!("incoming/broken.tsv"), &json!(2)), "{problem}");
    assert!(!problem.to_string().contains("five"), "{problem}");
    assert_eq!((lake.datasets().await, lake.events().await), (vec![], 0));
    let mut skipping = body("incoming/*");
    skipping["on_error"] = "skip".into();
    let report = lake.post("/ingest/bucket", skipping).await.expect_ok();
    assert_eq!((&report["rows"], &report["rejected"][0]["line"]), (&json!(3), &json!(2)), "{report}");
    assert!(report["rejected"][0]["reason"].as_str().unwrap().contains("incoming/broken.tsv"), "{report}");
}

#[tokio::test]
async fn nothing_is_read_beyond_the_folders_that_are_named() {
    let lake = lake().await;
    lake.ingest("mine", "id\n1\n").await.expect_ok();
    fs::write(lake.data().join("data/outside.csv"), "id\n1\n").unwrap();
    for path in ["outside.csv", "*.csv", "**/*.csv", "datasets/**/*.parquet", "_meta/1/*", "incomin?/a.csv", "incoming"] {
        lake.post("/ingest/bucket", body(path)).await.expect_problem("forbidden");
    }
    for path in ["incoming/../outside.csv", "/etc/passwd", "incoming//a.csv", "incoming/", ""] {
        lake.post("/ingest/bucket", body(path)).await.expect_problem("invalid_body");
    }
    lake.post("/ingest/bucket", body("incoming/none-*.csv")).await.expect_problem("invalid_data");
    let mut elsewhere = body("incoming/a.csv");
    elsewhere["bucket"] = "nowhere".into();
    lake.post("/ingest/bucket", elsewhere).await.expect_problem("unknown_bucket");

    let grants = json!([{ "dataset": "t", "verbs": ["read", "write"] }]);
    for (name, role) in [("a-reader", "reader"), ("an-operator", "operator")] {
        lake.new_key(name, role, grants.clone())
            .await
            .post("/ingest/bucket", body("incoming/a.csv"))
            .await
            .expect_problem("forbidden");
    }
    let other = lake.new_key("other", "writer", json!([{ "dataset": "mine", "verbs": ["write"] }])).await;
    other.post("/ingest/bucket", body("incoming/a.csv")).await.expect_problem("forbidden");
    let writer = lake.new_key("loader", "writer", grants).await;
    writer.post("/ingest/bucket", body("datasets/**/*.parquet")).await.expect_problem("forbidden");
    writer.post("/ingest/bucket", body("incoming/a.csv")).await.expect_status(201);
    assert_eq!(lake.datasets().await, ["mine", "t"]);
}
