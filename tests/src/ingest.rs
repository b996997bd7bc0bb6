//! Rows come in whole, or not at all and with a reason.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    ipc::writer::{FileWriter, StreamWriter},
};
use lakehouse_cli::Candidates;
use reqwest::Method;
use serde_json::json;

use crate::{
    caller::gzip,
    lake::{Lake, Options},
};

fn two_rows() -> RecordBatch {
    let columns: [(&str, ArrayRef); 2] =
        [("id", Arc::new(Int64Array::from(vec![1, 2]))), ("name", Arc::new(StringArray::from(vec![Some("Ana"), None])))];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn parquet() -> Vec<u8> {
    let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), two_rows().schema(), None).unwrap();
    writer.write(&two_rows()).unwrap();
    writer.into_inner().unwrap()
}

fn arrow_stream() -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &two_rows().schema()).unwrap();
    writer.write(&two_rows()).unwrap();
    writer.into_inner().unwrap()
}

fn arrow_file() -> Vec<u8> {
    let mut writer = FileWriter::try_new(Vec::new(), &two_rows().schema()).unwrap();
    writer.write(&two_rows()).unwrap();
    writer.into_inner().unwrap()
}

#[tokio::test]
async fn the_same_rows_come_in_by_every_format() {
    let lake = Lake::start().await;
    let csv = b"id,name\n1,Ana\n2,\n".to_vec();
    for (name, format, body) in [
        ("csv", "csv", csv.clone()),
        ("tsv", "tsv", b"id\tname\n1\tAna\n2\t\n".to_vec()),
        ("ndjson", "ndjson", b"{\"id\":1,\"name\":\"Ana\"}\n{\"id\":2}\n".to_vec()),
        ("json", "json", br#"[{"id":1,"name":"Ana"},{"id":2,"name":null}]"#.to_vec()),
        ("parquet", "parquet", parquet()),
        ("arrow_stream", "arrow", arrow_stream()),
        ("arrow_file", "arrow", arrow_file()),
        ("csv_gz", "csv", gzip(&csv)),
    ] {
        let report = lake.ingest_with(&format!("dataset={name}&format={format}"), body).await.expect_status(201);
        assert_eq!((&report["rows"], &report["bucket"]), (&json!(2), &json!("primary")), "{name}");
        let rows = lake.sql(&format!("SELECT id, name FROM {name} ORDER BY id")).await.expect_ok()["rows"].clone();
        assert_eq!(rows, json!([{ "id": 1, "name": "Ana" }, { "id": 2 }]), "{name}");
    }
}

#[tokio::test]
async fn a_form_names_its_file_and_the_file_its_format() {
    let lake = Lake::start().await;
    let form =
        "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"people.tsv\"\r\n\r\nid\tname\n7\tBo\n\r\n--x--\r\n";
    let request = lake
        .request(Method::POST, "/ingest/file?dataset=people")
        .header("Content-Type", "multipart/form-data; boundary=x")
        .body(form);
    assert_eq!(lake.send(request).await.expect_status(201)["rows"], 1);
    lake.sql("SELECT name FROM people WHERE id = 7").await.expect_cell("name", "Bo");
}

#[tokio::test]
async fn odd_names_and_odd_values_survive() {
    let lake = Lake::start().await;
    let csv = "Id No.,\"say \"\"hi\"\"\",größe,select\n1,\"a,b\n\"\"c\"\"\",✓ žluť,x\n2,,,\n";
    lake.ingest("odd", csv).await.expect_status(201);
    let answer = lake.sql(r#"SELECT "say ""hi""" AS v, "größe" AS g, "select" AS s FROM odd WHERE "Id No." = 1"#).await;
    assert_eq!(answer.expect_ok()["rows"], json!([{ "v": "a,b\n\"c\"", "g": "✓ žluť", "s": "x" }]));
    lake.sql(r#"SELECT count(*) AS n FROM odd WHERE "select" IS NULL"#).await.expect_cell("n", 1);
}

#[tokio::test]
async fn a_new_column_widens_the_dataset_and_a_changed_type_is_refused() {
    let lake = Lake::start().await;
    lake.ingest("t", "id,v\n1,10\n2,20\n").await.expect_ok();
    lake.ingest("t", "id,v,w\n3,30,new\n").await.expect_ok();
    lake.sql("SELECT count(*) AS n FROM t WHERE w IS NULL").await.expect_cell("n", 2);

    let problem = lake.ingest("t", "id,v,w\n4,forty,x\n").await.expect_problem("invalid_data");
    let detail = problem["detail"].as_str().unwrap();
    assert_eq!((&problem["line"], &problem["column"]), (&json!(2), &json!("v")));
    assert!(detail.contains("integer") && detail.contains("text") && !detail.contains("forty"), "types, no value: {detail}");
    lake.sql("SELECT count(*) AS n FROM t").await.expect_cell("n", 3);

    lake.ingest_with("dataset=t&format=csv&mode=replace", "id,v\n9,nine\n").await.expect_ok();
    assert_eq!(lake.sql("SELECT id, v FROM t").await.expect_ok()["rows"], json!([{ "id": 9, "v": "nine" }]));
    assert_eq!(lake.datasets().await, ["t"]);
}

#[tokio::test]
async fn the_same_idempotency_key_has_one_effect() {
    let mut lake = Lake::start().await;
    let send = |body: &'static str| {
        let request =
            lake.request(Method::POST, "/ingest/file?dataset=t&format=csv").header("Idempotency-Key", "once").body(body);
        lake.send(request)
    };
    let first = send("id\n1\n2\n").await.expect_status(201);
    let again = futures::future::join_all((0..20).map(|_| send("id\n1\n2\n"))).await;
    for answer in again {
        let again = answer.expect_ok();
        assert_eq!((&again["version"], &again["rows"]), (&first["version"], &first["rows"]));
    }
    send("id\n3\n").await.expect_problem("idempotency_mismatch");
    lake.sql("SELECT count(*) AS n FROM t").await.expect_cell("n", 2);
    assert_eq!(lake.events().await, 1);

    lake.kill_and_restart().await;
    let request =
        lake.request(Method::POST, "/ingest/file?dataset=t&format=csv").header("Idempotency-Key", "once").body("id\n1\n2\n");
    lake.send(request).await.expect_ok();
    lake.sql("SELECT count(*) AS n FROM t").await.expect_cell("n", 2);
}

#[tokio::test]
async fn sixteen_writers_lose_nothing() {
    let mut lake = Lake::start().await;
    let writers = (0..16).map(|writer| {
        let lake = &lake;
        async move {
            for part in 0..3 {
                let id = writer * 10 + part;
                lake.ingest("t", format!("id\n{id}\n{}\n", 1000 + id)).await.expect_status(201);
            }
        }
    });
    futures::future::join_all(writers).await;
    lake.sql("SELECT count(*) AS n FROM t").await.expect_cell("n", 96);
    lake.sql("SELECT count(DISTINCT id) AS n FROM t").await.expect_cell("n", 96);
    assert_eq!(lake.events().await, 48);
    lake.kill_and_restart().await;
    lake.sql("SELECT count(DISTINCT id) AS n FROM t").await.expect_cell("n", 96);
}

#[tokio::test]
async fn bad_input_is_a_problem_and_nothing_is_half_done() {
    let lake = Lake::start_with(Options { config: Some("[server]\nmax_body_mib = 1\n".into()), ..Options::default() }).await;
    let big = Candidates { rows: 5_000 }.csv();
    assert!(big.len() > 1 << 20);
    for (what, query, body, code, said) in [
        ("a row too long", "dataset=t&format=csv", "a,b\n1,2\n1,2,3\n", "invalid_data", "line 3"),
        ("a quote that never ends", "dataset=t&format=csv", "a,b\n1,\"2\n", "invalid_data", "line"),
        ("the same name twice", "dataset=t&format=csv", "a,b,a\n1,2,3\n", "invalid_data", "a"),
        ("nothing", "dataset=t&format=csv", "", "invalid_data", "empty"),
        ("broken JSON", "dataset=t&format=ndjson", "{\"a\":1}\n{\"a\":\n", "invalid_data", "line 2"),
        ("JSON that is no object", "dataset=t&format=ndjson", "{\"a\":1}\n7\n", "invalid_data", "line 2"),
        ("no Parquet", "dataset=t&format=parquet", "PAR1 is not enough", "invalid_data", ""),
        ("no Arrow", "dataset=t&format=arrow", "ARROW1", "invalid_data", ""),
        ("no such format", "dataset=t&format=xlsx", "a\n1\n", "unsupported_format", "csv"),
        ("no format at all", "dataset=t", "a\n1\n", "unsupported_format", ""),
        ("a name that is none", "dataset=T%20t&format=csv", "a\n1\n", "", "lower-case"),
        ("no name", "format=csv", "a\n1\n", "invalid_parameter", "dataset"),
        ("a parameter that is none", "dataset=t&format=csv&moed=append", "a\n1\n", "invalid_parameter", "moed"),
        ("a key that is no column", "dataset=t&format=csv&key=nope", "a\n1\n", "", "nope"),
    ] {
        let answer = lake.ingest_with(query, body).await;
        let problem = answer.expect_any_problem();
        assert!((400..500).contains(&answer.status), "{what}: {problem}");
        assert!(code.is_empty() || problem["code"] == code, "{what}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{what}: {problem}");
    }
    lake.ingest_with("dataset=t&format=csv", big).await.expect_problem("body_too_large");
    let request =
        lake.request(Method::POST, "/ingest/file?dataset=t&format=csv").header("X-Lakehouse-Bucket", "testin").body("a\n1\n");
    let problem = lake.send(request).await.expect_problem("unknown_bucket");
    assert_eq!(problem["valid_buckets"], json!(["primary"]));

    assert_eq!(lake.datasets().await, [""; 0]);
    assert_eq!(lake.events().await, 0);
    lake.ingest("t", "a\n1\n").await.expect_ok();
    lake.sql("SELECT count(*) AS n FROM t").await.expect_cell("n", 1);
}

#[tokio::test]
async fn rows_that_cannot_be_read_are_skipped_on_request_and_reported() {
    let lake = Lake::start().await;
    let report = lake.ingest_with("dataset=t&format=csv&on_error=skip", "a,b\n1,2\n3\n4,5,6\n7,8\n").await.expect_status(201);
    assert_eq!(report["rows"], 2, "{report}");
    assert_eq!(report["rejected"].as_array().map(Vec::len), Some(2), "{report}");
    lake.sql("SELECT sum(a) AS n FROM t").await.expect_cell("n", 8);
}

#[tokio::test]
async fn another_bucket_holds_a_dataset_and_joins_cross_them() {
    let config =
        "[buckets.primary]\nkind = \"local\"\npath = \"data\"\n[buckets.testing]\nkind = \"local\"\npath = \"testing\"\n";
    let lake = Lake::start_with(Options { config: Some(config.into()), ..Options::default() }).await;
    lake.ingest("here", "id,v\n1,a\n").await.expect_ok();
    let there = |dataset: &str| {
        lake.request(Method::POST, &format!("/ingest/file?dataset={dataset}&format=csv"))
            .header("X-Lakehouse-Bucket", "testing")
            .body("id,w\n1,b\n")
    };
    assert_eq!(lake.send(there("there")).await.expect_status(201)["bucket"], "testing");
    lake.send(there("here")).await.expect_problem("bucket_mismatch");
    lake.sql("SELECT v || w AS vw FROM here JOIN there ON here.id = there.id").await.expect_cell("vw", "ab");
    assert_eq!(lake.get("/catalog/datasets/by-name/there").await.expect_ok()["bucket"], "testing");
}

#[tokio::test]
async fn a_dataset_in_use_stays_and_one_that_is_not_goes_for_good() {
    let mut lake = Lake::start().await.with_candidates(50).await.with_safe_view().await;
    let problem = lake.delete("/catalog/datasets/candidates").await.expect_problem("in_use");
    assert!(problem["used_by"].to_string().contains("candidates_safe"), "{problem}");
    lake.delete("/catalog/views/candidates_safe").await.expect_ok();
    lake.delete("/catalog/datasets/candidates").await.expect_ok();
    lake.sql("SELECT 1 FROM candidates").await.expect_problem("unknown_table");
    lake.kill_and_restart().await;
    assert_eq!(lake.datasets().await, [""; 0]);
    lake.ingest("candidates", "a\n1\n").await.expect_status(201);
    lake.sql("SELECT count(*) AS n FROM candidates").await.expect_cell("n", 1);
}

#[tokio::test]
async fn a_repeated_request_gets_the_very_answer_of_the_first_for_as_long_as_it_is_true() {
    let mut lake = Lake::start().await;
    async fn send(lake: &Lake) -> serde_json::Value {
        let request = lake.request(Method::POST, "/ingest/file?dataset=t&format=csv&on_error=skip");
        lake.send(request.header("Idempotency-Key", "once").body("id,v\n1,2\n3\n4,5\n")).await.expect_status(201)
    }
    let first = send(&lake).await;
    assert_eq!(send(&lake).await, first);
    lake.kill_and_restart().await;
    assert_eq!(send(&lake).await, first);
    lake.sql("SELECT count(*) AS n FROM t").await.expect_cell("n", 2);

    lake.delete("/catalog/datasets/t").await.expect_ok();
    assert_eq!(send(&lake).await["rows"], 2, "the rows are not reported but written");
    lake.sql("SELECT count(*) AS n FROM t").await.expect_cell("n", 2);
    assert_eq!(lake.events().await, 3);
}

#[tokio::test]
async fn rows_in_memory_go_with_the_server_and_everything_else_stays() {
    let config = "[buckets.primary]\nkind = \"local\"\npath = \"data\"\n[buckets.scratch]\nkind = \"memory\"\n";
    let mut lake = Lake::start_with(Options { config: Some(config.into()), ..Options::default() }).await;
    lake.ingest("kept", "id\n1\n2\n").await.expect_ok();
    for dataset in ["passing", "unused"] {
        let request = lake.request(Method::POST, &format!("/ingest/file?dataset={dataset}&format=csv&key=id"));
        lake.send(request.header("X-Lakehouse-Bucket", "scratch").body("id,v\na,1\nb,2\n")).await.expect_status(201);
    }
    lake.put_view("passing_view", "passing", &["v"], json!({})).await.expect_ok();
    lake.bury("passing", "id", ["a"]).await.expect_ok();
    for restart in 0..2 {
        match restart {
            0 => lake.stop_and_restart().await,
            _ => lake.kill_and_restart().await,
        }
        lake.sql("SELECT count(*) AS n FROM kept").await.expect_cell("n", 2);
        assert_eq!(lake.datasets().await, ["kept", "passing", "unused"]);
        for relation in ["passing", "passing_view", "__raw__passing"] {
            lake.sql(&format!("SELECT v FROM {relation}")).await.expect_any_problem();
        }
        let problem = lake.bury("passing", "id", ["b"]).await.expect_problem("unknown_dataset");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("memory")), "{problem}");
    }

    let report = lake.ingest("passing", "id,v\na,3\nc,4\n").await.expect_status(201);
    assert_eq!((&report["bucket"], &report["version"], &report["tombstoned_keys"]), (&json!("scratch"), &json!(0), &json!(1)));
    for relation in ["passing", "passing_view"] {
        assert_eq!(lake.sql(&format!("SELECT v FROM {relation}")).await.column("v"), [json!(4)], "a buried row stays buried");
    }
    lake.delete("/catalog/datasets/unused").await.expect_ok();
    lake.delete("/catalog/views/passing_view").await.expect_ok();
    lake.kill_and_restart().await;
    lake.delete("/catalog/datasets/passing").await.expect_ok();
    assert_eq!(lake.datasets().await, ["kept"]);
}

