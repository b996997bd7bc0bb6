//! T-44: a rule is replaced under load; no request fails, and each answer is wholly old or wholly new.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::lake::{Lake, component};

const SWAPS: usize = 100;
const CLIENTS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_hundred_swaps_under_eight_clients_fail_and_mix_nothing() {
    let lake = Lake::start().await.with_candidates(20_000).await;
    let view = json!({
        "name": "v", "base_dataset": "candidates", "columns": ["candidate_id", "city"],
        "column_redactions": { "candidate_id": { "mask": { "keep_prefix": 3, "keep_suffix": 2 } } },
    });
    lake.post("/catalog/views", view).await.expect_status(201);
    let reader = lake.reader("v").await;
    let first = lake.get("/plugins/redact-mask").await.expect_ok()["version"].as_str().unwrap().to_owned();
    let second = component("redact-mask-v2");
    lake.push("redact-mask", second.clone()).await.expect_status(201);

    let (stop, served, whole) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let (old_seen, new_seen) = (AtomicU64::new(0), AtomicU64::new(0));
    let clients = futures::future::join_all((0..CLIENTS).map(|client| {
        let (reader, stop, served, whole, old_seen, new_seen) = (reader.clone(), &stop, &served, &whole, &old_seen, &new_seen);
        async move {
            let mut turn = client;
            while !stop.load(Relaxed) {
                turn += 1;
                let (sql, rows) = match turn % 6 {
                    0 => ("SELECT candidate_id FROM v", 20_000),
                    1 => ("SELECT a.candidate_id AS a, b.candidate_id AS b FROM (SELECT candidate_id FROM v LIMIT 50) a, (SELECT candidate_id FROM v LIMIT 3) b", 150),
                    _ => ("SELECT candidate_id FROM v LIMIT 200", 200),
                };
                let answer = reader.sql_as("text/csv", sql).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                let (old, new) = (answer.body.contains(&b'*'), answer.body.contains(&b'#'));
                assert!(old != new, "mixed: {sql}");
                assert_eq!(answer.body.iter().filter(|byte| **byte == b'\n').count(), rows + 1, "{sql}");
                served.fetch_add(1, Relaxed);
                whole.fetch_add(u64::from(rows == 20_000), Relaxed);
                if old { old_seen.fetch_add(1, Relaxed) } else { new_seen.fetch_add(1, Relaxed) };
            }
        }
    }));
    let operator = async {
        let began = Instant::now();
        // As many swaps as promised, and more until enough was asked meanwhile.
        for swap in 0.. {
            if swap >= SWAPS && served.load(Relaxed) >= 200 && whole.load(Relaxed) >= 10 {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "{} answers in {PATIENCE:?}", served.load(Relaxed));
            let to_old = swap % 2 == 0;
            if to_old {
                lake.post("/plugins/redact-mask/rollback", json!({ "to": first })).await.expect_ok();
            } else if swap % 10 == 1 {
                lake.push("redact-mask", second.clone()).await.expect_ok();
            } else {
                lake.post("/plugins/redact-mask/rollback", json!({ "to": "2.0.0" })).await.expect_ok();
            }
            // What is asked after a swap was acknowledged sees it.
            let answer = reader.sql_as("text/csv", "SELECT candidate_id FROM v LIMIT 1").await;
            assert_eq!(answer.body.contains(&b'*'), to_old, "{}", answer.text());
        }
        stop.store(true, Relaxed);
        began.elapsed()
    };
    let (_, took) = tokio::join!(clients, operator);
    let (served, whole) = (served.into_inner(), whole.into_inner());
    println!("at least {SWAPS} swaps in {took:?}: {served} answers, {whole} of 20,000 rows, failed 0, mixed 0");
    assert!(old_seen.into_inner() > 0 && new_seen.into_inner() > 0);
}
