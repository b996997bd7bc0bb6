//! Sparse data: a row with only a name and a phone number comes in, is found and is shown; what is absent is absent.

use serde_json::{Map, Value, json};

use crate::lake::Lake;

/// 200 workers: 74 % have a role, 34 % have notes, five have a name and a phone number and nothing else.
fn workers() -> Vec<Value> {
    (0..200_u32)
        .map(|n| {
            let mut worker = Map::new();
            worker.insert("name".into(), json!(format!("Worker {n:03}")));
            worker.insert("phone".into(), json!(format!("555-{n:04}")));
            if n < 5 {
                return Value::Object(worker);
            }
            worker.insert("worker_id".into(), json!(format!("W-{n:03}")));
            if n >= 52 {
                worker.insert("role".into(), json!(["welder", "picker", "driver"][(n % 3) as usize]));
            }
            if n >= 132 {
                let note = if n == 150 { "bilingual forklift trainer" } else { "reliable on nights" };
                worker.insert("notes".into(), json!(format!("{note}, number {n}")));
            }
            Value::Object(worker)
        })
        .collect()
}

fn ndjson(workers: &[Value]) -> String {
    workers.iter().fold(String::new(), |lines, worker| lines + &worker.to_string() + "\n")
}

fn csv(workers: &[Value]) -> String {
    let columns = ["name", "phone", "worker_id", "role", "notes"];
    workers.iter().fold(columns.join(",") + "\n", |lines, worker| {
        let cells: Vec<String> =
            columns.iter().map(|column| worker[column].as_str().map_or(String::new(), |text| format!("\"{text}\""))).collect();
        lines + &cells.join(",") + "\n"
    })
}

#[tokio::test]
async fn the_fixture_is_what_it_says() {
    let workers = workers();
    let with = |member: &str| workers.iter().filter(|worker| worker.get(member).is_some()).count();
    assert_eq!((workers.len(), with("role"), with("notes")), (200, 148, 68));
    assert_eq!(workers.iter().filter(|worker| worker.as_object().unwrap().len() == 2).count(), 5);
}

#[tokio::test]
async fn sparse_rows_come_in_are_found_and_shown_without_empty_members() {
    let lake = Lake::start().await;
    let workers = workers();
    let report = lake.ingest_with("dataset=sparse_workers&format=ndjson", ndjson(&workers)).await.expect_ok();
    assert_eq!((&report["rows"], &report["rejected_rows"]), (&json!(200), &json!(0)), "{report}");
    lake.ingest_with("dataset=from_csv&format=csv", csv(&workers)).await.expect_ok();
    for dataset in ["sparse_workers", "from_csv"] {
        let counts = lake
            .sql(&format!(
                "SELECT count(*) AS n, count(role) AS roles, count(notes) AS notes, count(worker_id) AS ids FROM {dataset}"
            ))
            .await
            .expect_ok();
        assert_eq!(counts["rows"][0], json!({ "n": 200, "roles": 148, "notes": 68, "ids": 195 }), "{dataset}");
        let bare = lake.sql(&format!("SELECT * FROM {dataset} WHERE phone = '555-0003'")).await.expect_ok();
        assert_eq!(bare["rows"], json!([{ "name": "Worker 003", "phone": "555-0003" }]), "{dataset}");
    }
    // A page of one sparse row widens nothing, and a later one with more does.
    lake.ingest_with("dataset=sparse_workers&format=ndjson", "{\"name\":\"New\",\"phone\":\"555-9999\"}\n").await.expect_ok();
    let more = "{\"name\":\"Newer\",\"phone\":\"555-9998\",\"languages\":[\"es\"]}\n";
    lake.ingest_with("dataset=sparse_workers&format=ndjson", more).await.expect_ok();
    lake.sql("SELECT count(*) AS n, count(languages) AS l FROM sparse_workers").await.expect_cell("l", 1);

    let index = json!({ "index_name": "by_name", "id_column": "phone", "text_column": "name" });
    let refreshed = lake.post("/vectors/refresh/sparse_workers", index).await.expect_ok();
    assert_eq!(refreshed["rows"], 202, "{refreshed}");
    let found = lake.post("/vectors/hybrid", json!({ "index": "by_name", "query": "Worker 003", "k": 1 })).await;
    assert_eq!(found.keys(), ["555-0003"]);
    let index = json!({ "index_name": "by_notes", "id_column": "phone", "text_column": "notes" });
    let refreshed = lake.post("/vectors/refresh/sparse_workers", index).await.expect_ok();
    assert_eq!((&refreshed["rows"], &refreshed["rows_without_content"]), (&json!(68), &json!(134)), "{refreshed}");
    let found = lake.post("/vectors/hybrid", json!({ "index": "by_notes", "query": "bilingual forklift trainer", "k": 1 })).await;
    assert_eq!(found.keys(), ["555-0150"]);
}
