//! A server process: how long ingest and start take, what it rests at, and swaps under load.

use std::{sync::Arc, time::Duration};

use lakehouse_cli::Candidates;
use reqwest::Method;
use serde_json::json;

use crate::{
    bar::{Bars, median},
    host::{Failure, Host},
    plugins, swap,
};

const ROWS: u64 = 100_000;
const FEW: u64 = 500;
const RUNS: usize = 5;

pub(crate) async fn run(bars: &mut Bars) -> Result<(), Failure> {
    let mut host = Host::start().await?;
    let csv = (Candidates { rows: ROWS }).csv();
    let megabytes = csv.len() as f64 / 1e6;
    let mut seconds = Vec::new();
    for _ in 0..RUNS {
        let start = std::time::Instant::now();
        host.ingest_csv("candidates", csv.clone()).await?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let beside = format!("{ROWS} rows, {megabytes:.1} MB of CSV, durable, over HTTP; median of {RUNS}");
    bars.at_most("ingest.seconds", median(seconds), 3.0, &beside);

    let mut starts = Vec::new();
    for _ in 0..RUNS {
        host.kill();
        starts.push(host.launch().await?.as_secs_f64());
    }
    bars.at_most("start.seconds", median(starts), 1.0, "after kill -9, until /ready, with that data; median of 5");
    tokio::time::sleep(Duration::from_secs(3)).await;
    bars.at_most("rest.resident_mib", host.resident_mib()?, 200.0, "3 s after the start, with that data");

    host.ingest_csv("few", (Candidates { rows: FEW }).csv()).await?;
    for (view, base) in [("candidates_safe", "candidates"), ("few_safe", "few")] {
        let body = json!({
            "name": view,
            "base_dataset": base,
            "columns": ["candidate_id", "state", "skills"],
            "column_redactions": { "candidate_id": { "mask": { "keep_prefix": 3, "keep_suffix": 2 } } },
        });
        host.send(Method::POST, "/catalog/views", &body).await?;
    }
    let second = std::fs::read(plugins::every_component()?.join("redact-mask-v2.wasm"))?;
    let before = host.request(Method::GET, "/plugins/redact-mask").send().await?.json::<serde_json::Value>().await?;
    let old = before["active"].as_str().or_else(|| before["version"].as_str()).ok_or("no active version")?.to_owned();
    let pushed = host.push_plugin("redact-mask", second).await?;
    let new = pushed["version"].as_str().ok_or("no version")?.to_owned();
    swap::run(bars, &Arc::new(host), [&old, &new]).await
}
