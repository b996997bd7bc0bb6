//! T-60, T-61: nobody gets further than the key says, on any route, and no key stands anywhere in plain text.

use std::{collections::BTreeSet, path::Path};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{caller::Caller, lake::Lake};

/// Every route of `/openapi.json`.
async fn routes(lake: &Caller) -> Vec<(Method, String)> {
    let document = lake.get("/openapi.json").await.expect_ok();
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            if let Ok(method) = method.to_uppercase().parse::<Method>() {
                routes.push((method, path.clone()));
            }
        }
    }
    assert!(routes.len() > 30, "{routes:?}");
    routes
}

/// The path with names in it that nothing has, and what a handler needs to get as far as permission.
fn filled(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        out += before;
        out += "nothing-has-this-name";
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    out += rest;
    if out == "/ingest/file" { out + "?dataset=nothing-has-this-name&format=csv" } else { out }
}

/// Who may, by API.md: admin, operator, writer, reader.
fn allowed(method: &Method, path: &str) -> &'static str {
    match (method.as_str(), path) {
        (_, path) if path.starts_with("/admin/") || path.starts_with("/erasure") => "a",
        ("POST", path) if path.starts_with("/query/compact") => "ao",
        ("POST", "/ingest/file" | "/ingest/bucket" | "/ingest/db") => "aw",
        ("DELETE", "/catalog/datasets/by-name/{name}" | "/catalog/datasets/{name}") => "aw",
        (_, "/catalog/datasets/by-name/{name}/tombstone") => "aw",
        ("POST" | "DELETE" | "PUT", path) if path.starts_with("/catalog/") => "ao",
        ("GET", "/catalog/views/{name}/versions") => "ao",
        (_, path) if path.starts_with("/plugins") => "ao",
        ("POST", "/vectors/refresh/{dataset}" | "/vectors/profile/{id}/activate") | ("DELETE", "/vectors/indexes/{name}") => "ao",
        ("GET", "/metrics") | ("POST", "/catalog/migrate-buckets") => "ao",
        _ => "aowr",
    }
}

async fn ask(caller: &Caller, method: &Method, path: &str) -> crate::answer::Answer {
    let request = caller.request(method.clone(), &filled(path));
    let request = if matches!(*method, Method::GET) { request } else { request.json(&json!({})) };
    caller.send(request).await
}

#[tokio::test]
async fn without_a_key_every_route_but_health_answers_401() {
    let lake = Lake::start().await;
    let strangers = [lake.nobody(), lake.as_key("lk_01jd0000000000000000000000_wrong"), lake.as_key("not-even-a-key")];
    for (method, path) in routes(&lake).await {
        for stranger in &strangers {
            let answer = ask(stranger, &method, &path).await;
            if path == "/health" {
                assert_eq!(answer.status, 200, "{method} {path}");
            } else {
                answer.expect_problem("unauthenticated");
                assert_eq!(answer.status, 401, "{method} {path}");
                assert!(answer.headers.contains_key("www-authenticate"), "{method} {path}");
            }
        }
    }
    lake.nobody().get("/no/such/route").await.expect_problem("unauthenticated");
    let events = lake.get("/journal/events").await.expect_ok();
    let events = events["events"].as_array().unwrap();
    // Denials are journaled by actor and minute, however many there are; the minute may have changed meanwhile.
    assert!((1..=3).contains(&events.len()), "{events:?}");
    assert!(events.iter().all(|event| event["kind"] == "denied" && event["actor"] == "anonymous"), "{events:?}");
}

#[tokio::test]
async fn each_role_may_what_the_matrix_says_and_nothing_else() {
    let lake = Lake::start().await;
    let all = json!([{ "dataset": "*", "verbs": ["read", "write"] }, { "view": "*", "verbs": ["read"] }]);
    let mut callers = vec![('a', lake.as_key(crate::lake::ADMIN_KEY))];
    for (letter, role) in [('o', "operator"), ('w', "writer"), ('r', "reader")] {
        callers.push((letter, lake.new_key(role, role, all.clone()).await));
    }
    let routes = routes(&lake).await;
    for (method, path) in &routes {
        let may = allowed(method, path);
        for (letter, caller) in &callers {
            let answer = ask(caller, method, path).await;
            if may.contains(*letter) {
                assert!(answer.status != 403 && answer.status != 401, "{letter} {method} {path}: {}", answer.text());
                assert!(answer.status < 500, "{letter} {method} {path}: {}", answer.text());
            } else {
                assert_eq!(answer.status, 403, "{letter} {method} {path}: {}", answer.text());
                answer.expect_problem("forbidden");
            }
        }
    }
    let known: BTreeSet<&str> = routes.iter().map(|(_, path)| path.as_str()).collect();
    for due in [
        "/health",
        "/ready",
        "/metrics",
        "/ingest/file",
        "/query/sql",
        "/catalog/datasets",
        "/catalog/datasets/by-name/{name}",
        "/catalog/views",
        "/catalog/views/{name}",
        "/catalog/profiles",
        "/plugins",
        "/plugins/{name}",
        "/truth/evaluate",
        "/journal/events",
        "/journal/stats",
        "/admin/keys",
        "/admin/grants",
        "/admin/grants/{id}",
    ] {
        assert!(known.contains(due), "{due} is not in the document");
    }
}

