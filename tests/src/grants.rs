//! S-A3: what a key may name changes while the key stays, by the API and by the access file, and what was taken back is gone.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    caller::Caller,
    lake::{Doomed, Lake, Options},
};

const ASK: &str = "SELECT count(*) AS n FROM people";
/// "Within a second", on a machine where much runs at once.
const SOON: Duration = Duration::from_secs(5);

fn reads(name: &str) -> Value {
    json!({ "dataset": name, "verbs": ["read"] })
}

async fn give(lake: &Caller, key: &str, grant: Value) -> String {
    let given = lake.post("/admin/grants", json!({ "key": key, "grant": grant })).await.expect_status(201);
    given["id"].as_str().expect("an id").to_owned()
}

fn access_file(lake: &Lake) -> PathBuf {
    lake.folder().join("config/access.toml")
}

/// What the list says of the file, once it says what is waited for.
async fn await_file(lake: &Caller, holds: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let file = lake.get("/admin/grants").await.expect_ok()["file"].clone();
        if holds(&file) {
            return file;
        }
        assert!(began.elapsed() < Duration::from_secs(15), "{file}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_grant_counts_at_once_and_survives_a_kill_and_so_does_its_end() {
    let mut lake = Lake::start().await;
    lake.ingest("people", "id\n1\n").await.expect_ok();
    let reader = lake.new_key("rita", "reader", json!([])).await;
    let key = reader.key.clone().unwrap();
    reader.sql(ASK).await.expect_problem("unknown_table");
    let events = lake.events().await;
    let id = give(&lake, "rita", reads("people")).await;
    assert_eq!(lake.events().await, events + 1);
    reader.sql(ASK).await.expect_cell("n", 1);
    lake.post("/admin/grants", json!({ "key": "rita", "grant": reads("people") })).await.expect_status(200);
    assert_eq!(lake.events().await, events + 1, "what changes nothing is no event");

    lake.kill_and_restart().await;
    lake.as_key(&key).sql(ASK).await.expect_cell("n", 1);
    let listed = lake.get("/admin/grants?key=rita").await.expect_ok();
    assert_eq!(listed["grants"][0]["id"], id.as_str(), "{listed}");
    lake.delete(&format!("/admin/grants/{id}")).await.expect_status(204);
    lake.as_key(&key).sql(ASK).await.expect_problem("unknown_table");
    lake.kill_and_restart().await;
    lake.as_key(&key).sql(ASK).await.expect_problem("unknown_table");
    lake.delete(&format!("/admin/grants/{id}")).await.expect_problem("unknown_grant");
}

/// T-61, for grants as for keys.
#[tokio::test]
async fn an_open_answer_ends_when_its_grant_does() {
    let lake =
        Lake::start_with(Options { config: Some("[query]\nmax_rows = 1000000000\n".to_owned()), ..Options::default() }).await;
    let numbers: String = (0..2_000).map(|id| format!("{id}\n")).collect();
    lake.ingest("numbers", format!("id\n{numbers}")).await.expect_ok();
    let reader = lake.new_key("rita", "reader", json!([])).await;
    let id = give(&lake, "rita", reads("numbers")).await;
    let endless = json!({ "sql": "SELECT a.id FROM numbers a CROSS JOIN numbers b CROSS JOIN numbers c" });
    let request = reader.request(Method::POST, "/query/sql").header("Accept", "application/x-ndjson").json(&endless);
    let mut rows = request.send().await.expect("an answer").bytes_stream();
    rows.next().await.expect("rows").expect("whole");

    lake.delete(&format!("/admin/grants/{id}")).await.expect_status(204);
    let began = Instant::now();
    let mut end = Vec::new();
    while let Some(Ok(chunk)) = rows.next().await {
        end.extend_from_slice(&chunk);
        let from = end.len().saturating_sub(4096);
        end.drain(..from);
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let end = String::from_utf8_lossy(&end);
    let last: Value = serde_json::from_str(end.lines().rfind(|line| !line.is_empty()).unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "forbidden", "{last}");
}

#[tokio::test]
async fn a_saved_access_file_applies_a_bad_one_does_not_and_a_restart_reads_it_anew() {
    let mut lake = Lake::start().await;
    lake.ingest("people", "id\n1\n").await.expect_ok();
    let reader = lake.new_key("rita", "reader", json!([])).await;
    let key = reader.key.clone().unwrap();
    let line = "[[grant]]\nkey = \"rita\"\ndataset = \"people\"\nverbs = [\"read\"]\n";
    fs::write(access_file(&lake), line).unwrap();
    await_file(&lake, |file| file["grants"] == 1).await;
    reader.sql(ASK).await.expect_cell("n", 1);
    let listed = lake.get("/admin/grants?key=rita").await.expect_ok();
    let id = listed["grants"][0]["id"].as_str().unwrap().to_owned();
    let told = lake.delete(&format!("/admin/grants/{id}")).await.expect_problem("owned_by_file");
    assert_eq!((&told["status"], &told["file"]), (&json!(409), &json!("access.toml")));

    fs::write(access_file(&lake), line.replace("dataset", "datset")).unwrap();
    let file = await_file(&lake, |file| file["error"].is_string()).await;
    assert!(file["error"].as_str().unwrap().contains("access.toml:3: unknown field `datset`"), "{file}");
    assert!(lake.log().contains("the access file was not reloaded"), "{}", lake.log());
    reader.sql(ASK).await.expect_cell("n", 1);

    fs::write(access_file(&lake), line).unwrap();
    await_file(&lake, |file| file["error"].is_null()).await;
    lake.kill_and_restart().await;
    lake.as_key(&key).sql(ASK).await.expect_cell("n", 1);
    fs::write(access_file(&lake), "").unwrap();
    await_file(&lake, |file| file["grants"] == 0).await;
    lake.as_key(&key).sql(ASK).await.expect_problem("unknown_table");
}

#[tokio::test]
async fn the_last_use_of_a_key_survives_an_orderly_stop() {
    let mut lake = Lake::start().await;
    let reader = lake.new_key("rita", "reader", json!([])).await;
    let last = async |lake: &Lake| {
        let keys = lake.get("/admin/keys").await.expect_ok();
        let keys = keys["keys"].as_array().unwrap().clone();
        keys.into_iter().find(|key| key["name"] == "rita").unwrap()["last_used_at"].clone()
    };
    assert_eq!(last(&lake).await, Value::Null);
    reader.sql("SELECT 1 AS n").await.expect_ok();
    let used = last(&lake).await;
    assert!(used.is_string(), "{used}");
    let events = lake.events().await;
    lake.stop_and_restart().await;
    assert_eq!((last(&lake).await, lake.events().await), (used, events));
}

#[tokio::test]
async fn a_host_that_reads_follows_grants_and_the_file() {
    let lake = Lake::start().await;
    lake.ingest("people", "id\n1\n").await.expect_ok();
    lake.ingest("places", "id\n1\n").await.expect_ok();
    let reader = lake.new_key("rita", "reader", json!([])).await;
    let beside = Doomed::start_as(lake.folder(), vec!["--read-only"]);
    let there = beside.admin().expect("it listens");
    let rita = there.as_key(reader.key.as_deref().unwrap());
    let sees = async |sql: &str, wanted: u16| {
        let began = Instant::now();
        while rita.sql(sql).await.status != wanted {
            assert!(began.elapsed() < Duration::from_secs(15), "{sql} is not {wanted}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let id = give(&lake, "rita", reads("people")).await;
    sees(ASK, 200).await;
    there.delete(&format!("/admin/grants/{id}")).await.expect_problem("read_only");
    lake.delete(&format!("/admin/grants/{id}")).await.expect_status(204);
    sees(ASK, 400).await;
    fs::write(access_file(&lake), "[[grant]]\nkey = \"rita\"\ndataset = \"places\"\nverbs = [\"read\"]\n").unwrap();
    sees("SELECT count(*) AS n FROM places", 200).await;
    await_file(&there, |file| file["grants"] == 1).await;
}
