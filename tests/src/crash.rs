//! T-1: `kill -9` before and after every object write of an ingest, a tombstone, a plugin upload, a refresh. After a restart the whole
//! visible state is the one before or the one after, and what was acknowledged is there.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    acts::{self, Act},
    caller::Caller,
    lake::{Doomed, Lake, Options, copy},
    story::{Account, Writers, prepare},
    torture::{rounds, told},
    turn::Turn,
};

/// Servers at once, on two cores.
pub(crate) const AT_ONCE: usize = 4;
/// The file that begins the count of writes.
const FROM: &str = "count-from-here";
/// For the process to be gone after its kill; generous, since it is no speed that is tested.
const END: Duration = Duration::from_secs(30);
/// For a write that follows the answer.
const LATE: Duration = Duration::from_millis(100);

/// Everything that one of the acts can change, in a line.
pub(crate) async fn look(admin: &Caller) -> String {
    let mut told = Vec::new();
    for (name, sql) in [
        ("t", "SELECT count(*) AS n, sum(v) AS s FROM t"),
        ("raw", "SELECT count(*) AS n, sum(v) AS s FROM __raw__t"),
        ("fresh", "SELECT count(*) AS n, sum(v) AS s FROM fresh"),
        ("mask", "SELECT max(id) AS s, count(*) AS n FROM masked"),
    ] {
        let answer = admin.sql(sql).await;
        let json = answer.json();
        told.push(match answer.status {
            200 => format!("{name}: {}", json["rows"][0]),
            _ => format!("{name}: {}", json["code"]),
        });
    }
    let stats = admin.get("/journal/stats").await.expect_ok();
    told.push(format!("events: {} {}", stats["total_events_created"], stats["by_kind"]));
    let tombstones = admin.get("/catalog/datasets/by-name/t/tombstone").await.expect_ok();
    told.push(format!("tombstones: {}", tombstones["tombstones"].as_array().map_or(0, Vec::len)));
    let plugin = admin.get("/plugins/redact-mask").await.expect_ok();
    told.push(format!("mask version: {}", plugin["version"]));
    let found = admin.post("/vectors/hybrid", json!({ "index": "ids", "query": "CAND-000002", "k": 9 })).await;
    let json = found.json();
    let keys: Vec<&serde_json::Value> = json["hits"].as_array().into_iter().flatten().map(|hit| &hit["row_key"]).collect();
    told.push(format!("search: {keys:?} {}", json["code"]));
    let new = admin.post("/vectors/hybrid", json!({ "index": "new", "query": "CAND-000002", "k": 9 })).await.json();
    told.push(format!("search new: {} {}", new["hit_count"], new["code"]));
    for dataset in ["t", "fresh"] {
        let shown = admin.get(&format!("/catalog/datasets/by-name/{dataset}")).await.json();
        told.push(format!("{dataset} has {}", shown["rows"]));
    }
    told.join("\n")
}

pub(crate) async fn base(turn: &Arc<Turn>) -> TempDir {
    let mut lake = Lake::start_in(Arc::clone(turn), Options::default());
    lake.ingest_with("dataset=t&format=csv&key=id", "id,v\nCAND-000001,1\nCAND-000002,2\nCAND-000003,4\n").await.expect_ok();
    let mask = json!({ "id": { "mask": { "keep_prefix": 3, "keep_suffix": 2 } } });
    lake.put_view("masked", "t", &["id", "v"], mask).await.expect_ok();
    let index = json!({ "index_name": "ids", "id_column": "id", "text_column": "id" });
    lake.post("/vectors/refresh/t", index).await.expect_ok();
    // The index is behind its rows, one of which is gone.
    let changed = "id,v\nCAND-000002,2\nCAND-000003,4\nCAND-000004,8\n";
    lake.ingest_with("dataset=t&format=csv&mode=replace", changed).await.expect_ok();
    // Something for a compaction to drop, and two files to merge.
    lake.ingest_with("dataset=t&format=csv", "id,v\nCAND-000009,64\n").await.expect_ok();
    lake.bury("t", "id", ["CAND-000009"]).await.expect_ok();
    lake.stop_and_restart().await;
    lake.kill();
    let folder = TempDir::new().unwrap();
    copy(lake.folder(), folder.path());
    folder
}

/// A fresh copy of a folder.
pub(crate) fn copied(from: &Path) -> TempDir {
    let folder = TempDir::new().unwrap();
    copy(from, folder.path());
    folder
}

