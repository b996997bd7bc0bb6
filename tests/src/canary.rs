//! T-66: values of rows appear in no log line, trace, problem or metric, whatever goes wrong with them.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;

use crate::lake::{Lake, Options, component};

/// In every row, and in nothing that is asked.
const CANARY: &str = "Kanarienvogel";

/// Takes what OTLP exporters send, and remembers it.
struct Collector {
    address: String,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&taken);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || {
                    let mut stream = stream;
                    let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
                    let mut bytes = [0; 16 * 1024];
                    while let Ok(read @ 1..) = stream.read(&mut bytes) {
                        kept.lock().expect("no panic").extend_from_slice(&bytes[..read]);
                        if read < bytes.len() {
                            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                        }
                    }
                });
            }
        });
        Self { address, taken }
    }

    fn holds(&self, text: &str) -> bool {
        let taken = self.taken.lock().expect("no panic");
        taken.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_is_told_whatever_goes_wrong_with_it() {
    let collector = Collector::start();
    let config = format!("[log]\nlevel = \"debug\"\n[trace]\notlp_endpoint = \"http://{}\"\n", collector.address);
    let env = vec![("OTEL_BSP_SCHEDULE_DELAY".to_owned(), "200".to_owned())];
    let lake = Lake::start_with(Options { config: Some(config), env, ..Options::default() }).await;
    let row = |id: u32| json!({ "id": format!("{CANARY}-{id}"), "note": format!("{CANARY} {id}"), "n": id, "grp": if id.is_multiple_of(2) { "a" } else { CANARY } });
    let rows: String = (0..200).map(|id| format!("{}\n", row(id))).collect();
    lake.ingest_with("dataset=birds&format=ndjson&key=id", rows).await.expect_ok();
    lake.push("evil", component("evil")).await;
    let rules = json!([{ "name": "broken", "kind": "redactor", "component": "evil", "config": { "attack": "panic", "trigger": "Kanarien" } }]);
    lake.put_rules("default", rules).await;
    lake.put_view("masked", "birds", &["id", "note", "n"], json!({ "note": { "mask": { "keep_prefix": 1, "keep_suffix": 1 } } }))
        .await
        .expect_ok();
    lake.put_view("broken", "birds", &["id", "note"], json!({ "note": { "plugin": { "rule": "broken" } } })).await;
    let mut problems = 0;
    for sql in [
        "SELECT CAST(note AS INT) AS x FROM birds",
        "SELECT CAST(grp AS TIMESTAMP) AS x FROM birds",
        "SELECT to_timestamp(note) AS x FROM birds",
        "SELECT note::DATE AS x FROM birds",
        "SELECT 1 / (n - 7) AS x FROM birds",
        "SELECT n * 9223372036854775807 AS x FROM birds",
        "SELECT regexp_like('x', note || '(') AS x FROM birds",
        "SELECT decode(note, 'hex') AS x FROM birds",
        "SELECT arrow_cast(note, 'Int8') AS x FROM birds",
        "SELECT (SELECT note FROM birds) AS x",
        "SELECT date_trunc(note, now()) AS x FROM birds",
        "SELECT repeat(note, 100000000) AS x FROM birds",
        "SELECT note FROM broken",
        "SELECT CAST(note AS INT) AS x FROM masked",
        "SELECT sum(CAST(id AS INT)) AS x FROM birds GROUP BY note",
        "SELECT n FROM birds WHERE CAST(note AS BIGINT) > 3 ORDER BY note",
        "SELECT a.n FROM birds a JOIN birds b ON CAST(a.note AS INT) = b.n",
    ] {
        let answer = lake.sql(sql).await;
        if answer.status != 200 || answer.text().contains("\"error\"") {
            problems += 1;
            assert!(!answer.text().contains(CANARY), "{sql}: {}", answer.text());
        }
    }
    assert!(problems >= 12, "only {problems} of the probes failed");
    // Ingests that break off at such a value.
    for (query, body) in [
        ("dataset=birds&format=csv", format!("id,note,n,grp\n{CANARY},x,{CANARY},a\n")),
        ("dataset=birds&format=ndjson", format!("{{\"id\":\"1\",\"n\":\"{CANARY}\"}}\n")),
        ("dataset=birds&format=ndjson", format!("{{\"id\":\"1\",\"n\":{{\"a\":\"{CANARY}\"}}}}\n{{\"{CANARY}\n")),
        ("dataset=birds&format=csv", format!("id,note\n\"{CANARY}")),
        ("dataset=birds&format=csv", format!("id,note\n{CANARY},{CANARY},{CANARY}\n")),
        ("dataset=birds&format=parquet", format!("PAR1{CANARY}PAR1")),
        ("dataset=birds&format=arrow", CANARY.to_owned()),
        ("dataset=birds&format=csv&mode=upsert&key=id", format!("id,note\n{CANARY}-1,a\n{CANARY}-1,b\n")),
    ] {
        let answer = lake.ingest_with(query, body).await;
        if answer.status >= 400 {
            assert!(!answer.text().contains(CANARY), "{query}: {}", answer.text());
        }
    }
    lake.bury("birds", "id", [&format!("{CANARY}-1"), &format!("{CANARY}-none")]).await;
    let params = json!({ "sql": "SELECT CAST($1 AS INT) AS x", "params": [CANARY] });
    let answer = lake.post("/query/sql", params).await;
    assert!(!answer.text().contains(CANARY), "{}", answer.text());
    let quoted = lake.sql(&format!("SELECT CAST('{CANARY}' AS INT) AS x FROM birds")).await;
    assert!(quoted.status >= 400);
    lake.sql("SELECT count(*) AS n FROM birds").await.expect_ok();

    let metrics = lake.get("/metrics").await.text();
    assert!(metrics.contains("lakehouse_queries_total") && !metrics.contains(CANARY), "{metrics}");
    for _ in 0..100 {
        if collector.holds("query.plan") && collector.holds("http.request") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(collector.holds("query.run") && collector.holds("/query/sql"), "spans arrive");
    assert!(!collector.holds(CANARY), "a value is in a trace");
    let log = lake.log();
    assert!(log.contains("problem") && log.contains("query_failed"), "the log tells of failures: {log}");
    let told: Vec<&str> = log.lines().filter(|line| line.contains(CANARY)).collect();
    assert!(told.is_empty(), "{told:#?}");
}
