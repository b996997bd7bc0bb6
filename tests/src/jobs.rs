//! Jobs: long work that nobody waits for.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    answer::Answer,
    caller::Caller,
    indexes::{lake_of, notes},
    lake::Lake,
};

impl Caller {
    async fn later(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).header("Prefer", "respond-async").json(&body)).await
    }

    async fn job_ends(&self, id: &str) -> Value {
        for _ in 0..600 {
            let job = self.get(&format!("/jobs/{id}")).await.expect_ok();
            if job["state"] != "running" {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("job {id} never ends");
    }
}

#[tokio::test]
async fn long_work_answers_at_once_and_its_report_is_kept() {
    let mut lake = lake_of(30).await;
    lake.ingest("people", "k,grp,note\nK-99,1,more\n").await.expect_ok();
    let started = lake.later("/query/compact", json!({ "dataset": "people" })).await.expect_status(202);
    let id = started["job"]["id"].as_str().unwrap().to_owned();
    assert_eq!(started["job"]["kind"], "compact", "{started}");
    let job = lake.job_ends(&id).await;
    assert_eq!((&job["state"], &job["report"]["files_after"]), (&json!("done"), &json!(1)), "{job}");
    let refreshed = lake.later("/vectors/refresh/people", notes("people_notes")).await.expect_status(202);
    let refreshed = lake.job_ends(refreshed["job"]["id"].as_str().unwrap()).await;
    assert_eq!(refreshed["report"]["new_docs"], 31, "{refreshed}");
    let erased = json!({ "dataset": "people", "row_key_column": "k", "row_key_values": ["K-3"] });
    let erased = lake.later("/erasure", erased).await.expect_status(202);
    let erased = lake.job_ends(erased["job"]["id"].as_str().unwrap()).await;
    assert_eq!(erased["report"]["scan"]["clean"], true, "{erased}");
    let activated = lake.later("/vectors/profile/default/activate", json!(null)).await.expect_status(202);
    assert_eq!(lake.job_ends(activated["job"]["id"].as_str().unwrap()).await["state"], "done");
    lake.kill_and_restart().await;
    assert_eq!(lake.get(&format!("/jobs/{id}")).await.expect_ok()["report"], job["report"], "it outlives a restart");
    assert_eq!(lake.get("/jobs").await.expect_ok()["jobs"].as_array().map(Vec::len), Some(4));
}

#[tokio::test]
async fn what_fails_says_why_and_others_do_not_see_it() {
    let lake = lake_of(5).await;
    let started = lake.later("/query/compact", json!({ "dataset": "nobody" })).await.expect_status(202);
    let id = started["job"]["id"].as_str().unwrap().to_owned();
    let job = lake.job_ends(&id).await;
    assert_eq!((&job["state"], &job["problem"]["code"]), (&json!("failed"), &json!("unknown_dataset")), "{job}");
    // A body that cannot be read is refused before there is a job.
    lake.later("/query/compact", json!({ "datasets": "people" })).await.expect_problem("invalid_body");
    let reader = lake.new_key("reader", "reader", json!([])).await;
    reader.get(&format!("/jobs/{id}")).await.expect_problem("unknown_job");
    reader.send(reader.request(Method::DELETE, &format!("/jobs/{id}"))).await.expect_problem("unknown_job");
    assert_eq!(reader.get("/jobs").await.expect_ok()["jobs"], json!([]));
    reader.later("/query/compact", json!({ "dataset": "people" })).await.expect_problem("forbidden");
    lake.get("/jobs/none").await.expect_problem("unknown_job");
}

#[tokio::test]
async fn a_job_is_cancelled_or_interrupted_and_nothing_of_it_is_seen() {
    let mut lake = Lake::start().await.with_candidates(60_000).await;
    let index = |name: &str| json!({ "index_name": name, "id_column": "candidate_id", "text_column": "resume_text" });
    let started = lake.later("/vectors/refresh/candidates", index("one")).await.expect_status(202);
    let id = started["job"]["id"].as_str().unwrap().to_owned();
    lake.send(lake.request(Method::DELETE, &format!("/jobs/{id}"))).await.expect_ok();
    let job = lake.job_ends(&id).await;
    assert_eq!((&job["state"], &job["problem"]["code"]), (&json!("cancelled"), &json!("cancelled")), "{job}");
    lake.hybrid(json!({ "index": "one", "query": "x", "k": 1 })).await.expect_any_problem();

    let started = lake.later("/vectors/refresh/candidates", index("two")).await.expect_status(202);
    let id = started["job"]["id"].as_str().unwrap().to_owned();
    lake.kill_and_restart().await;
    let job = lake.get(&format!("/jobs/{id}")).await.expect_ok();
    assert_eq!((&job["state"], &job["problem"]["code"]), (&json!("failed"), &json!("interrupted")), "{job}");
    lake.sql("SELECT count(*) AS n FROM candidates").await.expect_cell("n", 60_000);
}
