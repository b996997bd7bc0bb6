//! Arrow Flight SQL, asked by the ADBC driver of PyPI: the same rows, keys, grants and refusals as over HTTP.

use serde_json::json;

use crate::{
    lake::{Lake, Options},
    python,
};

const SESSION: &str = include_str!("flight/session.py");

#[tokio::test(flavor = "multi_thread")]
async fn the_adbc_driver_sees_what_its_key_may_see_and_nothing_else() {
    let lake = Lake::start_with(Options { args: vec!["--flight", "127.0.0.1:0"], ..Options::default() }).await;
    let lake = lake.with_candidates(20_000).await.with_safe_view().await;
    lake.ingest_with("dataset=payroll&format=ndjson", TYPED).await.expect_ok();
    let reader = lake.reader("candidates_safe").await;
    let spare = lake.new_key("spare", "reader", json!([{ "dataset": "*", "verbs": ["read"] }])).await;
    let key = |caller: &crate::caller::Caller| caller.key.clone().expect("a key");
    let args = [lake.flight(), &lake.url, &key(&lake), &key(&reader), &key(&spare)].map(str::to_owned).to_vec();
    python::run(SESSION, args).await;

    let metrics = String::from_utf8(lake.get("/metrics").await.body.to_vec()).expect("text");
    for counted in [
        "lakehouse_flight_calls_total{method=\"DoGet.PreparedStatement\",status=\"Ok\"}",
        "lakehouse_flight_calls_total{method=\"Handshake\",status=\"Unauthenticated\"}",
    ] {
        assert!(metrics.contains(counted), "{counted}");
    }
    assert!(metrics.contains("lakehouse_flight_in_flight 0"), "{metrics}");
    let log = lake.log();
    assert!(!log.contains(&key(&reader)) && !log.contains(&key(&spare)), "a key is in the log");
}

/// One row of each kind of type.
const TYPED: &str = "{\"id\":9007199254740993,\"name\":\"Ana\",\"pay\":1.5,\"on\":\"2026-01-31\",\"at\":\"2026-01-31T12:00:00Z\",\
\"tags\":[\"a\",\"b\"],\"ok\":true}\n{\"id\":2,\"name\":null}\n";
