//! T-9: a second host on the same storage reads, refuses to write while the first lives, and takes over when that one is gone, silent, or
//! when it is told to; the first may then only read, and nothing that it was at is half done.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::StreamExt;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    acts::{self, Act},
    caller::Caller,
    crash::{AT_ONCE, base, begin, copied, counted, log, look, writes_of},
    lake::{Doomed, Lake},
    turn::Turn,
};

/// For a reader to see what was written, generous on a busy machine: it looks four times a second.
const SOON: Duration = Duration::from_secs(10);
/// The silence of a writer that is taken to be gone, and as much again for a busy machine.
pub(crate) const SILENCE: Duration = Duration::from_secs(20);

/// `writer` or `reader`; nothing while it changes.
pub(crate) async fn role(of: &Caller) -> String {
    let answer = of.try_send(of.request(Method::GET, "/ready")).await;
    answer.map(|answer| answer.json()["role"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
}

pub(crate) async fn becomes(of: &Caller, wanted: &str, within: Duration) {
    let until = Instant::now() + within;
    while role(of).await != wanted {
        assert!(Instant::now() < until, "no {wanted} within {within:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn sees(of: &Caller, sql: &str, wanted: u64) {
    let until = Instant::now() + SOON;
    loop {
        let answer = of.sql(sql).await;
        if answer.status == 200 && answer.json()["rows"][0]["n"] == wanted {
            return;
        }
        assert!(Instant::now() < until, "{sql} is not {wanted}: {}", answer.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

const COUNT: &str = "SELECT count(*) AS n FROM t";

async fn prepared() -> Lake {
    let lake = Lake::start().await;
    lake.ingest_with("dataset=t&format=csv&key=id", "id,v,note\na,1,one note\nb,2,two notes\n").await.expect_ok();
    lake.put_view("masked", "t", &["id"], json!({ "id": { "mask": { "keep_prefix": 0, "keep_suffix": 0 } } })).await.expect_ok();
    let index = json!({ "index_name": "notes", "id_column": "id", "text_column": "note" });
    lake.post("/vectors/refresh/t", index).await.expect_ok();
    lake
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_second_host_reads_and_takes_over_when_the_first_is_gone() {
    let mut first = prepared().await;
    let other = Doomed::start_as(first.folder(), Vec::new());
    let second = other.admin().expect("it starts beside the first");
    assert_eq!((role(&first).await.as_str(), role(&second).await.as_str()), ("writer", "reader"));

    second.sql(COUNT).await.expect_cell("n", 2);
    second.sql("SELECT max(id) AS n FROM masked").await.expect_cell("n", "*");
    let found = second.post("/vectors/hybrid", json!({ "index": "notes", "query": "two notes", "k": 1 })).await.expect_ok();
    assert_eq!(found["hits"][0]["row_key"], "b");

    // What the first does is seen: rows, new datasets, tombstones, rules, keys.
    first.ingest_with("dataset=t&format=csv", "id,v,note\nc,3,three\n").await.expect_ok();
    sees(&second, COUNT, 3).await;
    first.ingest("fresh", "id\n1\n").await.expect_status(201);
    sees(&second, "SELECT count(*) AS n FROM fresh", 1).await;
    first.bury("t", "id", ["a"]).await.expect_ok();
    sees(&second, COUNT, 2).await;
    first.post("/query/compact", json!({ "dataset": "t" })).await.expect_ok();
    sees(&second, "SELECT count(*) AS n FROM __raw__t", 2).await;
    let key = first.post("/admin/keys", json!({ "name": "passing", "role": "reader" })).await.expect_status(201);
    let passing = second.as_key(key["key"].as_str().unwrap());
    let until = Instant::now() + SOON;
    while passing.get("/ready").await.status != 200 {
        assert!(Instant::now() < until, "the new key opens nothing");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    first.delete(&format!("/admin/keys/{}", key["id"].as_str().unwrap())).await.expect_ok();
    while passing.get("/ready").await.status != 401 {
        assert!(Instant::now() < until, "the revoked key still opens");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // What changes something is refused, and leaves nothing, in the journal neither.
    let events = first.get("/journal/stats").await.expect_ok()["total_events_created"].clone();
    let files = crate::lake::files(&first.data()).len();
    for (method, path, body) in [
        (Method::POST, "/ingest/file?dataset=t&format=csv", "id,v,note\nd,4,four\n"),
        (Method::DELETE, "/catalog/datasets/fresh", ""),
        (Method::POST, "/erasure", r#"{"dataset":"t","row_key_column":"id","row_key_values":["b"]}"#),
        (Method::POST, "/admin/keys", r#"{"name":"more","role":"reader"}"#),
        (Method::POST, "/query/compact", r#"{"dataset":"t"}"#),
        (Method::POST, "/vectors/refresh/t", r#"{"index_name":"notes"}"#),
        (Method::POST, "/plugins/redact-mask/disable", ""),
        (Method::POST, "/catalog/profiles", r#"{"id":"p"}"#),
    ] {
        let request = second.request(method, path).header("content-type", "application/json").body(body);
        let problem = second.send(request).await.expect_problem("read_only");
        assert!(problem["detail"].as_str().unwrap().contains("another"), "{path}: {problem}");
    }
    second.as_key("lk_wrong").get("/ready").await.expect_problem("unauthenticated");
    assert_eq!(first.get("/journal/stats").await.expect_ok()["total_events_created"], events);
    assert!(crate::lake::files(&first.data()).len() <= files + 1, "a sign of life is all that came");

    // A lock that is free counts at once.
    first.kill();
    becomes(&second, "writer", SOON).await;
    second.ingest_with("dataset=t&format=csv", "id,v,note\ne,5,five\n").await.expect_ok();
    second.sql(COUNT).await.expect_cell("n", 3);

    // The first comes back, and finds itself the second.
    first.restart(Vec::new());
    assert_eq!(role(&first).await, "reader");
    sees(&first, COUNT, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_host_that_only_reads_never_takes_over() {
    let mut first = prepared().await;
    let other = Doomed::start_as(first.folder(), vec!["--read-only"]);
    let reader = other.admin().expect("it starts beside the first");
    first.kill();
    // Twice as long as a free lock would be noticed in.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(role(&reader).await, "reader");
    reader.sql(COUNT).await.expect_cell("n", 2);
    first.restart(Vec::new());
    assert_eq!(role(&first).await, "writer", "a reader holds nothing");
    first.ingest_with("dataset=t&format=csv", "id,v,note\nc,3,three\n").await.expect_ok();
    sees(&reader, COUNT, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_silent_host_is_taken_from_and_wakes_to_read() {
    let first = prepared().await;
    let other = Doomed::start_as(first.folder(), Vec::new());
    let second = other.admin().expect("it starts beside the first");
    assert_eq!(role(&second).await, "reader");
    first.signal(Signal::STOP);
    becomes(&second, "writer", SILENCE).await;
    second.ingest_with("dataset=t&format=csv", "id,v,note\nc,3,three\n").await.expect_ok();

    first.signal(Signal::CONT);
    let late = first.request(Method::POST, "/ingest/file?dataset=t&format=csv").body("id,v,note\nx,9,late\n");
    // The connection may end with the host's turn.
    if let Some(late) = first.try_send(late).await {
        late.expect_problem("read_only");
    }
    becomes(&first, "reader", SOON).await;
    sees(&first, COUNT, 3).await;
    second.ingest_with("dataset=t&format=csv", "id,v,note\nd,4,four\n").await.expect_ok();
    sees(&first, COUNT, 4).await;
}

/// The first host stops before each of its writes in turn, another one takes its place and writes, and the first one wakes.
async fn taken_from_at_every_write(act: Act) {
    let turn = Arc::new(Turn::beside().await);
    let base = base(&turn).await;
    let before = {
        let folder = copied(base.path());
        let server = Doomed::start(folder.path(), Vec::new());
        look(&server.admin().expect("it starts")).await
    };
    let (writes, after) = writes_of(act, base.path()).await;
    let base_path = Arc::new(base.path().to_owned());
    let outcomes: Vec<Option<bool>> = futures::stream::iter(1..=writes)
        .map(|ordinal| {
            let case = taken_from_at(Arc::clone(&base_path), act, ordinal, before.clone(), after.clone());
            async move { tokio::spawn(case).await.expect("the case runs") }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let stopped = outcomes.iter().flatten().count() as u64;
    assert!(2 * stopped > writes, "{stopped} of {writes} writes were stopped at");
    assert!(outcomes.contains(&Some(false)), "some stop came before the commit");
}

/// Whether the act was done; nothing when it had no such write.
async fn taken_from_at(base: Arc<PathBuf>, act: Act, ordinal: u64, before: String, after: String) -> Option<bool> {
    let folder = copied(&base);
    let old = counted(folder.path(), format!("stop:before:{ordinal}"));
    let old_admin = old.admin().expect("it starts: nothing is counted yet");
    begin(folder.path());
    let mut asked = tokio::spawn(act(old_admin.clone()));
    while !old.is_stopped() {
        if asked.is_finished() {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let new = Doomed::start_as(folder.path(), vec!["--take-over"]);
    let new_admin = new.admin().unwrap_or_else(|| panic!("stopped at {ordinal}: no start: {}", log(folder.path())));
    let state = look(&new_admin).await;
    assert!(state == before || state == after, "stopped at {ordinal}:\n{state}\nis neither\n{before}\nnor\n{after}");
    new_admin.ingest_with("dataset=t&format=csv", "id,v\nCAND-000077,128\n").await.expect_ok();
    let state_with_more = look(&new_admin).await;

    old.signal(Signal::CONT);
    let answer = tokio::time::timeout(Duration::from_secs(60), &mut asked).await.expect("an answer").expect("it is asked");
    if let Some(answer) = answer {
        let was_done = answer.status < 300;
        assert!(!was_done || state == after, "stopped at {ordinal}: acknowledged, and gone");
    }
    becomes(&old_admin, "reader", SOON).await;
    assert_eq!(look(&new_admin).await, state_with_more, "stopped at {ordinal}: the host of before changed something");
    let n = new_admin.sql("SELECT count(*) AS n FROM t").await.n();
    sees(&old_admin, "SELECT count(*) AS n FROM t", n).await;
    drop((old, new));

    let again = Doomed::start(folder.path(), Vec::new());
    let admin = again.admin().unwrap_or_else(|| panic!("stopped at {ordinal}: no second start: {}", log(folder.path())));
    assert_eq!(look(&admin).await, state_with_more, "stopped at {ordinal}: after another start");
    Some(state == after)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn an_append_is_whole_wherever_its_host_was_taken_from() {
    taken_from_at_every_write(acts::append).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_first_ingest_is_whole_wherever_its_host_was_taken_from() {
    taken_from_at_every_write(acts::first_ingest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_compaction_is_whole_wherever_its_host_was_taken_from() {
    taken_from_at_every_write(acts::compaction).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_tombstone_is_whole_wherever_its_host_was_taken_from() {
    taken_from_at_every_write(acts::tombstone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_refresh_is_whole_wherever_its_host_was_taken_from() {
    taken_from_at_every_write(acts::refresh).await;
}
