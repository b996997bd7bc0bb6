//! T-3, T-4: the power goes while clients write. What was acknowledged is there when it comes back, whatever became of writes that
//! were not synced.

use std::path::{Path, PathBuf};

use lakehouse_power::{Loss, left};
use tempfile::TempDir;

use crate::{
    lake::{Doomed, Lake, Options, copy},
    story::{Account, Writers, prepare},
    torture::{rounds, told},
    turn::Turn,
};

/// The variables under which the server records what it syncs.
fn recorded(folder: &Path) -> Vec<(String, String)> {
    let text = |path: PathBuf| path.display().to_string();
    vec![("LAKEHOUSE_POWER".into(), text(folder.join("record"))), ("LAKEHOUSE_POWER_OF".into(), text(folder.join("data")))]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn what_was_acknowledged_outlives_the_power() {
    let turn = std::sync::Arc::new(Turn::beside().await);
    let mut account = Account::default();
    let mut base = {
        let mut lake = Lake::start_in(turn, Options::default());
        prepare(&lake).await;
        lake.stop_and_restart().await;
        lake.kill();
        let folder = TempDir::new().unwrap();
        copy(lake.folder(), folder.path());
        folder
    };
    let rounds = rounds(8, 60);
    for round in 0..rounds {
        let mut server = Doomed::start(base.path(), recorded(base.path()));
        let admin = server.admin().unwrap_or_else(|| panic!("round {round}: no start: {}", log(base.path())));
        let violations = account.violations(&admin).await;
        assert!(violations.is_empty(), "round {round}: {violations:#?}");

        let writers = Writers::start(&admin, round, 1_000);
        writers.answered(12 + 7 * (round as usize % 5)).await;
        server.kill();
        writers.ended(&mut account).await;

        // All that was not synced is lost, then any part of it.
        let loss = if round.is_multiple_of(2) { Loss::Whole } else { Loss::Some(round) };
        let next = TempDir::new().unwrap();
        for part in ["config", "distribution"] {
            std::fs::create_dir(next.path().join(part)).unwrap();
            copy(&base.path().join(part), &next.path().join(part));
        }
        left(&base.path().join("record"), &base.path().join("data"), &next.path().join("data"), loss).unwrap();
        base = next;
    }
    let server = Doomed::start(base.path(), Vec::new());
    let violations = account.violations(&server.admin().expect("the last start")).await;
    assert!(violations.is_empty(), "{violations:#?}");
    told("power loss", &[("losses", rounds), ("acknowledged", account.answered as u64), ("violations", 0)]);
}

fn log(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join("server.log")).unwrap_or_default();
    log[log.len().saturating_sub(2_000)..].to_owned()
}
