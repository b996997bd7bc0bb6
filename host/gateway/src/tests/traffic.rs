//! Bodies in and answers out: slow ones, repeated ones, misshapen ones.

use std::{convert::Infallible, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    middleware,
    routing::post,
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::Method;
use lakehouse_engine::Action;
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tower::ServiceExt;

use super::{ADMIN, Lake, read_to_end};
use crate::{
    credentials::Basic,
    envelope,
    guard::{self, Rule},
    route::{Access, Load},
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A body that begins and never ends.
fn endless(begins: &'static str) -> Body {
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(begins.as_bytes()))]);
    Body::from_stream(first.chain(stream::pending()))
}

#[tokio::test]
async fn slow_uploads_hold_up_nobody() {
    let lake = Lake::start_with(|settings| settings.ingest.concurrency = 2).await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        let request = Request::post("/ingest/file?dataset=slow").header("x-api-key", ADMIN).header("content-type", "text/csv");
        slow.push(tokio::spawn(lake.router.clone().oneshot(request.body(endless("id\n1\n")).unwrap())));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    timeout(PATIENCE, lake.ingest("dataset=fast", "id\n1\n")).await.expect("a turn is free").expect(201);
    for upload in slow {
        assert!(!upload.is_finished());
        upload.abort();
    }
}

