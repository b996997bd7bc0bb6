//! Keys that end while work goes on for them, and the way back in when the last one is lost.

use std::time::Duration;

use axum::{body::Body, extract::Request};
use bytes::Bytes;
use futures::{SinkExt, StreamExt, channel::mpsc};
use http::Method;
use lakehouse_settings::{BucketSettings, Settings};
use lakehouse_types::BucketName;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

use super::{ADMIN, Lake};

/// Less than a query's deadline.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

impl Lake {
    /// The id and the text of a new key.
    pub(super) async fn key_and_id(&self, body: Value) -> (String, String) {
        let made = self.post("/admin/keys", body).await.expect(201);
        (made["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned())
    }

    pub(super) async fn revoke(&self, id: &str) {
        self.call(ADMIN, Method::DELETE, &format!("/admin/keys/{id}"), None).await.expect(204);
    }

    /// A lake with enough rows to join, and no limit to an answer of them.
    pub(super) async fn with_numbers(change: impl FnOnce(&mut Settings)) -> Self {
        let lake = Self::start_with(|settings| {
            settings.query.max_rows = u64::MAX;
            change(settings);
        })
        .await;
        let numbers: String = (0..2_000).map(|id| format!("{id}\n")).collect();
        lake.ingest("dataset=numbers", &format!("id\n{numbers}")).await.expect(201);
        lake
    }

    /// An answer of more rows than anybody reads.
    pub(super) async fn endless_rows(&self, key: &str, accept: &str) -> axum::body::BodyDataStream {
        let body = json!({"sql": "SELECT a.id FROM numbers a CROSS JOIN numbers b CROSS JOIN numbers c"});
        let request = Request::post("/query/sql")
            .header("x-api-key", key)
            .header("content-type", "application/json")
            .header("accept", accept)
            .body(Body::from(body.to_string()));
        let response = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().into_data_stream()
    }
}

#[tokio::test]
async fn a_file_that_is_whole_only_after_its_key_has_ended_is_not_written() {
    let lake = Lake::start().await;
    let grants = json!([{"dataset": "*", "verbs": ["write"]}]);
    let (id, key) = lake.key_and_id(json!({"name": "wanda", "role": "writer", "grants": grants})).await;
    let (mut send, receive) = mpsc::channel::<Result<Bytes, std::io::Error>>(0);
    let request = Request::post("/ingest/file?dataset=late").header("x-api-key", &key).header("content-type", "text/csv");
    let answer = tokio::spawn(lake.router.clone().oneshot(request.body(Body::from_stream(receive)).unwrap()));
    for line in ["id\n", "1\n", "2\n"] {
        // The one before has been taken: the upload was let in.
        timeout(PATIENCE, send.send(Ok(line.into()))).await.expect("the body is read").unwrap();
    }
    lake.revoke(&id).await;
    drop(send);
    let response = timeout(PATIENCE, answer).await.expect("an answer").unwrap().unwrap();
    assert_eq!(response.status(), 401);
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["detail"], "the key was revoked or has expired meanwhile");
    assert_eq!(lake.get("/catalog/datasets").await.expect(200)["datasets"], json!([]));
    let denied = lake.get("/journal/events?kind=denied&actor=wanda").await.expect(200);
    assert_eq!(denied["events"][0]["details"]["denials"][0]["what"], "write dataset late", "{denied}");
}

#[tokio::test]
async fn a_small_body_that_comes_after_its_key_has_ended_changes_nothing() {
    let lake = Lake::start().await;
    let (id, key) = lake.key_and_id(json!({"name": "otto", "role": "operator"})).await;
    let (mut send, receive) = mpsc::channel::<Result<Bytes, std::io::Error>>(0);
    let request = Request::post("/catalog/profiles").header("x-api-key", &key).header("content-type", "application/json");
    let answer = tokio::spawn(lake.router.clone().oneshot(request.body(Body::from_stream(receive)).unwrap()));
    for part in ["{\"id\"", ": \"late\"", "}"] {
        timeout(PATIENCE, send.send(Ok(part.into()))).await.expect("the body is read").unwrap();
    }
    lake.revoke(&id).await;
    drop(send);
    assert_eq!(timeout(PATIENCE, answer).await.expect("an answer").unwrap().unwrap().status(), 401);
    lake.get("/catalog/profiles/late").await.expect_problem(404, "unknown_profile");
}

/// The last line of an answer as NDJSON, which ends before its query's deadline.
pub(super) async fn last_word(mut lines: axum::body::BodyDataStream) -> Value {
    let last = async {
        let mut last = Bytes::new();
        while let Some(chunk) = lines.next().await {
            last = chunk.unwrap();
        }
        last
    };
    let last = timeout(PATIENCE, last).await.expect("the answer ends before the query's deadline");
    serde_json::from_slice(last.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).unwrap()).unwrap()
}

#[tokio::test]
async fn rows_end_when_their_key_does() {
    let lake = Lake::with_numbers(|_| {}).await;
    let grants = json!([{"dataset": "*", "verbs": ["read"]}]);
    let (id, key) = lake.key_and_id(json!({"name": "rita", "role": "reader", "grants": grants})).await;

    let mut lines = lake.endless_rows(&key, "application/x-ndjson").await;
    let mut csv = lake.endless_rows(&key, "text/csv").await;
    assert!(lines.next().await.unwrap().is_ok() && csv.next().await.unwrap().is_ok());
    lake.revoke(&id).await;
    assert_eq!(last_word(lines).await["error"]["code"], "unauthenticated");
    let broken = async { while csv.next().await.expect("it is not whole").is_ok() {} };
    timeout(PATIENCE, broken).await.expect("a form that cannot say it breaks off");
    let denied = lake.get("/journal/events?kind=denied&actor=rita").await.expect(200);
    assert_eq!(denied["events"][0]["details"]["denials"][0]["what"], "read on", "{denied}");
}

#[tokio::test]
async fn rows_go_on_where_keys_are_switched_off() {
    let lake = Lake::with_numbers(|settings| settings.auth.enabled = false).await;
    let mut rows = lake.endless_rows(ADMIN, "text/csv").await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2_500) {
        rows.next().await.expect("there is more").unwrap();
    }
}

#[tokio::test]
async fn a_lost_admin_key_is_replaced_while_keys_are_switched_off() {
    let folder = tempfile::tempdir().unwrap();
    let stored = |settings: &mut Settings| {
        let bucket = BucketSettings::Local { path: folder.path().join("data") };
        settings.buckets.insert(BucketName::primary(), bucket);
    };
    let end = async |lake: Lake| lake.engine().shutdown().await.unwrap();
    let lake = Lake::start_with(stored).await;
    let lost = lake.get("/admin/keys").await.expect(200)["keys"][0]["id"].as_str().unwrap().to_owned();
    end(lake).await;

    let open = Lake::start_with(|settings| {
        stored(settings);
        settings.auth.enabled = false;
    })
    .await;
    let made = open.call("", Method::POST, "/admin/keys", Some(&json!({"name": "rescue", "role": "admin"}))).await.expect(201);
    let rescue = made["key"].as_str().unwrap().to_owned();
    open.call("", Method::DELETE, &format!("/admin/keys/{lost}"), None).await.expect(204);
    end(open).await;

    let closed = Lake::start_with(stored).await;
    closed.call(&rescue, Method::GET, "/admin/keys", None).await.expect(200);
    closed.get("/admin/keys").await.expect_problem(401, "unauthenticated");
    end(closed).await;
}