fn count(file: &Path) -> u64 {
    std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// The state after a clean start, and that the lake still takes writes.
async fn recovered(folder: &Path) -> String {
    let server = Doomed::start(folder, Vec::new());
    let admin = server.admin().unwrap_or_else(|| panic!("no start after the kill: {}", log(folder)));
    let state = look(&admin).await;
    admin.ingest("afterwards", "id\n1\n").await.expect_status(201);
    admin.sql("SELECT count(*) AS n FROM afterwards").await.expect_cell("n", 1);
    state
}

pub(crate) fn log(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join("server.log")).unwrap_or_default();
    log[log.len().saturating_sub(2_000)..].to_owned()
}

/// What came of one kill.
struct Outcome {
    killed: bool,
    acknowledged: bool,
    state: String,
}

/// A server whose writes are counted from when [`begin`] is called.
pub(crate) fn counted(folder: &Path, plan: String) -> Doomed {
    let from = ("LAKEHOUSE_FAULT_FROM".into(), folder.join(FROM).display().to_string());
    Doomed::start(folder, vec![("LAKEHOUSE_FAULT".into(), plan), from])
}

pub(crate) fn begin(folder: &Path) {
    std::fs::write(folder.join(FROM), "").expect("a file");
}

async fn killed_at(base: Arc<PathBuf>, act: Act, when: &'static str, ordinal: u64) -> Outcome {
    let folder = copied(&base);
    let mut server = counted(folder.path(), format!("kill:{when}:{ordinal}"));
    let admin = server.admin().expect("it starts: nothing is counted yet");
    begin(folder.path());
    let answer = act(admin).await;
    // A connection breaks before the process has ended; after an answer, a late write may still be the one.
    let killed = server.ends_within(if answer.is_none() { END } else { LATE }).await;
    drop(server);
    let acknowledged = answer.is_some_and(|answer| answer.status < 300);
    Outcome { killed, acknowledged, state: recovered(folder.path()).await }
}

/// How many writes the act makes, and the state that it leads to.
pub(crate) async fn writes_of(act: Act, base: &Path) -> (u64, String) {
    let folder = copied(base);
    let file = folder.path().join("count");
    let server = counted(folder.path(), format!("count:{}", file.display()));
    let admin = server.admin().expect("it starts");
    begin(folder.path());
    act(admin).await.expect("an answer").expect_ok();
    let writes = count(&file);
    drop(server);
    (writes, recovered(folder.path()).await)
}

