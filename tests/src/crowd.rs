//! T-63: ten thousand idle connections, slow heads, slow bodies, endless bodies and zip bombs are bounded, and others are served.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::lake::{ADMIN_KEY, Lake, Options};

const IDLE: usize = 10_000;
/// What idle connections and attacks may cost the server, beyond what it held before.
const MORE_MEMORY_KIB: u64 = 600 * 1024;
/// Others are answered, on a machine that does more than this.
const SERVED_WITHIN: Duration = Duration::from_secs(5);

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number")
}

async fn others_are_served(lake: &Lake) {
    let began = Instant::now();
    assert_eq!(lake.sql("SELECT count(*) AS n FROM people").await.expect_ok()["rows"][0]["n"], 2);
    assert!(began.elapsed() < SERVED_WITHIN, "{:?}", began.elapsed());
}

fn address(lake: &Lake) -> String {
    lake.url.strip_prefix("http://").expect("plain HTTP").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_and_slow_clients_are_borne() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).expect("the limit is raised");
    let reachable = limit.maximum.map_or(IDLE, |most| IDLE.min(usize::try_from(most).unwrap_or(IDLE).saturating_sub(1_000)));
    let config = "[server]\nheader_timeout_ms = 60000\nbody_idle_timeout_ms = 2000\nmax_body_mib = 64\n";
    let lake = Lake::start_with(Options { config: Some(config.into()), alone: true, ..Options::default() }).await;
    lake.ingest("people", "id\n1\n2\n").await.expect_ok();
    let before = resident_kib(lake.pid());
    let mut idle = Vec::with_capacity(reachable);
    for n in 0..reachable {
        let mut stream = TcpStream::connect(address(&lake)).await.expect("a connection");
        match n % 3 {
            0 => {}
            1 => stream.write_all(b"GET /health HTT").await.expect("a slow head"),
            _ => {
                let head = format!(
                    "POST /query/sql HTTP/1.1\r\nHost: x\r\nX-API-Key: {ADMIN_KEY}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
                );
                stream.write_all(head.as_bytes()).await.expect("a slow body");
            }
        }
        idle.push(stream);
        if n % 2_000 == 0 {
            others_are_served(&lake).await;
        }
    }
    others_are_served(&lake).await;
    let more = resident_kib(lake.pid()).saturating_sub(before);
    assert!(more < MORE_MEMORY_KIB, "{more} KiB for {reachable} connections");
    // Slow bodies are told so and let go.
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(30), idle[2].read_to_string(&mut answer)).await;
    assert!(read.is_ok() && answer.contains("too slowly"), "{answer}");
    drop(idle);
    others_are_served(&lake).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_bodies_and_zip_bombs_end_early_and_small() {
    let config = "[server]\nmax_body_mib = 16\n[ingest]\nspool_mib = 32\n";
    let lake = Lake::start_with(Options { config: Some(config.into()), ..Options::default() }).await;
    lake.ingest("people", "id\n1\n2\n").await.expect_ok();
    let before = resident_kib(lake.pid());
    // 4 GiB of zeros in 4 MiB.
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let zeros = vec![b'0'; 1 << 20];
    for _ in 0..4_096 {
        bomb.write_all(&zeros).expect("memory");
    }
    let bomb = bomb.finish().expect("memory");
    for format in ["csv", "ndjson", "json"] {
        let path = format!("/ingest/file?dataset=bomb&format={format}");
        let request = lake.request(reqwest::Method::POST, &path).body(bomb.clone());
        // The server may end the connection while the client still sends: the answer is then lost on the way.
        if let Some(answer) = lake.try_send(request).await {
            answer.expect_any_problem();
            assert!((400..500).contains(&answer.status), "{}", answer.text());
        }
    }
    // A body that says it is a gigabyte, and one that does not say and never ends.
    let head = |length: &str| {
        format!("POST /ingest/file?dataset=endless&format=csv HTTP/1.1\r\nHost: x\r\nX-API-Key: {ADMIN_KEY}\r\n{length}\r\n\r\n")
    };
    let mut large = TcpStream::connect(address(&lake)).await.expect("a connection");
    large.write_all(head("Content-Length: 1073741824").as_bytes()).await.expect("a head");
    let mut answer = vec![0; 2_048];
    let read = tokio::time::timeout(Duration::from_secs(20), large.read(&mut answer)).await.expect("at once").expect("an answer");
    assert!(String::from_utf8_lossy(&answer[..read]).starts_with("HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
    let mut endless = TcpStream::connect(address(&lake)).await.expect("a connection");
    endless.write_all(head("Transfer-Encoding: chunked").as_bytes()).await.expect("a head");
    let chunk = [format!("{:x}\r\n", 1 << 16).into_bytes(), vec![b'7'; 1 << 16], b"\r\n".to_vec()].concat();
    let mut sent = 0_u64;
    while sent < 1 << 30 && endless.write_all(&chunk).await.is_ok() {
        sent += 1 << 16;
    }
    assert!(sent < 1 << 28, "{sent} bytes were taken");
    // What nothing is asked of is nothing to the others.
    others_are_served(&lake).await;
    assert_eq!(lake.datasets().await, ["people"]);
    let more = resident_kib(lake.pid()).saturating_sub(before);
    assert!(more < MORE_MEMORY_KIB, "{more} KiB more");
}
