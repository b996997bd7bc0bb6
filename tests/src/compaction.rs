//! Compaction: the same rows in fewer files, and what was hidden is gone for good.

use reqwest::Method;
use serde_json::json;

use crate::{
    indexes::{csv, lake_of, note, notes},
    lake::Lake,
};

const TOMBSTONE: &str = "/catalog/datasets/by-name/candidates/tombstone";

#[tokio::test]
async fn hidden_rows_are_gone_for_good_and_their_keys_may_come_again() {
    let mut lake = Lake::start().await.with_candidates(1_000).await.with_safe_view().await;
    for part in 0..5 {
        let more = format!("candidate_id,first_name,city\nCAND-9{part:05},Added,Akron\n");
        lake.ingest("candidates", more).await.expect_ok();
    }
    lake.bury("candidates", "candidate_id", ["CAND-000001", "CAND-000002", "CAND-000003"]).await.expect_ok();
    let report = lake.post("/query/compact", json!({ "dataset": "candidates" })).await.expect_ok();
    assert_eq!(
        (&report["tombstones_applied"], &report["rows_dropped_by_tombstones"], &report["final_rows"]),
        (&json!(3), &json!(3), &json!(1_002)),
        "{report}"
    );
    assert_eq!((&report["files_before"], &report["files_after"]), (&json!(6), &json!(1)), "{report}");
    for _ in 0..2 {
        lake.sql("SELECT count(*) AS n FROM candidates").await.expect_cell("n", 1_002);
        lake.sql("SELECT count(*) AS n FROM __raw__candidates").await.expect_cell("n", 1_002);
        let listed = lake.get(TOMBSTONE).await.expect_ok();
        assert_eq!(listed["tombstones"], json!([]));
        lake.kill_and_restart().await;
    }
    let undo = json!({ "row_key_values": ["CAND-000001"] });
    let undone = lake.send(lake.request(Method::DELETE, TOMBSTONE).json(&undo)).await.expect_status(207);
    assert_eq!(undone["failures"][0]["reason"], "not_tombstoned");
    lake.ingest("candidates", "candidate_id,first_name,city\nCAND-000001,Again,Akron\n").await.expect_ok();
    lake.sql("SELECT first_name AS s FROM candidates WHERE candidate_id = 'CAND-000001'").await.expect_cell("s", "Again");
    let events = lake.get("/journal/events?kind=compact").await.expect_ok();
    assert_eq!(events["events"].as_array().map(Vec::len), Some(1), "{events}");

    lake.post("/query/compact", json!({ "dataset": "nobody" })).await.expect_problem("unknown_dataset");
    lake.post("/query/compact", json!({ "dataset": "candidates", "force": true })).await.expect_problem("invalid_body");
    let reader = lake.reader("candidates_safe").await;
    reader.post("/query/compact", json!({ "dataset": "candidates" })).await.expect_problem("forbidden");
    let operator = lake.new_key("night", "operator", json!([])).await;
    operator.post("/query/compact", json!({ "dataset": "candidates" })).await.expect_ok();
}

#[tokio::test]
async fn an_index_holds_no_text_of_dropped_rows_and_finds_the_others() {
    let lake = lake_of(60).await;
    lake.refresh("people", notes("people_notes")).await.expect_ok();
    lake.ingest("people", csv([(60, "a note on the quartermaster".to_owned())])).await.expect_ok();
    lake.refresh("people", notes("people_notes")).await.expect_ok();
    lake.bury("people", "k", ["K-60", "K-3"]).await.expect_ok();
    let report = lake.post("/query/compact", json!({ "dataset": "people" })).await.expect_ok();
    assert_eq!(report["rows_dropped_by_tombstones"], 2, "{report}");
    assert_eq!(report["indexes"][0]["rows_removed"], 2, "{report}");
    assert!(lake.forgets(b"quartermaster").await, "no version, log or segment has the text");
    let found = lake.hybrid(json!({ "index": "people_notes", "query": note(9), "k": 60 })).await;
    assert_eq!(found.keys().len(), 59);
    assert_eq!(found.keys()[0], "K-9");
    let shown = lake.get("/vectors/indexes/people_notes").await.expect_ok();
    assert_eq!((&shown["stale"], &shown["rows"]), (&json!(false), &json!(59)), "{shown}");
    // Nothing is embedded anew for it.
    let again = lake.refresh("people", notes("people_notes")).await.expect_ok();
    assert_eq!((&again["embedded"], &again["unchanged_docs"]), (&json!(0), &json!(59)), "{again}");
}

#[tokio::test]
async fn rows_that_an_index_does_not_know_stay_to_be_embedded() {
    let lake = lake_of(20).await;
    lake.refresh("people", notes("people_notes")).await.expect_ok();
    lake.ingest("people", csv([(20, note(20))])).await.expect_ok();
    for tombstones in [false, true] {
        if tombstones {
            lake.bury("people", "k", ["K-3"]).await.expect_ok();
        }
        lake.post("/query/compact", json!({ "dataset": "people" })).await.expect_ok();
        let shown = lake.get("/vectors/indexes/people_notes").await.expect_ok();
        assert_eq!(shown["stale"], true, "{tombstones}: {shown}");
    }
    let refreshed = lake.refresh("people", notes("people_notes")).await.expect_ok();
    assert_eq!((&refreshed["new_docs"], &refreshed["unchanged_docs"]), (&json!(1), &json!(19)), "{refreshed}");
}

