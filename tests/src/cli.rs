//! The command line against a real server: what it prints, and what it exits with.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::lake::{ADMIN_KEY, Lake, component};

fn lakehouse(lake: &Lake, arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lakehouse-under-test"))
        .args(arguments)
        .env("LAKEHOUSE_URL", &lake.url)
        .env("LAKEHOUSE_KEY", ADMIN_KEY)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[track_caller]
fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stdout)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_in_and_comes_out_in_every_form() {
    let lake = Lake::start().await;
    let file = lake.folder().join("Our people.csv");
    std::fs::write(&file, "id,name\n1,Ana\n2,\n").unwrap();
    let report = json_of(&lakehouse(&lake, &["ingest", file.to_str().unwrap()], ""));
    assert_eq!((&report["dataset"], &report["rows"]), (&json!("our_people"), &json!(2)));
    json_of(&lakehouse(&lake, &["ingest", "--dataset", "piped", "--format", "ndjson", "-"], "{\"id\":7}\n"));

    let sql = "SELECT id, name FROM our_people ORDER BY id";
    assert_eq!(json_of(&lakehouse(&lake, &["sql", sql], ""))["rows"], json!([{ "id": 1, "name": "Ana" }, { "id": 2 }]));
    assert_eq!(json_of(&lakehouse(&lake, &["sql"], "SELECT id FROM piped"))["rows"], json!([{ "id": 7 }]));
    assert_eq!(
        json_of(&lakehouse(&lake, &["sql", "--param", "2", "SELECT count(*) AS n FROM our_people WHERE id = $1"], ""))["rows"],
        json!([{ "n": 1 }])
    );
    let csv = lakehouse(&lake, &["sql", "--format", "csv", sql], "");
    assert_eq!(String::from_utf8(csv.stdout).unwrap().replace("\r\n", "\n"), "id,name\n1,Ana\n2,\n");
    let table = lakehouse(&lake, &["sql", "--format", "table", sql], "");
    let shown = String::from_utf8(table.stdout).unwrap();
    assert!(shown.contains("name") && shown.contains("Ana"), "{shown}");
    let out = lake.folder().join("out.arrow");
    assert!(lakehouse(&lake, &["sql", "--format", "arrow", "--output", out.to_str().unwrap(), sql], "").status.success());
    assert!(std::fs::metadata(out).unwrap().len() > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn components_and_keys_are_managed() {
    let lake = Lake::start().await;
    let file = lake.folder().join("redact-mask.wasm");
    std::fs::write(&file, component("redact-mask-v2")).unwrap();
    assert_eq!(json_of(&lakehouse(&lake, &["plugin", "push", file.to_str().unwrap()], ""))["version"], "2.0.0");
    let dry_run = ["plugin", "dry-run", "redact-mask", "--config", "{\"keep_prefix\":3,\"keep_suffix\":2}", "CAND-000001"];
    assert_eq!(json_of(&lakehouse(&lake, &dry_run, ""))["outputs"], json!(["CAN######01"]));
    json_of(&lakehouse(&lake, &["plugin", "rollback", "redact-mask"], ""));
    assert_eq!(json_of(&lakehouse(&lake, &dry_run, ""))["outputs"], json!(["CAN******01"]));
    assert_eq!(json_of(&lakehouse(&lake, &["plugin", "list"], "")).as_array().map(Vec::len), Some(9));
    assert_eq!(json_of(&lakehouse(&lake, &["plugin", "show", "redact-mask"], ""))["name"], "redact-mask");

    let key = json_of(&lakehouse(&lake, &["key", "create", "analyst", "--role", "reader", "--grant", "view:v"], ""));
    let secret = key["key"].as_str().unwrap();
    lake.as_key(secret).sql("SELECT 1 AS n").await.expect_ok();
    let listed = json_of(&lakehouse(&lake, &["key", "list"], ""));
    assert!(listed.to_string().contains("analyst") && !listed.to_string().contains(secret));
    assert!(listed.as_array().unwrap().iter().all(|key| key["last_used_at"].is_string()), "{listed}");

    lake.ingest("people", "id\n1\n").await.expect_ok();
    assert!(lakehouse(&lake, &["grant", "add", "analyst", "dataset:people", "dataset:others:read"], "").status.success());
    lake.as_key(secret).sql("SELECT id AS n FROM people").await.expect_cell("n", 1);
    let grants = json_of(&lakehouse(&lake, &["grant", "list", "--of", "analyst"], ""));
    assert_eq!(grants.as_array().map(Vec::len), Some(3), "{grants}");
    assert!(lakehouse(&lake, &["grant", "remove", "analyst", "dataset:people"], "").status.success());
    lake.as_key(secret).sql("SELECT id AS n FROM people").await.expect_problem("unknown_table");
    let id = grants.as_array().unwrap().iter().find(|given| given["grant"]["view"] == "v").unwrap()["id"].as_str().unwrap();
    assert!(lakehouse(&lake, &["grant", "remove", id], "").status.success());
    let none = lakehouse(&lake, &["grant", "remove", "analyst", "view:v"], "");
    assert!(String::from_utf8_lossy(&none.stderr).contains("lakehouse grant list --of analyst"));
    assert_eq!(none.status.code(), Some(2));
    assert_eq!(lakehouse(&lake, &["grant", "add", "nobody", "view:v"], "").status.code(), Some(1));
    assert_eq!(lakehouse(&lake, &["grant", "add", "analyst", "v"], "").status.code(), Some(2));
    assert!(lakehouse(&lake, &["key", "revoke", key["id"].as_str().unwrap()], "").status.success());
    lake.as_key(secret).sql("SELECT 1 AS n").await.expect_problem("unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_tried_put_and_looked_back_at() {
    let lake = Lake::start().await;
    lake.ingest("people", "id,name\n1,Ana\n2,Bo\n").await.expect_ok();
    let view = |columns: &[&str]| json!({ "name": "v", "base_dataset": "people", "columns": columns }).to_string();
    let tried = json_of(&lakehouse(&lake, &["view", "validate", "-"], &view(&["name"])));
    assert_eq!((&tried["valid"], &tried["rows_kept"]), (&json!(true), &json!(2)));
    let own = ["view", "validate", "--rows", "[{\"id\":7}]", "-"];
    assert_eq!(json_of(&lakehouse(&lake, &own, &view(&["id"])))["rows"], json!([{ "id": 7 }]));
    assert_eq!(json_of(&lakehouse(&lake, &["view", "put", "-"], &view(&["id"])))["version"], 1);
    assert_eq!(json_of(&lakehouse(&lake, &["view", "put", "--if-version", "1", "-"], &view(&["name"])))["version"], 2);
    let late = lakehouse(&lake, &["view", "put", "--if-version", "1", "-"], &view(&["id"]));
    assert_eq!(late.status.code(), Some(1), "{}", String::from_utf8_lossy(&late.stderr));
    let kept = json_of(&lakehouse(&lake, &["view", "versions", "v"], ""));
    assert_eq!((kept[0]["version"].as_u64(), kept[1]["version"].as_u64()), (Some(2), Some(1)));
    assert_eq!(json_of(&lakehouse(&lake, &["view", "list"], "")).as_array().map(Vec::len), Some(1));
    assert_eq!(json_of(&lakehouse(&lake, &["view", "show", "v"], ""))["columns"], json!(["name"]));
    assert!(lakehouse(&lake, &["view", "delete", "v"], "").status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_problem_is_told_kindly_and_has_its_exit_code() {
    let lake = Lake::start().await;
    let refused = lakehouse(&lake, &["sql", "SELECT * FROM nope"], "");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    for part in ["Unknown table", "nope", "what to do:", "request id:"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(refused.stdout.is_empty());
    assert_eq!(lakehouse(&lake, &["sql", "--key", "wrong-key-but-long-enough", "SELECT 1"], "").status.code(), Some(3));
    assert_eq!(lakehouse(&lake, &["ingest", "/no/such/file.csv"], "").status.code(), Some(2));
    assert_eq!(lakehouse(&lake, &["sql", "--no-such-flag"], "").status.code(), Some(2));
    let gone = lakehouse(&lake, &["sql", "--url", "http://127.0.0.1:9", "SELECT 1"], "");
    assert_eq!(gone.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("lakehouse serve"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_wrong_config_says_what_is_wrong() {
    let lake = Lake::start().await;
    let config = lake.folder().join("wrong");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("lakehouse.toml"), "[query]\ndeadline_m = 5\n").unwrap();
    let output = lakehouse(&lake, &["serve", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"], "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("deadline_m") && said.contains("deadline_ms") && said.contains("lakehouse.toml"), "{said}");
}
