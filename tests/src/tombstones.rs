//! A row that was tombstoned is gone from everywhere, and comes back only on request.

use serde_json::json;

use crate::lake::Lake;

const PATH: &str = "/catalog/datasets/by-name/t/tombstone";

#[tokio::test]
async fn a_buried_row_is_gone_from_table_and_view_and_stays_gone() {
    let mut lake = Lake::start().await.with_candidates(1_000).await.with_safe_view().await;
    let before = lake.sql("SELECT count(*) AS n FROM candidates_safe").await.n();
    let visible = lake
        .sql("SELECT count(*) AS n FROM candidates WHERE status <> 'do_not_contact' AND candidate_id IN ('CAND-000001', 'CAND-000002')")
        .await
        .n();
    let burial = lake.bury("candidates", "candidate_id", ["CAND-000001", "CAND-000002"]).await.expect_status(200);
    assert_eq!(burial["rows_tombstoned"], 2);

    for _ in 0..2 {
        lake.sql("SELECT count(*) AS n FROM candidates").await.expect_cell("n", 998);
        lake.sql("SELECT count(*) AS n FROM candidates_safe").await.expect_cell("n", before - visible);
        lake.sql("SELECT count(*) AS n FROM candidates WHERE candidate_id = 'CAND-000001'").await.expect_cell("n", 0);
        lake.sql("SELECT min(candidate_id) AS first FROM candidates").await.expect_cell("first", "CAND-000003");
        lake.sql("SELECT count(*) AS n FROM __raw__candidates").await.expect_cell("n", 1_000);
        lake.kill_and_restart().await;
    }
    let listed = lake.get("/catalog/datasets/by-name/candidates/tombstone").await.expect_ok();
    let tombstones = listed["tombstones"].as_array().unwrap();
    let first = tombstones.iter().find(|one| one["row_key_value"] == "CAND-000001").expect("it is listed");
    assert_eq!(
        (&first["row_key_column"], &first["row_key_value"], &first["actor"], &first["reason"]),
        (&json!("candidate_id"), &json!("CAND-000001"), &json!("privacy desk"), &json!("asked"))
    );
}

#[tokio::test]
async fn a_row_that_comes_again_stays_hidden_and_ingest_says_so() {
    let lake = Lake::start().await;
    lake.ingest_with("dataset=t&format=csv&key=id", "id,v\na,1\nb,2\n").await.expect_ok();
    lake.bury("t", "id", ["a"]).await.expect_ok();
    let report = lake.ingest("t", "id,v\na,3\nc,4\n").await.expect_status(201);
    assert!(
        report["tombstoned_keys"].as_u64().is_some_and(|keys| keys > 0)
            || report["tombstoned_keys"].as_array().is_some_and(|keys| !keys.is_empty()),
        "{report}"
    );
    lake.sql("SELECT count(*) AS n FROM t").await.expect_cell("n", 2);

    let body = json!({ "row_key_values": ["a"] });
    lake.send(lake.request(reqwest::Method::DELETE, PATH).json(&body)).await.expect_ok();
    lake.sql("SELECT count(*) AS n FROM t").await.expect_cell("n", 4);
}

#[tokio::test]
async fn part_of_a_burial_may_fail_and_says_which() {
    let lake = Lake::start().await;
    lake.ingest("t", "id,v\na,1\nb,2\n").await.expect_ok();
    let answer = lake
        .post(PATH, json!({ "row_key_column": "id", "row_key_values": ["a", "zzz", 1.5], "actor": "x", "reason": "y" }))
        .await;
    let burial = answer.expect_status(207);
    assert_eq!(burial["rows_tombstoned"], 1, "{burial}");
    assert_eq!(burial["failures"].as_array().map(Vec::len), Some(2), "{burial}");
    lake.sql("SELECT count(*) AS n FROM t").await.expect_cell("n", 1);
}

#[tokio::test]
async fn keys_are_compared_by_their_text_and_a_row_without_one_stays() {
    let lake = Lake::start().await;
    lake.ingest("t", "id,v\n7,1\n8,2\n,3\n").await.expect_ok();
    lake.bury("t", "id", ["7"]).await.expect_status(200);
    lake.post(PATH, json!({ "row_key_column": "id", "row_key_values": [8], "actor": "x", "reason": "y" }))
        .await
        .expect_status(200);
    assert_eq!(lake.sql("SELECT v FROM t").await.column("v"), [json!(3)]);
}

#[tokio::test]
async fn one_dataset_has_one_key_column() {
    let lake = Lake::start().await;
    lake.ingest("t", "id,other\na,1\nb,2\n").await.expect_ok();
    lake.bury("t", "id", ["a"]).await.expect_ok();
    let problem = lake.bury("t", "other", ["2"]).await.expect_problem("key_column_mismatch");
    assert!(problem["detail"].as_str().unwrap().contains("id"), "{problem}");
    lake.bury("t", "nope", ["2"]).await.expect_any_problem();
    lake.bury("nope", "id", ["2"]).await.expect_problem("unknown_dataset");
    lake.sql("SELECT count(*) AS n FROM t").await.expect_cell("n", 1);
}

#[tokio::test]
async fn unsigned_keys_of_64_bits_are_keys() {
    use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
    let ids: ArrayRef = std::sync::Arc::new(UInt64Array::from(vec![Some(7), Some(u64::MAX), None]));
    let rows = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    let file = writer.into_inner().unwrap();

    let mut lake = Lake::start().await;
    lake.ingest_with("dataset=t&format=parquet&key=id", file.clone()).await.expect_status(201);
    let body = json!({ "row_key_column": "id", "row_key_values": [u64::MAX, "7"], "actor": "x", "reason": "y" });
    assert_eq!(lake.post(PATH, body).await.expect_status(200)["rows_tombstoned"], 2);
    for _ in 0..2 {
        lake.sql("SELECT count(*) AS n FROM t").await.expect_cell("n", 1);
        lake.kill_and_restart().await;
    }
    assert_eq!(lake.ingest_with("dataset=t&format=parquet", file).await.expect_status(201)["tombstoned_keys"], 2);
    lake.sql("SELECT count(*) AS n FROM t").await.expect_cell("n", 2);
    let undo = json!({ "row_key_values": [u64::MAX] });
    assert_eq!(lake.send(lake.request(reqwest::Method::DELETE, PATH).json(&undo)).await.expect_ok()["rows_restored"], 2);
}