async fn survives_every_kill(act: Act) {
    let turn = Arc::new(Turn::beside().await);
    let base = base(&turn).await;
    let before = recovered(copied(base.path()).path()).await;

    let (mut writes, after) = writes_of(act, base.path()).await;
    assert_ne!(before, after);
    // A background write may be counted among them: the fewest are the act's own.
    for _ in 0..2 {
        writes = writes.min(writes_of(act, base.path()).await.0);
    }
    assert!(writes > 0, "the act writes");

    let base_path = Arc::new(base.path().to_owned());
    // Background writes come between those of the act by their own clock: two more than were counted are tried.
    let cases = (1..=writes + 2).flat_map(|ordinal| [("before", ordinal), ("after", ordinal)]);
    let outcomes: Vec<(&str, u64, Outcome)> = futures::stream::iter(cases)
        .map(|(when, ordinal)| {
            let base = Arc::clone(&base_path);
            async move { (when, ordinal, tokio::spawn(killed_at(base, act, when, ordinal)).await.expect("the case runs")) }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let (mut kills, mut kept, mut lost) = (0, 0, 0);
    for (when, ordinal, Outcome { killed, acknowledged, state }) in outcomes {
        let whole = state == before || state == after;
        assert!(whole, "killed {when} write {ordinal} of {writes}:\n{state}\nis neither\n{before}\nnor\n{after}");
        assert!(!acknowledged || state == after, "killed {when} write {ordinal}: acknowledged, and gone");
        assert!(killed || acknowledged, "write {ordinal}: neither killed {when} it nor acknowledged");
        kills += u64::from(killed);
        if state == after { kept += 1 } else { lost += 1 }
    }
    println!("{writes} writes: {kills} kills, {kept} after, {lost} before");
    assert!(kills >= 2 * writes, "only {kills} kills at {writes} writes: they are not where they were counted");
    assert!(lost > 0, "no kill came before the commit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn an_append_survives_a_kill_at_every_write() {
    survives_every_kill(acts::append).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_first_ingest_survives_a_kill_at_every_write() {
    survives_every_kill(acts::first_ingest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_tombstone_survives_a_kill_at_every_write() {
    survives_every_kill(acts::tombstone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_plugin_upload_survives_a_kill_at_every_write() {
    survives_every_kill(acts::plugin_upload).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_refresh_survives_a_kill_at_every_write() {
    survives_every_kill(acts::refresh).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_first_refresh_survives_a_kill_at_every_write() {
    survives_every_kill(acts::first_refresh).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_compaction_survives_a_kill_at_every_write() {
    survives_every_kill(acts::compaction).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn an_upsert_survives_a_kill_at_every_write() {
    survives_every_kill(acts::upsert).await;
}

/// An erasure is many steps: a kill may come between any two. What is erased stays so, and the same call does the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn an_erasure_that_was_killed_is_finished_by_the_next() {
    let turn = Arc::new(Turn::beside().await);
    let base = base(&turn).await;
    let body = || json!({ "dataset": "t", "row_key_column": "id", "row_key_values": ["CAND-000002"] });
    let erase = |admin: &Caller| admin.request(reqwest::Method::POST, "/erasure").json(&body());

    let folder = copied(base.path());
    let file = folder.path().join("count");
    let server = counted(folder.path(), format!("count:{}", file.display()));
    let admin = server.admin().expect("it starts");
    begin(folder.path());
    admin.send(erase(&admin)).await.expect_ok();
    let writes = count(&file);
    drop(server);

    // Every third write: a case takes three starts.
    let cases = (1..=writes).step_by(3).flat_map(|ordinal| [("before", ordinal), ("after", ordinal)]);
    let base_path = base.path().to_owned();
    let kills: Vec<bool> = futures::stream::iter(cases)
        .map(|(when, ordinal)| {
            let base = base_path.clone();
            let request = body();
            tokio::spawn(async move {
                let folder = copied(&base);
                let mut server = counted(folder.path(), format!("kill:{when}:{ordinal}"));
                let admin = server.admin().expect("it starts");
                begin(folder.path());
                let asked = admin.request(reqwest::Method::POST, "/erasure").json(&request);
                let answer = admin.try_send(asked).await;
                let killed = server.ends_within(if answer.is_none() { END } else { LATE }).await;
                drop(server);
                let server = Doomed::start(folder.path(), Vec::new());
                let admin = server.admin().unwrap_or_else(|| panic!("no start after the kill: {}", log(folder.path())));
                let left = admin.sql("SELECT count(*) AS n FROM t").await.n();
                assert!((1..=2).contains(&(left - 1)), "{when} {ordinal}: {left} rows");
                let certificate = admin.post("/erasure", request).await.expect_ok();
                assert_eq!(certificate["scan"]["clean"], true, "{when} {ordinal}: {certificate}");
                admin.sql("SELECT count(*) AS n FROM __raw__t WHERE id = 'CAND-000002'").await.expect_cell("n", 0);
                admin.sql("SELECT count(*) AS n FROM t").await.expect_cell("n", 2);
                killed
            })
        })
        .buffer_unordered(AT_ONCE)
        .map(|outcome| outcome.expect("the case runs"))
        .collect()
        .await;
    assert!(kills.iter().filter(|killed| **killed).count() * 3 > kills.len(), "{kills:?}");
}

/// Kills that come whenever they come, under writers: what was acknowledged is there once, and counts agree.
#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_crash_loop_loses_and_doubles_nothing() {
    let mut lake = Lake::start().await;
    prepare(&lake).await;
    let mut account = Account::default();
    let rounds = rounds(20, 200);
    for round in 0..rounds {
        let writers = Writers::start(&lake, round, 1_000);
        // At another point of the writers' work in each round, on a machine of any speed.
        writers.answered(8).await;
        tokio::time::sleep(Duration::from_millis(7 * (round % 11))).await;
        lake.kill();
        writers.ended(&mut account).await;
        lake.restart(Vec::new());
        let violations = account.violations(&lake).await;
        assert!(violations.is_empty(), "round {round}: {violations:#?}");
    }
    assert!(account.answered as u64 > 8 * rounds, "{} writes", account.answered);
    told("crash loop", &[("kills", rounds), ("acknowledged", account.answered as u64), ("violations", 0)]);
}
