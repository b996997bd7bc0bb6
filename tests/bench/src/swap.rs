//! Swapping a rule under load: every answer is wholly of one version, and none fails.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use reqwest::Method;
use serde_json::json;

use crate::{
    bar::Bars,
    host::{Failure, Host},
};

/// What the issue asks for.
const REQUESTS: u64 = 10_000;
const LARGE_REQUESTS: u64 = 300;
const SWAPS: u64 = 1_000;
const CLIENTS: usize = 64;

/// Rows that one large answer has at least.
const LARGE_ROWS: usize = 50_000;

#[derive(Default)]
struct Tally {
    served: AtomicU64,
    large: AtomicU64,
    failed: AtomicU64,
    mixed: AtomicU64,
    old: AtomicU64,
    new: AtomicU64,
}

/// The large view holds at least [`LARGE_ROWS`] rows of `candidates_safe`, the small one a few.
pub(crate) async fn run(bars: &mut Bars, host: &Arc<Host>, versions: [&str; 2]) -> Result<(), Failure> {
    let plan = json!({ "sql": "EXPLAIN SELECT count(*) AS n FROM candidates_safe" });
    let plan = host.send(Method::POST, "/query/sql", &plan).await?;
    if !plan.to_string().contains("CoalescePartitionsExec") {
        return Err(format!("the large view is read in one partition, so nothing could be mixed: {plan}").into());
    }
    let tally = Arc::new(Tally::default());
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> =
        (0..CLIENTS).map(|index| tokio::spawn(client(index, host.clone(), tally.clone(), stop.clone()))).collect();

    let mut swaps = 0;
    while swaps < SWAPS || tally.served.load(Ordering::Relaxed) < REQUESTS || tally.large.load(Ordering::Relaxed) < LARGE_REQUESTS
    {
        let to = versions[usize::from(swaps % 2 == 0)];
        host.send(Method::POST, "/plugins/redact-mask/rollback", &json!({ "to": to })).await?;
        swaps += 1;
        if tally.failed.load(Ordering::Relaxed) > 100 {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await?;
    }

    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let beside = format!(
        "of {}, {} of them of {LARGE_ROWS} rows or more; {swaps} swaps under {CLIENTS} clients; old {}, new {}",
        get(&tally.served),
        get(&tally.large),
        get(&tally.old),
        get(&tally.new)
    );
    bars.at_most("swap.failed_requests", get(&tally.failed) as f64, 0.0, &beside);
    bars.at_most("swap.mixed_answers", get(&tally.mixed) as f64, 0.0, &beside);
    bars.at_least("swap.requests", get(&tally.served) as f64, REQUESTS as f64, &beside);
    bars.at_least("swap.large_requests", get(&tally.large) as f64, LARGE_REQUESTS as f64, &beside);
    bars.at_least("swap.both_versions_seen", get(&tally.old).min(get(&tally.new)) as f64, 1.0, "answers of the rarer version");
    Ok(())
}

/// Four clients ask for the large view, the others for the small one.
async fn client(index: usize, host: Arc<Host>, tally: Arc<Tally>, stop: Arc<AtomicBool>) {
    let large = index.is_multiple_of(16);
    let relation = if large { "candidates_safe" } else { "few_safe" };
    let body = json!({ "sql": format!("SELECT candidate_id FROM {relation}") });
    while !stop.load(Ordering::Relaxed) {
        let answer = host
            .request(Method::POST, "/query/sql")
            .header("accept", "application/vnd.apache.arrow.stream")
            .json(&body)
            .send()
            .await;
        let bytes = match answer {
            Ok(answer) if answer.status().is_success() => answer.bytes().await.ok(),
            _ => None,
        };
        tally.served.fetch_add(1, Ordering::Relaxed);
        let Some(rows) = bytes.and_then(|bytes| classify(&bytes)) else {
            tally.failed.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        match (rows.old, rows.new) {
            (0, 0) => tally.failed.fetch_add(1, Ordering::Relaxed),
            (_, 0) => tally.old.fetch_add(1, Ordering::Relaxed),
            (0, _) => tally.new.fetch_add(1, Ordering::Relaxed),
            _ => tally.mixed.fetch_add(1, Ordering::Relaxed),
        };
        if large && rows.old + rows.new >= LARGE_ROWS {
            tally.large.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Rows {
    old: usize,
    new: usize,
}

/// Rows masked with stars (old) and with hashes (new); none when the stream is broken or a value is unmasked.
fn classify(bytes: &[u8]) -> Option<Rows> {
    let reader = arrow::ipc::reader::StreamReader::try_new(bytes, None).ok()?;
    let mut rows = Rows { old: 0, new: 0 };
    for batch in reader {
        let batch = batch.ok()?;
        let text = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8).ok()?;
        let text = arrow::array::AsArray::as_string::<i32>(&text);
        for value in text.iter().flatten() {
            match (value.contains('*'), value.contains('#')) {
                (true, false) => rows.old += 1,
                (false, true) => rows.new += 1,
                _ => return None,
            }
        }
    }
    Some(rows)
}
