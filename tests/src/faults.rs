//! T-10, T-11: a store that fails, stalls and loses answers by a seed, and one that is full. Clients see plain problems, and what was
//! acknowledged is there when the faults are over.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    lake::Lake,
    story::{Account, Writers, prepare},
    torture::{rounds, told},
};

/// A lake whose faults begin when the file is there, and end when it is not.
async fn faulty(plan: String) -> (Lake, PathBuf) {
    let mut lake = Lake::start().await;
    prepare(&lake).await;
    let switch = lake.folder().join("faults");
    let from = ("LAKEHOUSE_FAULT_FROM".into(), switch.display().to_string());
    lake.restart(vec![("LAKEHOUSE_FAULT".into(), plan), from]);
    (lake, switch)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_store_that_fails_now_and_then_loses_and_doubles_nothing() {
    let seeds = rounds(3, 40);
    let (mut acknowledged, mut stopped) = (0, 0);
    for seed in 1..=seeds {
        let (mut lake, switch) = faulty(format!("random:{seed}:100")).await;
        std::fs::write(&switch, "").unwrap();
        let mut account = Account::default();
        Writers::start(&lake, seed, 24).ended(&mut account).await;
        std::fs::remove_file(&switch).unwrap();
        assert!(lake.is_alive(), "seed {seed}");
        acknowledged += account.answered as u64;

        // A store that had to stop says so, and the next start finds everything.
        if lake.nobody().get("/health").await.status == 200 {
            let violations = account.violations(&lake).await;
            assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
        } else {
            stopped += 1;
        }
        lake.restart(Vec::new());
        let violations = account.violations(&lake).await;
        assert!(violations.is_empty(), "seed {seed}, after a start: {violations:#?}");
        lake.ingest("t", "id,v\nafterwards,1\n").await.expect_ok();
    }
    assert!(acknowledged > 20 * seeds, "{acknowledged} in {seeds} rounds");
    told("seeded faults", &[("seeds", seeds), ("acknowledged", acknowledged), ("stores stopped", stopped), ("violations", 0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_full_disk_is_a_plain_problem_and_passes() {
    let (mut lake, switch) = faulty("full".into()).await;
    lake.ingest("t", "id,v\na,1\n").await.expect_ok();
    std::fs::write(&switch, "").unwrap();
    let refused = lake.ingest("t", "id,v\nb,1\n").await;
    assert!((500..600).contains(&refused.status), "{}", refused.text());
    assert!(refused.json()["code"].is_string(), "{}", refused.text());
    let body = json!({ "row_key_column": "id", "row_key_values": ["a"] });
    let unhidden = lake.post("/catalog/datasets/by-name/t/tombstone", body.clone()).await;
    assert!(unhidden.status >= 500, "{}", unhidden.text());
    assert!(lake.is_alive());

    std::fs::remove_file(&switch).unwrap();
    lake.restart(Vec::new());
    lake.sql("SELECT count(*) AS n FROM t WHERE id IN ('first', 'a')").await.expect_cell("n", 2);
    lake.sql("SELECT count(*) AS n FROM t WHERE id = 'b'").await.expect_cell("n", 0);
    lake.ingest("t", "id,v\nb,1\n").await.expect_ok();
    lake.post("/catalog/datasets/by-name/t/tombstone", body).await.expect_ok();
    lake.sql("SELECT count(*) AS n FROM t").await.expect_cell("n", 2);
}
