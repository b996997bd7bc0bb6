//! The journal: one event for each change, none for a reading, and a chain that nobody can mend.

use serde_json::json;

use crate::lake::{Lake, component};

#[tokio::test]
async fn every_change_is_exactly_one_event() {
    let mut lake = Lake::start().await;
    assert_eq!(lake.events().await, 0, "a first start is no event");
    let mut expected = Vec::new();
    let mut due = |kind: &'static str| expected.push(kind);

    lake.ingest("t", "id\na\nb\n").await.expect_ok();
    due("ingest");
    lake.ingest("t", "id\nc\n").await.expect_ok();
    due("ingest");
    lake.put_view("v", "t", &["id"], json!({})).await.expect_ok();
    due("view_put");
    lake.bury("t", "id", ["a", "b"]).await.expect_ok();
    due("tombstone");
    let undo = json!({ "row_key_values": ["b"] });
    lake.send(lake.request(reqwest::Method::DELETE, "/catalog/datasets/by-name/t/tombstone").json(&undo)).await.expect_ok();
    due("tombstone_undo");
    lake.put_rules("hr", json!([])).await.expect_ok();
    due("profile_put");
    lake.delete("/catalog/profiles/hr").await.expect_ok();
    due("profile_delete");
    lake.push("redact-mask", component("redact-mask-v2")).await.expect_ok();
    due("plugin_push");
    lake.post("/plugins/redact-mask/rollback", json!({})).await.expect_ok();
    due("plugin_rollback");
    lake.post("/plugins/redact-pii/disable", json!({})).await.expect_ok();
    due("plugin_disable");
    lake.post("/plugins/redact-pii/enable", json!({})).await.expect_ok();
    due("plugin_enable");
    let made = lake.post("/admin/keys", json!({ "name": "k", "role": "reader", "grants": [] })).await.expect_ok();
    due("key_create");
    lake.delete(&format!("/admin/keys/{}", made["id"].as_str().unwrap())).await.expect_ok();
    due("key_revoke");
    lake.delete("/catalog/views/v").await.expect_ok();
    due("view_delete");
    lake.delete("/catalog/datasets/t").await.expect_ok();
    due("dataset_delete");

    // Readings and failures are none.
    lake.sql("SELECT 1 AS n").await.expect_ok();
    lake.ingest("t", "a,a\n1,2\n").await.expect_any_problem();
    lake.get("/plugins").await.expect_ok();

    for _ in 0..2 {
        let page = lake.get("/journal/events?limit=100").await.expect_ok();
        let kinds: Vec<&str> = page["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, expected);
        assert_eq!(lake.events().await, expected.len() as u64);
        lake.kill_and_restart().await;
    }
}

#[tokio::test]
async fn an_event_says_who_what_when_and_under_which_request() {
    let lake = Lake::start().await;
    let writer = lake.new_key("loader", "writer", json!([{ "dataset": "*", "verbs": ["read", "write"] }])).await;
    let request = writer
        .request(reqwest::Method::POST, "/ingest/file?dataset=t&format=csv")
        .header("X-Request-Id", "trial-7")
        .body("id\na\n");
    let answer = writer.send(request).await;
    answer.expect_ok();
    assert_eq!(answer.headers["x-request-id"], "trial-7");
    let page = lake.get("/journal/events?kind=ingest").await.expect_ok();
    let event = &page["events"][0];
    assert_eq!(
        (&event["actor"], &event["role"], &event["dataset"], &event["request_id"]),
        (&json!("loader"), &json!("writer"), &json!("t"), &json!("trial-7")),
        "{event}"
    );
    for (filter, some) in [
        ("dataset=t", true),
        ("dataset=u", false),
        ("actor=loader", true),
        ("kind=view_put", false),
        ("until=2020-01-01T00:00:00Z", false),
    ] {
        let found = lake.get(&format!("/journal/events?{filter}")).await.expect_ok();
        assert_eq!(!found["events"].as_array().unwrap().is_empty(), some, "{filter}");
    }
    lake.get("/journal/events?kind=nonsense").await.expect_any_problem();
}

#[tokio::test]
async fn the_events_are_one_chain_and_pages_join() {
    let lake = Lake::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        lake.ingest(name, "id\n1\n").await.expect_ok();
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = lake.get(&format!("/journal/events?limit=2{after}")).await.expect_ok();
        let events = page["events"].as_array().unwrap().clone();
        assert!(events.len() <= 2);
        seen.extend(events);
        match &page["next"] {
            serde_json::Value::Null => break,
            next => after = format!("&after={}", next.to_string().trim_matches('"')),
        }
    }
    let numbers: Vec<u64> = seen.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    assert_eq!(numbers.len(), 5);
    let mut hashes: Vec<&str> = seen.iter().map(|event| event["hash"].as_str().unwrap()).collect();
    assert_eq!(lake.get("/journal/stats").await.expect_ok()["head"], *hashes.last().unwrap());
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 5);
    assert!(hashes.iter().all(|hash| hash.len() == 64));
}

/// S-I1: row keys are named by keyed hash only.
#[tokio::test]
async fn no_row_key_stands_in_the_journal() {
    let lake = Lake::start().await;
    lake.ingest("t", "id\nperson-4711\nperson-4712\n").await.expect_ok();
    lake.bury("t", "id", ["person-4711"]).await.expect_ok();
    let shown = lake.get("/journal/events").await.text();
    assert!(shown.contains("tombstone") && !shown.contains("person-4711"), "{shown}");
    assert!(!lake.log().contains("person-4711"));
}

#[tokio::test]
async fn a_flood_of_denials_does_not_grow_the_journal() {
    let lake = Lake::start().await;
    let reader = lake.new_key("nosy", "reader", json!([])).await;
    let before = lake.events().await;
    for _ in 0..60 {
        reader.get("/admin/keys").await.expect_problem("forbidden");
    }
    let grown = lake.events().await - before;
    assert!(grown <= 3, "{grown} events for one kind of denial within a minute or two");
}
