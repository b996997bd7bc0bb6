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

/// With a tool of the auditor's own.
fn sha256(bytes: &[u8]) -> String {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };
    let mut tool = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sha256sum runs");
    tool.stdin.take().expect("a pipe").write_all(bytes).expect("it takes bytes");
    let told = String::from_utf8(tool.wait_with_output().expect("it ends").stdout).expect("text");
    told[..64].to_owned()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect()
}

#[tokio::test]
async fn an_auditor_can_check_the_chain_without_trusting_the_server() {
    let mut lake = Lake::start().await;
    for name in ["a", "b", "c"] {
        lake.ingest(name, "id\nperson-1\n").await.expect_ok();
    }
    lake.bury("a", "id", ["person-1"]).await.expect_ok();
    lake.kill_and_restart().await;
    lake.put_view("v", "b", &["id"], json!({})).await.expect_ok();

    let (mut end, mut seen, mut after) = ("0".repeat(64), 0, 0);
    let mut kinds = serde_json::Map::new();
    loop {
        let page = lake.get(&format!("/journal/events?proof=true&limit=2&after={after}")).await.expect_ok();
        for event in page["events"].as_array().unwrap() {
            let proof = |member: &str| event["proof"][member].as_str().unwrap_or_else(|| panic!("no {member} in {event}"));
            let commitment = sha256(format!("{}{}", proof("salt"), proof("payload")).as_bytes());
            assert_eq!((proof("previous"), proof("commitment")), (end.as_str(), commitment.as_str()));
            let seq = event["seq"].as_u64().unwrap();
            end = sha256(&[bytes(&end), seq.to_be_bytes().to_vec(), bytes(&commitment)].concat());
            assert_eq!(event["hash"], end);
            // What is shown is what was sealed.
            let sealed: serde_json::Value = serde_json::from_str(proof("payload")).unwrap();
            for member in ["seq", "kind", "actor", "role", "request_id", "subject", "outcome"] {
                assert_eq!(event[member], sealed[member], "{member}");
            }
            seen += 1;
            let count = kinds.entry(event["kind"].as_str().unwrap()).or_insert(json!(0));
            *count = json!(count.as_u64().unwrap() + 1);
        }
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    let stats = lake.get("/journal/stats").await.expect_ok();
    assert_eq!((&stats["head"], &stats["total_events_created"], &stats["by_kind"]), (&json!(end), &json!(seen), &json!(kinds)));
    assert!(lake.get("/journal/events").await.expect_ok()["events"][0].get("proof").is_none(), "only on request");
}
