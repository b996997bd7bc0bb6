//! T-4, T-5: a flipped bit, a lost tail, a tail of zeros in any file that the lake keeps. Each answer is then the right one or a
//! problem, never another.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::StreamExt;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    caller::Caller,
    lake::{Doomed, Lake, Options, copy, files},
    torture::{rounds, told},
    turn::Turn,
};

/// Servers at once, on two cores.
const AT_ONCE: usize = 4;

#[derive(Debug, Clone, Copy)]
enum Harm {
    Bit,
    LostTail,
    Zeros,
}

/// What is asked, each answer on its own.
async fn ask(admin: &Caller) -> Vec<Option<String>> {
    let mut told = Vec::new();
    for sql in [
        "SELECT id, v FROM t ORDER BY id",
        "SELECT count(*) AS n, sum(v) AS s FROM t",
        "SELECT max(note) AS least FROM t WHERE v = 3",
        "SELECT id FROM masked ORDER BY id",
        "SELECT count(*) AS n FROM u",
    ] {
        let answer = admin.sql(sql).await;
        told.push((answer.status == 200).then(|| answer.json()["rows"].to_string()));
    }
    let found = admin.post("/vectors/hybrid", json!({ "index": "notes", "query": "note 3", "k": 3 })).await;
    told.push((found.status == 200).then(|| found.json()["hits"].to_string()));
    let events = admin.get("/journal/events?limit=1000").await;
    told.push((events.status == 200).then(|| events.json()["events"].to_string()));
    let hidden = admin.get("/catalog/datasets/by-name/t/tombstone").await;
    told.push((hidden.status == 200).then(|| hidden.json()["tombstones"].to_string()));
    told
}

async fn base(turn: &Arc<Turn>) -> TempDir {
    let mut lake = Lake::start_in(Arc::clone(turn), Options::default());
    for part in 0..3 {
        let rows: String = (0..400).map(|n| format!("k{part}-{n:03},{n},note {n}\n")).collect();
        lake.ingest_with("dataset=t&format=csv&key=id", format!("id,v,note\n{rows}")).await.expect_ok();
    }
    lake.ingest_with("dataset=u&format=csv", "id\n1\n2\n").await.expect_ok();
    lake.post("/query/compact", json!({ "dataset": "t" })).await.expect_ok();
    lake.ingest_with("dataset=t&format=csv", "id,v,note\nlast,7,note 7\n").await.expect_ok();
    lake.bury("t", "id", ["k1-007"]).await.expect_ok();
    lake.put_view("masked", "t", &["id"], json!({ "id": { "mask": { "keep_prefix": 1, "keep_suffix": 1 } } })).await.expect_ok();
    let index = json!({ "index_name": "notes", "id_column": "id", "text_column": "note" });
    lake.post("/vectors/refresh/t", index).await.expect_ok();
    lake.stop_and_restart().await;
    lake.kill();
    let folder = TempDir::new().unwrap();
    copy(lake.folder(), folder.path());
    folder
}

fn harm(file: &Path, harm: Harm, seed: u64) {
    let mut bytes = fs::read(file).unwrap();
    let at = usize::try_from(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20).unwrap() % bytes.len();
    match harm {
        Harm::Bit => bytes[at] ^= 1 << (seed % 8),
        Harm::LostTail => bytes.truncate(at),
        Harm::Zeros => bytes[at..].fill(0),
    }
    fs::write(file, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn damaged_files_are_noticed_and_never_answered_from() {
    let turn = Arc::new(Turn::beside().await);
    let base = base(&turn).await;
    let expected = {
        let folder = TempDir::new().unwrap();
        copy(base.path(), folder.path());
        let server = Doomed::start(folder.path(), Vec::new());
        Arc::new(ask(&server.admin().expect("a start")).await)
    };
    assert!(expected.iter().all(Option::is_some), "{expected:?}");

    let data = base.path().join("data");
    let names: Vec<PathBuf> = files(&data)
        .into_iter()
        .map(|file| file.strip_prefix(&data).unwrap().to_owned())
        // Not what is only locked, nor what a start makes anew.
        .filter(|name| !name.ends_with("_lock") && fs::metadata(data.join(name)).unwrap().len() > 0)
        .collect();
    assert!(names.len() > 10, "{names:?}");
    let seeds = rounds(1, 12);
    let cases = (0..seeds).flat_map(|seed| {
        let names = &names;
        (0..names.len()).flat_map(move |at| {
            let harms = [Harm::Bit, Harm::LostTail, Harm::Zeros];
            // In a test each file is harmed in one way, in a torture in all.
            let which = if seeds == 1 { at % 3..at % 3 + 1 } else { 0..3 };
            which.map(move |harm| (names[at].clone(), harms[harm], seed * 31 + at as u64))
        })
    });
    let outcomes: Vec<(bool, usize)> = futures::stream::iter(cases.collect::<Vec<_>>())
        .map(|(name, how, seed)| {
            let (base, expected) = (base.path().to_owned(), Arc::clone(&expected));
            tokio::spawn(async move {
                let folder = TempDir::new().unwrap();
                copy(&base, folder.path());
                harm(&folder.path().join("data").join(&name), how, seed);
                let server = Doomed::start(folder.path(), Vec::new());
                let Some(admin) = server.admin() else {
                    let log = fs::read_to_string(folder.path().join("server.log")).unwrap_or_default();
                    // By name, whatever a library below thinks of the damage.
                    let last = log.lines().last().unwrap_or_default();
                    assert!(last.starts_with("error: "), "{how:?} in {} ({seed}): {last}", name.display());
                    return (false, 0);
                };
                let mut refused = 0;
                for (told, expected) in ask(&admin).await.iter().zip(expected.iter()) {
                    match told {
                        Some(_) => assert_eq!(told, expected, "{how:?} in {} ({seed})", name.display()),
                        None => refused += 1,
                    }
                }
                (true, refused)
            })
        })
        .buffer_unordered(AT_ONCE)
        .map(|outcome| outcome.expect("the case runs"))
        .collect()
        .await;
    let started = outcomes.iter().filter(|(started, _)| *started).count() as u64;
    let refused: usize = outcomes.iter().map(|(_, refused)| refused).sum();
    assert!(refused > 0, "some damage is to be noticed");
    let cases = outcomes.len() as u64;
    told("damage", &[("cases", cases), ("starts", started), ("answers refused", refused as u64), ("wrong answers", 0)]);
}