#[tokio::test]
async fn grants_decide_what_a_role_may_be_done_to() {
    let lake = Lake::start().await;
    for name in ["mine", "yours"] {
        lake.ingest(name, "id\n1\n").await.expect_ok();
    }
    lake.put_view("shown", "yours", &["id"], json!({})).await.expect_ok();
    let writer = lake.new_key("w", "writer", json!([{ "dataset": "mine", "verbs": ["read", "write"] }])).await;
    writer.ingest("mine", "id\n2\n").await.expect_status(201);
    writer.ingest("yours", "id\n2\n").await.expect_problem("forbidden");
    writer.ingest("another", "id\n2\n").await.expect_problem("forbidden");
    writer.bury("yours", "id", ["1"]).await.expect_problem("forbidden");
    writer.delete("/catalog/datasets/yours").await.expect_problem("forbidden");
    writer.sql("SELECT count(*) AS n FROM mine").await.expect_cell("n", 2);
    writer.sql("SELECT count(*) AS n FROM yours").await.expect_problem("unknown_table");
    writer.sql("SELECT count(*) AS n FROM __raw__mine").await.expect_any_problem();

    let viewer = lake.new_key("v", "reader", json!([{ "view": "shown", "verbs": ["read"] }])).await;
    viewer.sql("SELECT count(*) AS n FROM shown").await.expect_cell("n", 1);
    viewer.sql("SELECT count(*) AS n FROM yours").await.expect_problem("unknown_table");
    let reads_all = lake.new_key("d", "reader", json!([{ "dataset": "*", "verbs": ["read"] }])).await;
    reads_all.sql("SELECT count(*) AS n FROM yours").await.expect_cell("n", 1);
    reads_all.sql("SELECT count(*) AS n FROM __raw__yours").await.expect_any_problem();

    let operator = lake.new_key("o", "operator", json!([])).await;
    operator.sql("SELECT count(*) AS n FROM mine").await.expect_problem("unknown_table");
    operator.put_view("theirs", "mine", &["id"], json!({ "id": "hash" })).await.expect_status(201);
    operator.sql("SELECT count(*) AS n FROM theirs").await.expect_problem("unknown_table");
}

#[tokio::test]
async fn a_revoked_or_expired_key_is_refused_at_once_and_for_good() {
    let mut lake = Lake::start().await;
    let made = lake.post("/admin/keys", json!({ "name": "k", "role": "reader", "grants": [] })).await.expect_status(201);
    let (id, key) = (made["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned());
    lake.as_key(&key).sql("SELECT 1 AS n").await.expect_ok();
    let by_header =
        lake.nobody().request(Method::POST, "/query/sql").header("X-API-Key", &key).json(&json!({ "sql": "SELECT 1 AS n" }));
    lake.send(by_header).await.expect_cell("n", 1);

    lake.delete(&format!("/admin/keys/{id}")).await.expect_ok();
    lake.as_key(&key).sql("SELECT 1 AS n").await.expect_problem("unauthenticated");
    lake.kill_and_restart().await;
    lake.as_key(&key).sql("SELECT 1 AS n").await.expect_problem("unauthenticated");
    lake.delete("/admin/keys/nothing").await.expect_problem("unknown_key");

    let past = json!({ "name": "p", "role": "reader", "grants": [], "expires_at": "2020-01-01T00:00:00Z" });
    let answer = lake.post("/admin/keys", past).await;
    if answer.status == 201 {
        lake.as_key(answer.json()["key"].as_str().unwrap()).sql("SELECT 1 AS n").await.expect_problem("unauthenticated");
    } else {
        answer.expect_any_problem();
    }
}

/// T-61
#[tokio::test]
async fn no_key_stands_in_plain_text_anywhere() {
    let mut lake = Lake::start().await;
    let made = lake.post("/admin/keys", json!({ "name": "k", "role": "reader", "grants": [] })).await.expect_status(201);
    let key = made["key"].as_str().unwrap().to_owned();
    // `lk`, an id, the secret, which may have underscores too.
    let secret = key.splitn(3, '_').nth(2).unwrap().to_owned();
    assert!(secret.len() >= 22, "at least 128 bits: {} characters", secret.len());
    lake.as_key(&key).sql("SELECT 1 AS n").await.expect_ok();
    lake.as_key(&format!("{key}x")).sql("SELECT 1 AS n").await.expect_problem("unauthenticated");
    let listed = lake.get("/admin/keys").await.text() + &lake.get("/journal/events").await.text();
    assert!(!listed.contains(&secret));
    lake.stop_and_restart().await;
    let mut read = 0;
    for needle in [secret.as_bytes(), crate::lake::ADMIN_KEY.as_bytes()] {
        read += search(lake.folder(), needle);
    }
    assert!(read > 10_000, "there was something to search: {read} bytes");
}

/// Panics when a file holds the needle; returns how many bytes were read.
fn search(folder: &Path, needle: &[u8]) -> usize {
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            read += search(&path, needle);
        } else if let Ok(bytes) = std::fs::read(&path) {
            assert!(!bytes.windows(needle.len()).any(|window| window == needle), "a key in {}", path.display());
            read += bytes.len();
        }
    }
    read
}

