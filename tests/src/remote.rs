//! Buckets of an S3-compatible service: the same promises over a network that fails.

use lakehouse_s3_server::{ACCESS_KEY, BUCKET, Fault, S3Server, SECRET_KEY};
use reqwest::Method;
use serde_json::json;

use crate::{
    answer::Answer,
    beside::{SILENCE, becomes, role},
    lake::{Lake, Options, files},
};

/// `[buckets.NAME]` at a server.
fn bucket(name: &str, server: &S3Server, more: &str) -> String {
    format!(
        "[buckets.{name}]\nkind = \"s3\"\nbucket = \"{BUCKET}\"\nendpoint = \"{}\"\nallow_http = true\n\
         access_key_id = \"{ACCESS_KEY}\"\nsecret_access_key = \"{SECRET_KEY}\"\n{more}\n",
        server.endpoint()
    )
}

fn options(config: String) -> Options {
    Options { config: Some(config), ..Options::default() }
}

async fn ingest_into(lake: &Lake, bucket: &str, dataset: &str, csv: &str) -> Answer {
    let request = lake.request(Method::POST, &format!("/ingest/file?dataset={dataset}&format=csv&key=id"));
    lake.send(request.header("X-Lakehouse-Bucket", bucket).body(csv.to_owned())).await
}

#[tokio::test]
async fn a_dataset_in_a_remote_bucket_is_written_joined_kept_and_deleted() {
    let server = S3Server::start();
    let mut lake = Lake::start_with(options(bucket("far", &server, "prefix = \"lake/tables\""))).await;
    lake.ingest("here", "id,v\n1,a\n2,b\n").await.expect_ok();
    let report = ingest_into(&lake, "far", "there", "id,w\n1,x\n2,y\n3,z\n").await.expect_status(201);
    assert_eq!((&report["bucket"], &report["rows"]), (&json!("far"), &json!(3)));
    assert!(server.keys().iter().all(|key| key.starts_with("lake/tables/")), "{:?}", server.keys());
    let join = "SELECT string_agg(v || w, ',' ORDER BY v) AS all FROM here JOIN there ON here.id = there.id";
    lake.sql(join).await.expect_cell("all", "ax,by");

    lake.kill_and_restart().await;
    lake.sql(join).await.expect_cell("all", "ax,by");
    lake.bury("there", "id", ["2"]).await.expect_ok();
    lake.sql("SELECT count(*) AS n FROM there").await.expect_cell("n", 2);

    // The service fails, breaks off and loses answers, commits of the log among them.
    for fault in [Fault::Refuse, Fault::Drop, Fault::LoseAnswer] {
        for method in [Method::PUT, Method::GET, Method::HEAD, Method::POST, Method::DELETE] {
            server.inject(method, "/datasets/", fault, 2);
        }
        ingest_into(&lake, "far", "there", "id,w\n9,q\n").await.expect_status(201);
        server.heal();
    }
    lake.sql("SELECT count(*) AS n FROM there WHERE w = 'q'").await.expect_cell("n", 3);

    lake.delete("/catalog/datasets/there").await.expect_ok();
    lake.stop_and_restart().await;
    assert_eq!(lake.datasets().await, ["here"]);
    assert_eq!(server.keys(), ["lake/tables/_probe"]);
    assert!(!lake.log().contains(SECRET_KEY), "a secret in the log");
}

#[tokio::test]
async fn buckets_are_shown_with_their_health_and_without_secrets() {
    let server = S3Server::start();
    let stated = format!("secret_access_key = \"{SECRET_KEY}\"");
    let config = bucket("far", &server, "").replace(&stated, "secret_access_key_env = \"LAKE_SECRET\"");
    let config = config + "[buckets.scratch]\nkind = \"memory\"\n";
    let env = vec![("LAKE_SECRET".to_owned(), SECRET_KEY.to_owned())];
    let lake = Lake::start_with(Options { env, ..options(config) }).await;
    ingest_into(&lake, "far", "there", "id,w\n1,x\n").await.expect_status(201);
    let shown = lake.get("/buckets").await.expect_ok();
    let [far, primary, scratch] = &shown["buckets"].as_array().unwrap()[..] else { panic!("{shown}") };
    assert_eq!(
        (&far["name"], &far["kind"], &far["volatile"], &far["healthy"]),
        (&json!("far"), &json!("s3"), &json!(false), &json!(true))
    );
    assert_eq!(far["location"], format!("{}/{BUCKET}", server.endpoint()));
    assert!(far["latency_ms"].as_f64().unwrap() > 0.0 && far["counters"]["writes"].as_u64().unwrap() >= 2, "{far}");
    assert_eq!((&primary["kind"], &scratch["kind"], &scratch["volatile"]), (&json!("local"), &json!("memory"), &json!(true)));
    assert!(!shown.to_string().contains(SECRET_KEY) && !shown.to_string().contains(ACCESS_KEY), "{shown}");

    server.inject(Method::HEAD, "_probe", Fault::Refuse, 1000);
    assert_eq!(lake.get("/buckets").await.expect_ok()["buckets"][0]["healthy"], false);
    let reader = lake.new_key("a-reader", "reader", json!([])).await;
    let seen = reader.get("/buckets").await.expect_ok();
    assert!(seen["buckets"][1].get("location").is_none() && seen["buckets"][1].get("counters").is_none(), "{seen}");
    assert_eq!(seen["buckets"][1]["name"], "primary");
    let migrated = lake.post("/catalog/migrate-buckets", json!({})).await.expect_ok();
    assert_eq!(migrated, json!({ "renamed": 0, "already_canonical": 1, "total": 1 }));
    reader.post("/catalog/migrate-buckets", json!({})).await.expect_problem("forbidden");
}

