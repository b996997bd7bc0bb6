//! Connections: what a client may do to them, and what becomes of them.

use super::*;

#[tokio::test]
async fn the_listener_bounds_heads_bodies_and_connections_and_drains() {
    let lake = Lake::start_with(|settings| {
        settings.server.header_timeout = std::time::Duration::from_millis(300);
        settings.server.body_idle_timeout = std::time::Duration::from_millis(300);
        settings.server.max_connections = 16;
    })
    .await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let engine = lake.engine();
    let served = tokio::spawn(crate::serve(engine.clone(), listener, async {
        let _ = stopped.await;
    }));

    let mut slow_head = TcpStream::connect(address).await.unwrap();
    slow_head.write_all(b"GET /health HTT").await.unwrap();
    let answer = read_to_end(&mut slow_head).await;
    assert!(!answer.contains("200 OK"), "{answer}");

    let mut slow_body = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /ingest/file?dataset=slow HTTP/1.1\r\nHost: x\r\nX-API-Key: {ADMIN}\r\nContent-Type: text/csv\r\nContent-Length: 100\r\n\r\nid\n"
    );
    slow_body.write_all(head.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut slow_body).await;
    assert!(answer.contains("application/problem+json") && answer.contains("too slowly"), "{answer}");

    // Idle connections make room for the next one.
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let mut next = TcpStream::connect(address).await.unwrap();
    next.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(read_to_end(&mut next).await.starts_with("HTTP/1.1 200 OK"));

    drop(idle);
    stop.send(()).unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(10), served).await.expect("the server drains").unwrap().unwrap();
    assert!(!engine.is_ready());
    engine.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_query() {
    let lake = Lake::start().await;
    let rows: String = (0..2_000).map(|id| format!("{id}\n")).collect();
    lake.ingest("dataset=numbers", &format!("id\n{rows}")).await.expect(201);
    let sql = "SELECT a.id FROM numbers a CROSS JOIN numbers b CROSS JOIN numbers c";
    let request = Request::post("/query/sql")
        .header("x-api-key", ADMIN)
        .header("content-type", "application/json")
        .header("accept", "text/csv")
        .body(Body::from(json!({ "sql": sql }).to_string()));
    let response = lake.router.clone().oneshot(request.unwrap()).await.unwrap();
    let mut chunks = response.into_body().into_data_stream();
    assert!(chunks.next().await.unwrap().is_ok());
    drop(chunks);
    let metrics = || async { lake.get("/metrics").await.text };
    let rows = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("lakehouse_query_rows_total")).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let stands_still = async {
        let mut before = rows(&metrics().await);
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            let now = rows(&metrics().await);
            if (now - before).abs() < f64::EPSILON {
                return;
            }
            before = now;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), stands_still).await.expect("the query does not run on");
}