#[tokio::test]
async fn one_writers_slow_uploads_shut_out_nobody_else() {
    let lake = Lake::start_with(|settings| settings.ingest.concurrency = 1).await;
    let grants = json!([{"dataset": "*", "verbs": ["write"]}]);
    let writer = lake.key(json!({"name": "wanda", "role": "writer", "grants": grants})).await;
    let mut slow = Vec::new();
    // As many as there are places for all.
    for _ in 0..16 {
        let request = Request::post("/ingest/file?dataset=slow").header("x-api-key", &writer).header("content-type", "text/csv");
        slow.push(tokio::spawn(lake.router.clone().oneshot(request.body(endless("id\n1\n")).unwrap())));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    timeout(PATIENCE, lake.ingest("dataset=fast", "id\n1\n")).await.expect("a place is free").expect(201);
    for upload in slow {
        assert!(!upload.is_finished());
        upload.abort();
    }
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_told_whether_anything_was_begun() {
    let lake = Lake::start_with(|settings| settings.server.request_timeout = Duration::from_millis(300)).await;
    for path in ["/catalog/views", "/query/sql"] {
        let request = Request::post(path).header("x-api-key", ADMIN).header("content-type", "application/json");
        let reply = timeout(PATIENCE, lake.send(request.body(endless("{")).unwrap())).await.expect("an answer");
        assert_eq!((reply.headers.get("retry-after"), &reply.headers["connection"]), (None, &"close".parse().unwrap()));
        let told = reply.expect_problem(400, "invalid_body");
        assert!(told["detail"].as_str().unwrap().contains("too slowly"), "{told}");
    }

    let rule = Rule { access: Access::May(Action::ManageViews), load: Load::Small, basic: Basic::Ignored };
    let slow = post(async |_: Bytes| std::future::pending::<()>().await)
        .layer(middleware::from_fn_with_state((lake.app.clone(), rule), guard::guard))
        .layer(middleware::from_fn_with_state(lake.app.clone(), envelope::envelope));
    let request = Request::post("/slow").header("x-api-key", ADMIN).body(Body::from("{}")).unwrap();
    let response = timeout(PATIENCE, Router::new().route("/slow", slow).oneshot(request)).await.expect("an answer").unwrap();
    assert_eq!((response.status().as_u16(), response.headers().get("retry-after")), (503, None));
    let problem: Value = serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap();
    assert_eq!((&problem["code"], &problem["action"]), (&json!("outcome_unknown"), &json!("check_outcome")));
}

#[tokio::test]
async fn a_form_is_not_read_for_who_may_not_write() {
    let lake = Lake::start().await;
    let grants = json!([{"dataset": "mine", "verbs": ["write"]}]);
    let writer = lake.key(json!({"name": "wanda", "role": "writer", "grants": grants})).await;
    let request = Request::post("/ingest/file?dataset=yours")
        .header("x-api-key", writer)
        .header("content-type", "multipart/form-data; boundary=x")
        .body(endless("--x\r\n"));
    let reply = timeout(PATIENCE, lake.send(request.unwrap())).await.expect("nobody waits for the form");
    reply.expect_problem(403, "forbidden");
}

#[tokio::test]
async fn a_repeated_ingest_is_counted_once() {
    let lake = Lake::start().await;
    let send = async |key: &'static str| {
        let request = Request::post("/ingest/file?dataset=people")
            .header("x-api-key", ADMIN)
            .header("content-type", "text/csv")
            .header("idempotency-key", key)
            .body(Body::from("id\n1\n2\n"));
        lake.send(request.unwrap()).await.expect(201)["version"].clone()
    };
    let counted = async || {
        let metrics = lake.get("/metrics").await.text;
        let line = metrics.lines().find(|line| line.starts_with("lakehouse_ingest_rows_total")).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    let version = send("one").await;
    assert_eq!(counted().await, "2");
    assert_eq!(send("one").await, version);
    assert_eq!(counted().await, "2");
    assert_ne!(send("two").await, version);
    assert_eq!(counted().await, "4");
    assert_eq!(send("one").await, version);
    assert_eq!(counted().await, "4");
}

#[tokio::test]
async fn a_body_that_may_be_left_out_is_held_to_the_same_rules() {
    let lake = Lake::start().await;
    for verb in ["rollback", "enable", "disable"] {
        let path = format!("/plugins/mask/{verb}");
        lake.call(ADMIN, Method::POST, &path, None).await.expect_problem(404, "unknown_plugin");
        lake.post(&path, json!({})).await.expect_problem(404, "unknown_plugin");
        let told = lake.post(&path, json!({"two": 1})).await.expect_problem(400, "invalid_body");
        assert!(told["detail"].as_str().unwrap().contains("`two`"), "{told}");
        let text = Request::post(&path).header("x-api-key", ADMIN).header("content-type", "text/plain").body(Body::from("{}"));
        let told = lake.send(text.unwrap()).await.expect_problem(400, "invalid_body");
        assert!(told["detail"].as_str().unwrap().contains("application/json"), "{told}");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_broken_off() {
    let lake = Lake::start_with(|settings| settings.server.answer_idle_timeout = Duration::from_millis(300)).await;
    // More than sockets hold.
    let rows: String = (0..2_000).map(|id| format!("{id}{}\n", "x".repeat(200))).collect();
    lake.ingest("dataset=wide", &format!("id\n{rows}")).await.expect(201);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(crate::serve(lake.engine(), listener, std::future::pending()));

    let body = json!({"sql": "SELECT a.id FROM wide a CROSS JOIN wide b"}).to_string();
    let head = format!(
        "POST /query/sql HTTP/1.1\r\nHost: x\r\nX-API-Key: {ADMIN}\r\nContent-Type: application/json\r\nAccept: text/csv\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut deaf = TcpStream::connect(address).await.unwrap();
    deaf.write_all((head + &body).as_bytes()).await.unwrap();
    let connections = async || {
        let mut probe = TcpStream::connect(address).await.unwrap();
        let head = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX-API-Key: {ADMIN}\r\nConnection: close\r\n\r\n");
        probe.write_all(head.as_bytes()).await.unwrap();
        let text = read_to_end(&mut probe).await;
        let line = text.lines().find(|line| line.starts_with("lakehouse_http_connections")).unwrap();
        line.rsplit(' ').next().unwrap().trim().to_owned()
    };
    let alone = async {
        while connections().await != "1" {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    // Sooner than an idle connection would be closed.
    timeout(Duration::from_secs(8), alone).await.expect("only the probe's own connection is left");
    drop(deaf);
    served.abort();
}

#[tokio::test]
async fn what_comes_before_a_break_arrives() {
    let lake = Lake::start().await;
    lake.ingest("dataset=numbers", "id\n1\n2\n").await.expect(201);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(crate::serve(lake.engine(), listener, std::future::pending()));
    // CSV has no place for the marker of a cut answer.
    let body = json!({"sql": "SELECT 7 AS seven FROM numbers", "max_rows": 1}).to_string();
    for _ in 0..20 {
        let mut client = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /query/sql HTTP/1.1\r\nHost: x\r\nX-API-Key: {ADMIN}\r\nContent-Type: application/json\r\nAccept: text/csv\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        client.write_all((head + &body).as_bytes()).await.unwrap();
        let text = read_to_end(&mut client).await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("seven\r\n7\r\n"), "{text:?}");
        assert!(!text.ends_with("0\r\n\r\n"), "it looks whole: {text:?}");
    }
    served.abort();
}
