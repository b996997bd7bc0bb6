//! Grants that come and go while their key stays, and what the access file has to do with it.

use std::{fs, time::Duration};

use bytes::Bytes;
use futures::{SinkExt, StreamExt, channel::mpsc};
use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

use super::{
    ADMIN, Lake,
    keys::{PATIENCE, last_word},
};

const ASK: &str = "SELECT count(*) AS n FROM people";

impl Lake {
    async fn grant(&self, key: &str, grant: Value) -> Value {
        let given = self.post("/admin/grants", json!({"key": key, "grant": grant})).await;
        assert!(given.status == 200 || given.status == 201, "{}", given.text);
        given.json()
    }

    async fn take_back(&self, id: &Value) {
        self.call(ADMIN, Method::DELETE, &format!("/admin/grants/{}", id.as_str().unwrap()), None).await.expect(204);
    }

    async fn ask_as(&self, key: &str, sql: &str) -> super::Reply {
        self.call(key, Method::POST, "/query/sql", Some(&json!({"sql": sql}))).await
    }

    async fn await_in_force(&self, holds: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let listed = self.get("/admin/grants").await.expect(200);
            if holds(&listed) {
                return listed;
            }
            assert!(began.elapsed() < PATIENCE, "{listed}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn reads(name: &str) -> Value {
    json!({"dataset": name, "verbs": ["read"]})
}

#[tokio::test]
async fn a_grant_is_given_and_taken_back_without_a_new_key() {
    let lake = Lake::start().await;
    lake.ingest("dataset=people", "id\n1\n").await.expect(201);
    let (id, key) = lake.key_and_id(json!({"name": "rita", "role": "reader"})).await;
    lake.ask_as(&key, ASK).await.expect_problem(400, "unknown_table");

    let body = json!({"key": "rita", "grant": reads("people")});
    let given = lake.post("/admin/grants", body.clone()).await.expect(201);
    assert_eq!((&given["key"], &given["key_name"], &given["origin"]), (&json!(id), &json!("rita"), &json!("key")));
    lake.ask_as(&key, ASK).await.expect(200);
    assert_eq!(lake.post("/admin/grants", body).await.expect(200), given, "given twice, it is one");

    let listed = lake.get("/admin/grants?key=rita").await.expect(200);
    assert_eq!(listed["grants"], json!([given]));
    assert_eq!(lake.get(&format!("/admin/grants?key={id}&limit=1")).await.expect(200)["grants"], json!([given]));
    assert_eq!((&listed["file"]["name"], &listed["file"]["grants"]), (&json!("access.toml"), &json!(0)));
    lake.take_back(&given["id"]).await;
    lake.ask_as(&key, ASK).await.expect_problem(400, "unknown_table");
    let path = format!("/admin/grants/{}", given["id"].as_str().unwrap());
    lake.call(ADMIN, Method::DELETE, &path, None).await.expect_problem(404, "unknown_grant");

    let told = lake.get("/journal/events?kind=grant_remove").await.expect(200);
    let event = &told["events"][0];
    assert_eq!((&event["actor"], &event["subject"]), (&json!("admin"), &json!(id)));
    assert_eq!((&event["details"]["name"], &event["details"]["grant"]), (&json!("rita"), &reads("people")));
    assert_eq!(lake.get("/journal/events?kind=grant_add").await.expect(200)["events"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_grant_that_cannot_be_is_told_why() {
    let lake = Lake::start().await;
    let (id, _) = lake.key_and_id(json!({"name": "rita", "role": "reader"})).await;
    let give = async |key: &str, grant: Value| lake.post("/admin/grants", json!({"key": key, "grant": grant})).await;
    give("nobody", reads("people")).await.expect_problem(404, "unknown_key");
    give("Rita", reads("people")).await.expect_problem(400, "invalid_body");
    give("rita", json!({"dataset": "people"})).await.expect_problem(400, "invalid_body");
    let told = give("rita", json!({"dataset": "people", "verb": ["read"], "verbs": ["read"]})).await;
    assert!(told.expect_problem(400, "invalid_body")["detail"].as_str().unwrap().contains("verb"));
    give("rita", json!({"view": "v", "verbs": ["write"]})).await.expect_problem(422, "invalid_definition");
    lake.get("/admin/grants?key=nobody").await.expect_problem(404, "unknown_key");
    lake.get("/admin/grants?after=x").await.expect_problem(400, "invalid_parameter");
    lake.get("/admin/grants?name=rita").await.expect_problem(400, "invalid_parameter");
    lake.call(ADMIN, Method::DELETE, "/admin/grants/x", None).await.expect_problem(400, "invalid_name");
    lake.revoke(&id).await;
    give("rita", reads("people")).await.expect_problem(422, "invalid_definition");
}

#[tokio::test]
async fn rows_end_when_a_grant_of_their_key_is_taken_back() {
    let lake = Lake::with_numbers(|_| {}).await;
    let (_, key) = lake.key_and_id(json!({"name": "rita", "role": "reader"})).await;
    let given = lake.grant("rita", reads("numbers")).await;
    let mut lines = lake.endless_rows(&key, "application/x-ndjson").await;
    assert!(lines.next().await.unwrap().is_ok());
    lake.grant("rita", reads("*")).await;
    lake.take_back(&given["id"]).await;
    assert!(lines.next().await.unwrap().is_ok(), "the other grant permits the same");
    let wide = lake.get("/admin/grants?key=rita").await.expect(200)["grants"][0]["id"].clone();
    lake.take_back(&wide).await;
    assert_eq!(last_word(lines).await["error"]["code"], "forbidden");
    let denied = lake.get("/journal/events?kind=denied&actor=rita").await.expect(200);
    assert_eq!(denied["events"][0]["details"]["denials"][0]["what"], "read on", "{denied}");
}

/// T-61: also one that has shown no row yet.
#[tokio::test]
async fn a_query_that_still_computes_ends_with_its_key() {
    let lake = Lake::with_numbers(|_| {}).await;
    let (id, key) = lake.key_and_id(json!({"name": "rita", "role": "reader", "grants": [reads("numbers")]})).await;
    let sql = "SELECT count(*) AS n FROM numbers a, numbers b, numbers c, numbers d WHERE a.id + b.id + c.id + d.id > 3";
    let request = axum::extract::Request::post("/query/sql")
        .header("x-api-key", &key)
        .header("content-type", "application/json")
        .body(axum::body::Body::from(json!({"sql": sql}).to_string()));
    let answer = tokio::spawn(lake.router.clone().oneshot(request.unwrap()));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!answer.is_finished(), "it computes");
    lake.revoke(&id).await;
    let response = timeout(PATIENCE, answer).await.expect("an answer before the deadline").unwrap().unwrap();
    assert_eq!(response.status(), 401);
}

#[tokio::test]
async fn a_file_that_is_whole_only_after_its_grant_was_taken_back_is_not_written() {
    let lake = Lake::start().await;
    let (_, key) = lake.key_and_id(json!({"name": "wanda", "role": "writer"})).await;
    let given = lake.grant("wanda", json!({"dataset": "late", "verbs": ["write"]})).await;
    let (mut send, receive) = mpsc::channel::<Result<Bytes, std::io::Error>>(0);
    let request =
        axum::extract::Request::post("/ingest/file?dataset=late").header("x-api-key", &key).header("content-type", "text/csv");
    let answer = tokio::spawn(lake.router.clone().oneshot(request.body(axum::body::Body::from_stream(receive)).unwrap()));
    for line in ["id\n", "1\n", "2\n"] {
        timeout(PATIENCE, send.send(Ok(line.into()))).await.expect("the body is read").unwrap();
    }
    lake.take_back(&given["id"]).await;
    drop(send);
    let response = timeout(PATIENCE, answer).await.expect("an answer").unwrap().unwrap();
    assert_eq!(response.status(), 403);
    assert_eq!(lake.get("/catalog/datasets").await.expect(200)["datasets"], json!([]));
}

#[tokio::test]
async fn an_upload_that_pauses_ends_with_its_key() {
    let lake = Lake::start().await;
    let grants = json!([{"dataset": "*", "verbs": ["write"]}]);
    let (id, key) = lake.key_and_id(json!({"name": "wanda", "role": "writer", "grants": grants})).await;
    let (mut send, receive) = mpsc::channel::<Result<Bytes, std::io::Error>>(0);
    let request =
        axum::extract::Request::post("/ingest/file?dataset=late").header("x-api-key", &key).header("content-type", "text/csv");
    let answer = tokio::spawn(lake.router.clone().oneshot(request.body(axum::body::Body::from_stream(receive)).unwrap()));
    for line in ["id\n", "1\n"] {
        timeout(PATIENCE, send.send(Ok(line.into()))).await.expect("the body is read").unwrap();
    }
    lake.revoke(&id).await;
    let response = timeout(PATIENCE, answer).await.expect("an answer, though the body is open").unwrap().unwrap();
    assert_eq!(response.status(), 401);
    let denied = lake.get("/journal/events?kind=denied&actor=wanda").await.expect(200);
    assert_eq!(denied["events"][0]["details"]["denials"][0]["what"], "write dataset late", "{denied}");
}

#[tokio::test]
async fn the_access_file_applies_when_it_is_saved_and_owns_what_it_grants() {
    let lake = Lake::start_with(|settings| settings.auth.poll = Duration::from_millis(50)).await;
    let file = lake.engine().settings().auth.access_file.clone();
    lake.ingest("dataset=people", "id\n1\n").await.expect(201);
    let (_, key) = lake.key_and_id(json!({"name": "rita", "role": "reader"})).await;
    let group = "[[group]]\nname = \"analysts\"\nkeys = [\"rita\", \"later\"]\n\
                 grants = [{ dataset = \"people\", verbs = [\"read\"] }]\n";
    fs::write(&file, group).unwrap();
    let listed = lake.await_in_force(|listed| listed["file"]["grants"] == 2).await;
    assert_eq!(listed["file"]["unknown_keys"], json!(["later"]));
    let given = &listed["grants"].as_array().unwrap().iter().find(|grant| grant["origin"] == "file").unwrap();
    assert_eq!((&given["group"], &given["key_name"]), (&json!("analysts"), &json!("rita")));
    lake.ask_as(&key, ASK).await.expect(200);
    let path = format!("/admin/grants/{}", given["id"].as_str().unwrap());
    let told = lake.call(ADMIN, Method::DELETE, &path, None).await.expect_problem(409, "owned_by_file");
    assert_eq!(told["file"], "access.toml", "{told}");
    let later = lake.key(json!({"name": "later", "role": "reader"})).await;
    lake.ask_as(&later, ASK).await.expect(200);
    let rita = lake.get("/admin/keys").await.expect(200);
    let rita = rita["keys"].as_array().unwrap().iter().find(|key| key["name"] == "rita").unwrap().clone();
    assert_eq!(rita["grants"], json!([reads("people")]));

    fs::write(&file, group.replace("verbs", "verb")).unwrap();
    let listed = lake.await_in_force(|listed| listed["file"].get("error").is_some()).await;
    let error = listed["file"]["error"].as_str().unwrap();
    assert!(error.contains("access.toml:4: unknown field `verb`") && listed["file"]["grants"] == 2, "{listed}");
    assert!(lake.get("/metrics").await.text.contains("lakehouse_access_file_refused 1"));
    lake.ask_as(&key, ASK).await.expect(200);

    fs::write(&file, "").unwrap();
    lake.await_in_force(|listed| listed["file"]["grants"] == 0).await;
    lake.ask_as(&key, ASK).await.expect_problem(400, "unknown_table");
    let began = Instant::now();
    let events = loop {
        let events = lake.get("/journal/events?kind=access_reload").await.expect(200)["events"].clone();
        if events.as_array().unwrap().len() == 2 {
            break events;
        }
        assert!(began.elapsed() < PATIENCE, "{events}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((&events[0]["actor"], &events[0]["details"]["changed_keys"]), (&json!("access-file"), &json!(["rita"])));
    assert_eq!(events[1]["details"]["changed_count"], 2, "{events}");
}

#[tokio::test]
async fn a_key_tells_when_it_was_last_used() {
    let lake = Lake::start().await;
    let (id, key) = lake.key_and_id(json!({"name": "rita", "role": "reader"})).await;
    let last = async || {
        let keys = lake.get("/admin/keys").await.expect(200);
        keys["keys"].as_array().unwrap().iter().find(|key| key["id"] == id.as_str()).unwrap().get("last_used_at").cloned()
    };
    assert_eq!(last().await, None);
    lake.call(&format!("{key}x"), Method::GET, "/catalog/views", None).await.expect_problem(401, "unauthenticated");
    assert_eq!(last().await, None, "whoever is turned away used nothing");
    lake.call(&key, Method::GET, "/catalog/views", None).await.expect(200);
    let at = last().await.expect("it was used");
    assert!(chrono::DateTime::parse_from_rfc3339(at.as_str().unwrap()).is_ok(), "{at}");
}

/// S-A4: however much is asked for without a grant, an actor's minute is two events.
#[tokio::test]
async fn what_grants_deny_is_gathered_by_key_and_minute() {
    let lake = Lake::start().await;
    lake.ingest("dataset=people", "id\n1\n").await.expect(201);
    let (_, nosy) = lake.key_and_id(json!({"name": "nosy", "role": "writer"})).await;
    for n in 0..40 {
        lake.ask_as(&nosy, ASK).await.expect_problem(400, "unknown_table");
        lake.ask_as(&nosy, &format!("SELECT 1 FROM other_{n}")).await.expect_problem(400, "unknown_table");
        lake.ingest_as(&nosy, "dataset=people", "id\n2\n").await.expect_problem(403, "forbidden");
        lake.call(&nosy, Method::GET, "/admin/grants", None).await.expect_problem(403, "forbidden");
    }
    let denied = lake.get("/journal/events?kind=denied&actor=nosy").await.expect(200);
    let events = denied["events"].as_array().unwrap();
    assert!((1..=4).contains(&events.len()), "the minute may have changed meanwhile: {denied}");
    assert_eq!(events[0]["details"]["denials"], json!([{"what": "read people", "code": "unknown_table", "count": 1}]));
}