#[tokio::test]
async fn merging_alone_leaves_an_index_as_it_is() {
    let lake = lake_of(20).await;
    lake.ingest("people", csv([(20, note(20))])).await.expect_ok();
    lake.refresh("people", notes("people_notes")).await.expect_ok();
    let report = lake.post("/query/compact", json!({ "dataset": "people" })).await.expect_ok();
    assert_eq!((&report["files_rewritten"], &report["rows_dropped_by_tombstones"]), (&json!(2), &json!(0)), "{report}");
    let shown = lake.get("/vectors/indexes/people_notes").await.expect_ok();
    assert_eq!(shown["stale"], false, "{shown}");
    assert_eq!(lake.hybrid(json!({ "index": "people_notes", "query": note(9), "k": 1 })).await.keys(), ["K-9"]);
}

#[tokio::test]
async fn upserts_replace_rows_by_key() {
    let mut lake = Lake::start().await;
    lake.ingest_with("dataset=t&format=csv&key=id", "id,v\na,1\nb,2\nc,3\n").await.expect_ok();
    let report = lake.ingest_with("dataset=t&format=csv&mode=upsert", "id,v,w\nb,20,x\nd,4,y\n").await.expect_ok();
    assert_eq!(
        (&report["mode"], &report["rows"], &report["replaced_rows"]),
        (&json!("upsert"), &json!(2), &json!(1)),
        "{report}"
    );
    for _ in 0..2 {
        let rows = lake.sql("SELECT id, v, w FROM t ORDER BY id").await.expect_ok();
        let expected = json!([
            { "id": "a", "v": 1 }, { "id": "b", "v": 20, "w": "x" }, { "id": "c", "v": 3 }, { "id": "d", "v": 4, "w": "y" }
        ]);
        assert_eq!(rows["rows"], expected);
        lake.kill_and_restart().await;
    }
    let twice = lake.ingest_with("dataset=t&format=csv&mode=upsert", "id,v\na,1\na,2\n").await.expect_problem("invalid_data");
    assert!(twice["detail"].as_str().unwrap().contains("row 2"), "{twice}");
    lake.ingest_with("dataset=t&format=csv&mode=upsert", "id,v\n,1\n").await.expect_problem("invalid_data");
    lake.ingest_with("dataset=u&format=csv&mode=upsert", "id,v\na,1\n").await.expect_problem("invalid_parameter");
    lake.sql("SELECT count(*) AS n FROM t").await.expect_cell("n", 4);
    assert!(!lake.datasets().await.contains(&"u".to_owned()));
}

/// Everybody reads and writes while it is compacted again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_and_writers_do_not_notice_a_compaction() {
    let lake = Lake::start().await;
    lake.ingest_with("dataset=t&format=csv&key=id", "id,v\nstart,1\n").await.expect_ok();
    let writer = lake.as_key(crate::lake::ADMIN_KEY);
    let writing = tokio::spawn(async move {
        for n in 0..60 {
            writer.ingest("t", format!("id,v\nR-{n},1\n")).await.expect_status(201);
            if n % 10 == 9 {
                writer.bury("t", "id", [&format!("R-{}", n - 5) as &str]).await.expect_ok();
            }
        }
    });
    let reader = lake.as_key(crate::lake::ADMIN_KEY);
    let reading = tokio::spawn(async move {
        let mut last = 0;
        for _ in 0..80 {
            let answer = reader.sql("SELECT count(*) AS n, count(DISTINCT id) AS d FROM t").await.expect_ok();
            let (rows, distinct) = (answer["rows"][0]["n"].as_u64().unwrap(), answer["rows"][0]["d"].as_u64().unwrap());
            assert_eq!(rows, distinct, "none twice");
            assert!(rows + 7 > last, "none lost: {rows} after {last}");
            last = rows;
        }
    });
    while !writing.is_finished() {
        lake.post("/query/compact", json!({ "dataset": "t" })).await.expect_ok();
    }
    writing.await.unwrap();
    reading.await.unwrap();
    lake.post("/query/compact", json!({ "dataset": "t" })).await.expect_ok();
    lake.sql("SELECT count(*) AS n FROM __raw__t").await.expect_cell("n", 55);
}

#[tokio::test]
async fn all_datasets_are_compacted_and_tombstones_move() {
    let lake = Lake::start().await;
    for name in ["one", "two"] {
        lake.ingest_with(&format!("dataset={name}&format=csv&key=id"), "id\na\n").await.expect_ok();
        lake.ingest(name, "id\nb\n").await.expect_ok();
    }
    lake.ingest("single", "id\na\n").await.expect_ok();
    lake.bury("one", "id", ["a"]).await.expect_ok();
    let moved = lake.post("/catalog/datasets/by-name/one/tombstones/compact", json!(null)).await.expect_ok();
    assert_eq!(moved["tombstones"], 1, "{moved}");
    lake.sql("SELECT count(*) AS n FROM one").await.expect_cell("n", 1);
    let all = lake.send(lake.request(Method::POST, "/query/compact/all")).await.expect_ok();
    let done: Vec<&str> = all["reports"].as_array().unwrap().iter().map(|report| report["dataset"].as_str().unwrap()).collect();
    assert_eq!(done, ["one", "two"], "{all}");
    assert_eq!(all["failed"], json!([]));
    let shown = lake.get("/catalog/datasets/by-name/two").await.expect_ok();
    assert_eq!((&shown["files"], &shown["rows"], &shown["hidden_rows"]), (&json!(1), &json!(2), &json!(0)), "{shown}");
}
