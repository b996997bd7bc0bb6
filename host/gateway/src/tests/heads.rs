//! Heads that are too large, or that are none: over a socket, since hyper turns some of them away by itself.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{ADMIN, Lake, read_to_end};

struct Listening {
    lake: Lake,
    address: std::net::SocketAddr,
    served: JoinHandle<std::io::Result<()>>,
}

impl Listening {
    async fn start() -> Self {
        let lake = Lake::start_with(|settings| settings.server.header_timeout = Duration::from_secs(60)).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(crate::serve(lake.engine(), listener, std::future::pending()));
        Self { lake, address, served }
    }

    /// What comes back until the server closes.
    async fn say(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.served.abort();
    }
}

/// A problem as a client reads it: of the length that the head says, or in one chunk.
#[track_caller]
fn expect_problem(answer: &str, status: u16, code: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer}"));
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": ")).filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let (value, more) = (lines.next().map(|(_, value)| value), lines.next());
        assert_eq!(more, None, "{head}");
        value
    };
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert_eq!(header("content-type"), Some("application/problem+json"), "{answer}");
    let body = match header("content-length") {
        Some(length) => {
            assert_eq!(length, body.len().to_string(), "{answer}");
            body
        }
        None => {
            assert_eq!(header("transfer-encoding"), Some("chunked"), "{answer}");
            let (length, chunk) = body.split_once("\r\n").expect("a chunk");
            let length = usize::from_str_radix(length, 16).expect("its length");
            assert_eq!(&chunk[length..], "\r\n0\r\n\r\n", "{answer}");
            &chunk[..length]
        }
    };
    assert!(header("date").is_some(), "{answer}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["code"], &body["status"]), (&Value::from(code), &Value::from(status)), "{body}");
    assert_eq!(header("x-request-id"), body["request_id"].as_str(), "{answer}");
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {ADMIN}\r\nConnection: close\r\n{headers}\r\n")
}

#[tokio::test]
async fn a_head_that_is_turned_away_is_a_problem_with_a_request_id() {
    let server = Listening::start().await;
    let headers = |count: usize, bytes: usize| format!("X-Note: {}\r\n", "n".repeat(bytes)).repeat(count);
    for fine in
        [get("/ready", &headers(97, 8)), get("/ready", &headers(1, 60 << 10)), get(&format!("/{}", "p".repeat(30 << 10)), "")]
    {
        let answer = server.say(&fine).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
    // Ours, then hyper's own.
    for count in [98, 150, 500] {
        expect_problem(&server.say(&get("/health", &headers(count, 8))).await, 431, "head_too_large");
    }
    expect_problem(&server.say(&get("/health", &headers(1, 80 << 10))).await, 431, "head_too_large");
    for bytes in [40 << 10, 70_000] {
        expect_problem(&server.say(&get(&format!("/health?{}", "q".repeat(bytes)), "")).await, 414, "uri_too_long");
    }
    for garbage in [
        "GET /health HTTP/1.1\r\nno header\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        "GET /health HTTP/7.0\r\n\r\n",
        "\u{1}\u{2}\u{3}\r\n\r\n",
        "GET  \r\n\r\n",
    ] {
        expect_problem(&server.say(garbage).await, 400, "malformed_request");
    }
    let metrics = server.lake.get("/metrics").await.text;
    assert!(!metrics.contains("no header"), "{metrics}");
}

#[tokio::test]
async fn a_reply_to_a_second_head_is_explained_too() {
    let server = Listening::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stream.write_all(b"nonsense\r\n\r\n").await.unwrap();
    let rest = read_to_end(&mut stream).await;
    let at = rest.find("HTTP/1.1 400").unwrap_or_else(|| panic!("{rest}"));
    expect_problem(&rest[at..], 400, "malformed_request");
}