#[tokio::test]
async fn a_table_that_cannot_be_read_is_a_problem_of_its_own_and_of_nobody_else() {
    let mut lake = Lake::start().await;
    lake.ingest("broken", "id\nperson-1\nperson-2\n").await.expect_ok();
    let folders = std::fs::read_dir(lake.data().join("data/datasets")).unwrap();
    let [folder] = &folders.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()[..] else { panic!("one folder") };
    lake.ingest("whole", "id\n1\n2\n").await.expect_ok();
    lake.kill();
    let log = folder.join("_delta_log/00000000000000000000.json");
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, &text[..text.len() / 2]).unwrap();

    lake.kill_and_restart().await;
    lake.sql("SELECT count(*) AS n FROM whole").await.expect_cell("n", 2);
    lake.ingest("whole", "id\n3\n").await.expect_ok();
    assert_eq!(lake.datasets().await, ["broken", "whole"], "it is not missing");
    for answer in [lake.ingest("broken", "id\nx\n").await, lake.bury("broken", "id", ["person-1"]).await] {
        let problem = answer.expect_problem("corrupt");
        let detail = problem["detail"].as_str().unwrap();
        assert!(answer.status == 500 && detail.contains("`broken`") && detail.contains("Delta log"), "{problem}");
    }
    lake.sql("SELECT count(*) AS n FROM broken").await.expect_any_problem();
    let told = lake.log();
    assert!(told.lines().any(|line| line.contains("ERROR") && line.contains("`broken`")), "{told}");
    assert!(!told.contains("person-"), "no value is told: {told}");

    std::fs::write(&log, text).unwrap();
    lake.kill_and_restart().await;
    lake.sql("SELECT count(*) AS n FROM broken").await.expect_cell("n", 2);
    std::fs::remove_file(&log).unwrap();
    lake.kill_and_restart().await;
    lake.ingest("broken", "id\nx\n").await.expect_problem("corrupt");
    lake.delete("/catalog/datasets/broken").await.expect_ok();
    lake.ingest("broken", "id\nx\n").await.expect_status(201);
    lake.sql("SELECT count(*) AS n FROM broken").await.expect_cell("n", 1);
}