#[tokio::test]
async fn a_key_that_cannot_be_is_refused() {
    let lake = Lake::start().await;
    for (what, body) in [
        ("a role that is none", json!({ "name": "k", "role": "owner", "grants": [] })),
        ("a verb that is none", json!({ "name": "k", "role": "reader", "grants": [{ "dataset": "t", "verbs": ["own"] }] })),
        ("a grant on nothing", json!({ "name": "k", "role": "reader", "grants": [{ "verbs": ["read"] }] })),
        ("a name that is none", json!({ "name": "K k", "role": "reader", "grants": [] })),
        ("an unknown field", json!({ "name": "k", "role": "reader", "grant": [] })),
        ("a time that is none", json!({ "name": "k", "role": "reader", "expires_at": "tomorrow" })),
        ("a profile that does not exist", json!({ "name": "k", "role": "reader", "default_profile": "nope", "profiles": [] })),
    ] {
        let answer = lake.post("/admin/keys", body).await;
        answer.expect_any_problem();
        assert!((400..500).contains(&answer.status), "{what}: {}", answer.text());
    }
    let listed: Vec<Value> = lake.get("/admin/keys").await.expect_ok()["keys"].as_array().unwrap().clone();
    assert_eq!(listed.len(), 1, "{listed:?}");
}

/// S-A4: who asks for what is not theirs leaves a trace, and the same one whether or not there is anything of that name.
#[tokio::test]
async fn a_denied_statement_is_in_the_journal_and_does_not_confirm_a_name() {
    let lake = Lake::start().await;
    lake.ingest("people", "id\n1\n").await.expect_ok();
    let mut traces = Vec::new();
    for (key, name) in [("nosy", "people"), ("curious", "nothing")] {
        let reader = lake.new_key(key, "reader", json!([])).await;
        reader.sql(&format!("SELECT id FROM {name}")).await.expect_problem("unknown_table");
        for events in [
            reader.get("/journal/events").await.expect_ok(),
            lake.get(&format!("/journal/events?kind=denied&actor={key}")).await.expect_ok(),
        ] {
            let events = events["events"].as_array().unwrap().clone();
            assert_eq!(events.len(), 1, "{events:?}");
            let denial = json!({ "what": format!("read {name}"), "code": "unknown_table", "count": 1 });
            assert_eq!(events[0]["details"]["denials"], json!([denial]));
            traces.push(events[0]["details"].to_string().replace(name, "NAME"));
        }
    }
    traces.dedup();
    assert_eq!(traces.len(), 1, "{traces:?}");
}

#[tokio::test]
async fn an_admin_key_of_the_environment_that_is_not_taken_is_told_of() {
    let mut lake = Lake::start().await;
    assert!(!lake.log().contains("LAKEHOUSE_ADMIN_KEY was ignored"));
    let other = "another-key-of-the-environment-0123456789";
    lake.restart(vec![("LAKEHOUSE_ADMIN_KEY".into(), other.into())]);
    lake.get("/admin/keys").await.expect_ok();
    lake.as_key(other).get("/admin/keys").await.expect_problem("unauthenticated");
    let log = lake.log();
    assert!(log.contains("LAKEHOUSE_ADMIN_KEY was ignored: an admin key is in force already"), "{log}");
    assert!(!log.contains(other));
}