#[tokio::test]
async fn a_lake_whose_primary_bucket_is_remote_keeps_everything_there() {
    let server = S3Server::start();
    let mut lake =
        Lake::start_with(options(bucket("primary", &server, ""))).await.with_candidates(2_000).await.with_safe_view().await;
    let local = lake.data().join("data");
    let before = files(&local);
    lake.bury("candidates", "candidate_id", ["CAND-000001"]).await.expect_ok();
    lake.sql("SELECT count(*) AS n FROM candidates").await.expect_cell("n", 1_999);
    let index = json!({ "index_name": "people", "id_column": "candidate_id", "text_column": "city" });
    lake.post("/vectors/refresh/candidates", index).await.expect_ok();
    let events = lake.events().await;
    for restart in 0..2 {
        match restart {
            0 => lake.kill_and_restart().await,
            _ => lake.stop_and_restart().await,
        }
        lake.sql("SELECT count(*) AS n FROM candidates").await.expect_cell("n", 1_999);
        lake.sql("SELECT count(*) AS n FROM candidates_safe WHERE candidate_id LIKE 'CAND-000%'").await.expect_cell("n", 0);
        assert_eq!(lake.events().await, events);
    }
    // One that was killed said no farewell: it is waited for whether it gives a sign of life.
    becomes(&lake, "writer", SILENCE).await;
    lake.bury("candidates", "candidate_id", ["CAND-000002"]).await.expect_ok();
    // One that was stopped did.
    lake.stop_and_restart().await;
    assert_eq!(role(&lake).await, "writer");
    lake.sql("SELECT count(*) AS n FROM candidates").await.expect_cell("n", 1_998);
    assert_eq!(files(&local), before, "a folder that nobody declared");
    assert!(before.iter().all(|file| !file.to_string_lossy().contains("datasets")), "{before:?}");
    for part in ["_meta/1/", "_plugins/", "datasets/", "indexes/"] {
        assert!(server.keys().iter().any(|key| key.starts_with(part)), "{part}");
    }
}

#[tokio::test]
async fn a_bucket_that_is_taken_from_the_settings_takes_only_its_datasets_with_it() {
    let server = S3Server::start();
    let config = bucket("far", &server, "");
    let mut lake = Lake::start_with(options(config.clone())).await;
    lake.ingest("here", "id\n1\n").await.expect_ok();
    ingest_into(&lake, "far", "there", "id,w\n1,x\n").await.expect_status(201);
    let kept = server.keys();

    lake.reconfigure("");
    lake.sql("SELECT count(*) AS n FROM here").await.expect_cell("n", 1);
    let problem = lake.sql("SELECT * FROM there").await.expect_problem("bucket_missing");
    assert!(
        problem["detail"].as_str().is_some_and(|detail| detail.contains("`there`") && detail.contains("bucket")),
        "{problem}"
    );
    lake.ingest("there", "id,w\n2,y\n").await.expect_problem("bucket_missing");
    lake.delete("/catalog/datasets/there").await.expect_problem("bucket_missing");
    assert_eq!(lake.datasets().await, ["here", "there"]);
    assert!(lake.log().contains("lives in bucket `far`"), "{}", lake.log());
    assert_eq!(server.keys(), kept);

    lake.reconfigure(&config);
    lake.sql("SELECT w FROM there").await.expect_cell("w", "x");
    ingest_into(&lake, "far", "there", "id,w\n2,y\n").await.expect_ok();
    lake.sql("SELECT count(*) AS n FROM there").await.expect_cell("n", 2);
}

#[tokio::test]
async fn a_bucket_that_cannot_be_used_ends_the_start_with_its_name() {
    let server = S3Server::start();
    let wrong = bucket("far", &server, "").replace(ACCESS_KEY, "AKIANOBODY");
    let told = Lake::refuses_to_start(options(wrong)).await;
    assert!(told.contains("bucket `far`") && told.contains("refuses the access key"), "{told}");
    assert!(!told.contains(SECRET_KEY), "{told}");
}

#[tokio::test]
async fn keys_may_come_from_the_environment_as_for_other_tools() {
    let server = S3Server::start();
    let config: String =
        bucket("far", &server, "").lines().filter(|line| !line.contains("access_key")).collect::<Vec<_>>().join("\n");
    let env = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let lake = Lake::start_with(Options { env, ..options(config) }).await;
    ingest_into(&lake, "far", "there", "id,w\n1,x\n").await.expect_status(201);
    lake.sql("SELECT w FROM there").await.expect_cell("w", "x");
}
