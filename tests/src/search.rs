//! Search: governed, filtered, scoped. T-26 (vector side), T-46 (embedders).

use serde_json::{Value, json};

use crate::{
    caller::Caller,
    indexes::{csv, note, notes},
    lake::{Lake, Options, component},
};

/// What no hit through a redacting view may hold.
const MAIL: &str = "@";

/// A view with its contact data redacted, a profile that is bound to it, and a reader of it.
async fn recruiting(rows: u64) -> (Lake, Caller) {
    let lake = Lake::start().await.with_candidates(rows).await;
    let rules = json!([{ "name": "pii", "kind": "redactor", "component": "redact-pii", "config": {} }]);
    lake.put_rules("default", rules.clone()).await.expect_ok();
    let view = json!({
        "name": "resumes", "base_dataset": "candidates", "columns": ["candidate_id", "state", "years_experience", "resume_text"],
        "row_filter": "status <> 'do_not_contact'", "column_redactions": { "resume_text": { "plugin": { "rule": "pii" } } },
    });
    lake.post("/catalog/views", view).await.expect_status(201);
    let profile = json!({ "id": "recruiter", "bound_datasets": ["resumes"], "rules": rules });
    lake.post("/catalog/profiles", profile).await.expect_status(201);
    let body = json!({ "index_name": "texts", "id_column": "candidate_id", "text_column": "resume_text" });
    lake.under("recruiter").refresh("resumes", body).await.expect_ok();
    let key = json!({
        "name": "rita", "role": "reader", "grants": [{ "view": "resumes", "verbs": ["read"] }], "default_profile": "recruiter",
    });
    let made = lake.post("/admin/keys", key).await.expect_status(201);
    let reader = lake.as_key(made["key"].as_str().unwrap());
    (lake, reader)
}

#[tokio::test]
async fn hits_are_what_the_view_shows_and_tombstones_apply_at_once() {
    let (lake, reader) = recruiting(2_000).await;
    let seen = reader.sql("SELECT count(*) AS n FROM resumes").await.n();
    let all = reader.post("/vectors/profile/recruiter/search", json!({ "index": "texts", "query": "forklift", "k": 1000 })).await;
    assert_eq!((all.keys().len(), all.text().contains(MAIL)), (1000, false), "no address leaves");
    assert!(lake.sql("SELECT resume_text FROM candidates LIMIT 1").await.text().contains(MAIL), "there are some");
    let candidates = all.json()["candidates"].as_u64().unwrap();
    assert!(candidates >= seen, "{candidates} chunks of {seen} rows");

    let key = all.keys()[0].clone();
    lake.bury("candidates", "candidate_id", [key.as_str()]).await.expect_ok();
    let body = json!({ "index": "texts", "query": "forklift", "k": 1000 });
    assert!(!reader.hybrid(body.clone()).await.keys().contains(&key), "it is gone with the next search");
    let undo = lake.request(reqwest::Method::DELETE, "/catalog/datasets/by-name/candidates/tombstone");
    lake.send(undo.json(&json!({ "row_key_values": [key] }))).await.expect_ok();
    assert!(reader.hybrid(body.clone()).await.keys().contains(&key), "and back");
    // By another column than the index's.
    let lake = Lake::start().await;
    lake.ingest("people", "k,mail,note\na,x@y,forklift\nb,z@y,forklift\n").await.expect_ok();
    lake.refresh("people", notes("notes")).await.expect_ok();
    lake.bury("people", "mail", ["x@y"]).await.expect_ok();
    assert_eq!(lake.hybrid(json!({ "index": "notes", "query": "forklift" })).await.keys(), ["b"]);
}

#[tokio::test]
async fn nobody_finds_what_they_may_not_read() {
    let (lake, reader) = recruiting(300).await;
    lake.refresh("candidates", json!({ "index_name": "raw", "id_column": "candidate_id", "text_column": "resume_text" }))
        .await
        .expect_ok();
    let ask = |index: &str| json!({ "index": index, "query": "forklift" });
    // Neither the base's index nor one that does not exist.
    for index in ["raw", "nothing"] {
        let problem = reader.hybrid(ask(index)).await.expect_problem("unknown_index");
        assert!(problem["detail"].as_str().unwrap().contains(index), "{problem}");
    }
    assert_eq!(reader.get("/vectors/indexes").await.expect_ok()["indexes"].as_array().unwrap().len(), 1);
    reader.get("/vectors/indexes/raw").await.expect_problem("unknown_index");
    // A grant on the base is none on the view, nor the other way round.
    let base_only = lake.new_key("basil", "reader", json!([{ "dataset": "candidates", "verbs": ["read"] }])).await;
    base_only.hybrid(ask("texts")).await.expect_problem("unknown_index");
    assert_eq!(base_only.hybrid(ask("raw")).await.keys().len(), 10);
    // A grant on the index lets it be searched, by similarality alone.
    let by_index = lake.new_key("ines", "reader", json!([{ "index": "texts", "verbs": ["read"] }])).await;
    assert_eq!(by_index.hybrid(ask("texts")).await.keys().len(), 10);
    let filter = json!({ "index": "texts", "query": "forklift", "filter": "resume_text LIKE '%a%'" });
    by_index.hybrid(filter).await.expect_problem("forbidden");
    by_index.sql("SELECT * FROM resumes").await.expect_problem("unknown_table");
    // An operator without grants makes and drops indexes, and finds nothing.
    let operator = lake.new_key("omar", "operator", json!([])).await;
    operator.refresh("candidates", json!({ "index_name": "raw" })).await.expect_ok();
    operator.hybrid(ask("raw")).await.expect_problem("forbidden");
    for reader in [&reader, &base_only] {
        reader.refresh("candidates", json!({ "index_name": "raw" })).await.expect_problem("forbidden");
        reader.delete("/vectors/indexes/raw").await.expect_problem("forbidden");
    }
    // What the view hides is no filter either: as if it did not exist.
    let hidden = json!({ "index": "texts", "query": "forklift", "filter": "email LIKE 'a%'" });
    let problem = reader.hybrid(hidden).await.expect_problem("unknown_column");
    let never = json!({ "index": "texts", "query": "forklift", "filter": "no_such_column LIKE 'a%'" });
    let unknown = reader.hybrid(never).await.expect_problem("unknown_column");
    let told = |problem: &Value| problem["detail"].as_str().unwrap().replace("no_such_column", "email");
    assert_eq!(told(&problem), told(&unknown));
    // A subquery reaches no further than SQL does.
    let subquery =
        json!({ "index": "texts", "query": "forklift", "filter": "candidate_id IN (SELECT candidate_id FROM candidates)" });
    reader.hybrid(subquery).await.expect_any_problem();
}

#[tokio::test]
async fn a_changed_view_or_rule_closes_its_index_until_a_refresh() {
    let (lake, reader) = recruiting(300).await;
    let body = json!({ "index": "texts", "query": "forklift" });
    assert_eq!(reader.hybrid(body.clone()).await.keys().len(), 10);
    let stricter = json!({
        "name": "resumes", "base_dataset": "candidates", "columns": ["candidate_id", "state", "resume_text"],
        "row_filter": "status = 'available'", "column_redactions": { "resume_text": { "plugin": { "rule": "pii" } } },
    });
    lake.post("/catalog/views", stricter).await.expect_status(201);
    reader.hybrid(body.clone()).await.expect_problem("index_outdated");
    let why = lake.get("/vectors/indexes/texts").await.expect_ok()["stale_because"].clone();
    assert_eq!(why, json!(["view"]));
    lake.under("recruiter").refresh("resumes", json!({ "index_name": "texts" })).await.expect_ok();
    let found = reader.hybrid(json!({ "index": "texts", "query": "forklift", "k": 300 })).await.keys();
    assert_eq!(found.len() as u64, reader.sql("SELECT count(*) AS n FROM resumes").await.n());
    // Under a profile whose rule redacts otherwise the same index would show too much, or too little.
    let rules = json!([{ "name": "pii", "kind": "redactor", "component": "redact-null", "config": {} }]);
    lake.post("/catalog/profiles", json!({ "id": "blind", "rules": rules })).await.expect_status(201);
    lake.under("blind").hybrid(body.clone()).await.expect_problem("index_outdated");
    // It belongs to the profile that made it.
    let problem = lake.refresh("resumes", json!({ "index_name": "texts" })).await.expect_problem("index_mismatch");
    assert!(problem["detail"].as_str().unwrap().contains("`recruiter`"), "{problem}");
    let problem = lake.under("recruiter").refresh("candidates", json!({ "index_name": "texts" })).await;
    problem.expect_problem("not_bound");
}

#[tokio::test]
async fn a_profile_searches_what_it_is_bound_to() {
    let (lake, reader) = recruiting(300).await;
    lake.refresh("candidates", json!({ "index_name": "raw", "id_column": "candidate_id", "text_column": "resume_text" }))
        .await
        .expect_ok();
    let problem = lake.post("/vectors/profile/recruiter/search", json!({ "index": "raw", "query": "forklift" })).await;
    let problem = problem.expect_problem("not_bound");
    assert_eq!(problem["status"], 403);
    assert_eq!(problem["detail"], "profile 'recruiter' is not bound to 'candidates' — allowed bindings: [resumes]");
    assert_eq!(problem["allowed_bindings"], json!(["resumes"]));
    reader
        .post("/vectors/profile/default/search", json!({ "index": "texts", "query": "x" }))
        .await
        .expect_problem("profile_not_allowed");
    lake.post("/vectors/profile/nobody/search", json!({ "index": "raw", "query": "x" })).await.expect_problem("unknown_profile");

    let active = lake.post("/vectors/profile/recruiter/activate", json!({})).await.expect_ok();
    assert_eq!((&active["failed"], active["indexes"].as_array().map(Vec::len)), (&json!(0), Some(1)), "{active}");
    assert_eq!((&active["indexes"][0]["index"], &active["indexes"][0]["state"]), (&json!("texts"), &json!("warm")));
    let rules: Vec<&str> = active["rules"].as_array().unwrap().iter().map(|rule| rule["rule"].as_str().unwrap()).collect();
    assert!(["pii", "mask", "chunk", "ids", "embed"].iter().all(|rule| rules.contains(rule)), "{active}");
    reader.post("/vectors/profile/recruiter/activate", json!({})).await.expect_problem("forbidden");
    lake.post("/vectors/profile/nobody/activate", json!({})).await.expect_problem("unknown_profile");

    // Another embedder's vectors are no place to look with this one's.
    lake.push("evil", component("evil")).await.expect_status(201);
    let rules = json!([
        { "name": "pii", "kind": "redactor", "component": "redact-pii", "config": {} },
        { "name": "embed", "kind": "embedder", "component": "evil", "config": {} },
    ]);
    lake.post("/catalog/profiles", json!({ "id": "other", "rules": rules })).await.expect_status(201);
    let problem = lake.post("/vectors/profile/other/search", json!({ "index": "texts", "query": "forklift" })).await;
    let problem = problem.expect_problem("index_mismatch");
    assert!(problem["detail"].as_str().unwrap().contains("`embed-hash`"), "{problem}");
}

#[tokio::test]
async fn a_cold_index_is_searched_exactly_and_a_warm_one_by_its_graph() {
    let options = Options { config: Some("[vector]\nflat_below = 1000\n".into()), ..Options::default() };
    let mut lake = Lake::start_with(options).await;
    // Texts that differ in most of their words: a graph over near duplicates misses some.
    let text = |n: usize| (1..9).map(|at| format!("w{}", n * 7_919 * at % 1_543)).collect::<Vec<_>>().join(" ");
    lake.ingest("people", csv((0..2_500).map(|n| (n, text(n))))).await.expect_ok();
    lake.refresh("people", notes("notes")).await.expect_ok();
    assert_eq!(lake.get("/vectors/indexes/notes").await.expect_ok()["segments"], json!(["HNSW32"]));
    let ask = json!({ "index": "notes", "query": text(1_204), "k": 5 });
    let cold = lake.hybrid(ask.clone()).await;
    assert_eq!(cold.json()["method"], "brute_force");
    lake.post("/vectors/profile/default/activate", json!({})).await.expect_ok();
    let warm = lake.hybrid(ask.clone()).await;
    assert_eq!((warm.json()["method"].as_str(), &warm.keys()[0]), (Some("hnsw"), &cold.keys()[0]));
    assert_eq!(lake.get("/vectors/indexes/notes").await.expect_ok()["warm"], true);
    lake.kill_and_restart().await;
    assert_eq!(lake.hybrid(ask).await.keys(), cold.keys());
}

#[tokio::test]
async fn every_hit_satisfies_the_filter_and_there_are_as_many_as_there_can_be() {
    let options = Options { config: Some("[vector]\nflat_below = 1000\n".into()), ..Options::default() };
    let lake = Lake::start_with(options).await;
    lake.ingest("people", csv((0..3_000).map(|n| (n, note(n))))).await.expect_ok();
    lake.refresh("people", notes("notes")).await.expect_ok();
    lake.post("/vectors/profile/default/activate", json!({})).await.expect_ok();
    for filter in ["grp = 3", "grp < 6", "k = 'K-17'", "k = 'nobody'", "note LIKE '%nurse%' AND grp IN (1, 2)", "TRUE", "NULL"] {
        let matching = lake.sql(&format!("SELECT k FROM people WHERE {filter}")).await.column("k");
        for k in [1, 10, 500] {
            let found =
                lake.hybrid(json!({ "index": "notes", "query": "night forklift", "filter": filter, "k": k })).await.keys();
            assert_eq!(found.len(), k.min(matching.len()), "{filter}");
            assert!(found.iter().all(|key| matching.contains(&json!(key))), "{filter}");
        }
    }
    let counted = async |count: u64| lake.hybrid(json!({ "index": "notes", "query": "x", "count": count })).await.keys().len();
    assert_eq!((counted(1).await, counted(10).await), (20, 50));
    for (body, code) in [
        (json!({ "index": "notes", "query": "x", "filter": "grp = " }), "invalid_sql"),
        (json!({ "index": "notes", "query": "x", "filter": "grp = 1) OR (1 = 1" }), "invalid_sql"),
        (json!({ "index": "notes", "query": "x", "filter": "grp = 1; DROP TABLE people" }), "invalid_sql"),
        (json!({ "index": "notes", "query": "x", "filter": "missing = 1" }), "unknown_column"),
        (json!({ "index": "notes", "query": "x", "filter": "grp" }), "invalid_sql"),
        (json!({ "index": "notes", "query": "x", "k": 0 }), "invalid_parameter"),
        (json!({ "index": "notes", "query": "x", "k": 1_000_000_000 }), "invalid_parameter"),
        (json!({ "index": "notes", "query": "x", "count": 0 }), "invalid_parameter"),
        (json!({ "index": "notes", "query": "x", "k": 1, "count": 1 }), "invalid_body"),
        (json!({ "index": "notes" }), "invalid_body"),
        (json!({ "index": "notes", "query": "x", "vector": [1.0] }), "invalid_body"),
        (json!({ "index": "notes", "vector": [1.0, 2.0] }), "invalid_data"),
        (json!({ "index": "Notes", "query": "x" }), "invalid_body"),
        (json!({ "index": "notes", "query": "x", "fliter": "TRUE" }), "invalid_body"),
        (json!({ "index": "notes", "query": "x".repeat(40_000) }), "invalid_parameter"),
    ] {
        let answer = lake.hybrid(body.clone()).await;
        let problem = answer.expect_any_problem();
        assert_eq!(problem["code"], code, "{body}: {problem}");
    }
}

/// T-46: one query's text is not in another's vector.
#[tokio::test]
async fn an_embedder_forgets_from_one_request_to_the_next() {
    let lake = Lake::start().await;
    lake.push("evil", component("evil")).await.expect_status(201);
    let embedder = json!({ "name": "embed", "kind": "embedder", "component": "evil",
        "config": { "attack": "remember-state" } });
    lake.post("/catalog/profiles", json!({ "id": "sly", "rules": [embedder] })).await.expect_status(201);
    let sly = lake.under("sly");
    lake.ingest("people", csv((0..3).map(|n| (n, note(n))))).await.expect_ok();
    let body = json!({ "index_name": "notes", "id_column": "k", "text_column": "note", "metric": "inner_product" });
    sly.refresh("people", body).await.expect_ok();
    // Its vectors are as long as all that the instance has seen.
    let score =
        async || sly.hybrid(json!({ "index": "notes", "query": "secret", "k": 1 })).await.expect_ok()["hits"][0]["score"].clone();
    let first = score().await;
    for _ in 0..3 {
        assert_eq!(score().await, first);
    }
}

#[tokio::test]
async fn a_grant_on_an_index_lets_nobody_choose_what_is_in_it() {
    let lake = Lake::start().await;
    lake.ingest("people", "k,note,ssn\na,forklift,RAW-VALUE-7421\nb,nurse,RAW-VALUE-7422\n").await.expect_ok();
    lake.put_view("safe", "people", &["k", "note"], json!({})).await.expect_ok();
    lake.refresh("safe", notes("notes")).await.expect_ok();
    let grants = json!([{ "index": "notes", "verbs": ["read"] }, { "index": "mine", "verbs": ["read"] }]);
    let operator = lake.new_key("omar", "operator", grants).await;
    assert_eq!(operator.hybrid(json!({ "index": "notes", "query": "forklift", "k": 1 })).await.keys(), ["a"]);
    // As it is, it may be brought up to date; nothing else of it is theirs to decide.
    operator.refresh("safe", json!({ "index_name": "notes" })).await.expect_ok();
    let other = json!({ "index_name": "notes", "id_column": "note", "text_column": "k" });
    operator.refresh("safe", other).await.expect_problem("forbidden");
    let new = json!({ "index_name": "mine", "id_column": "k", "text_column": "ssn" });
    operator.refresh("people", new).await.expect_problem("forbidden");
    operator.put_view("safe", "people", &["k", "note", "ssn"], json!({})).await.expect_problem("forbidden");
    // Under a name that they may not search they index what they like, and see nothing.
    operator.refresh("people", json!({ "index_name": "theirs", "id_column": "k", "text_column": "ssn" })).await.expect_ok();
    operator.hybrid(json!({ "index": "theirs", "query": "RAW" })).await.expect_problem("forbidden");
    let denied = lake.get("/journal/events?kind=denied&actor=omar").await.expect_ok();
    assert!(!denied["events"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_buried_row_is_not_found_by_another_rows_id() {
    let lake = Lake::start().await;
    lake.ingest("slots", "slot,person,note\n5,ada,forklift in London\n6,ben,nurse\n").await.expect_ok();
    let body = json!({ "index_name": "slots", "id_column": "slot", "text_column": "note" });
    lake.refresh("slots", body).await.expect_ok();
    lake.ingest("slots", "slot,person,note\n5,cleo,cook in Paris\n").await.expect_ok();
    // The filter lets the new row pass, and the indexed one not.
    let paris = json!({ "index": "slots", "query": "forklift", "filter": "note LIKE '%Paris%'" });
    assert_eq!(lake.hybrid(paris).await.keys(), Vec::<String>::new());
    lake.bury("slots", "person", ["ada"]).await.expect_ok();
    let found = lake.hybrid(json!({ "index": "slots", "query": "forklift" })).await;
    assert_eq!((found.keys(), found.text().contains("London")), (vec!["6".to_owned()], false));
    lake.refresh("slots", json!({ "index_name": "slots" })).await.expect_ok();
    let undo = lake.request(reqwest::Method::DELETE, "/catalog/datasets/by-name/slots/tombstone");
    lake.send(undo.json(&json!({ "row_key_values": ["ada"] }))).await.expect_ok();
    lake.bury("slots", "person", ["cleo"]).await.expect_ok();
    let found = lake.hybrid(json!({ "index": "slots", "query": "cook" })).await;
    assert_eq!((found.text().contains("Paris"), &found.json()["stale"]), (false, &json!(true)));
    assert_eq!(lake.get("/vectors/indexes/slots").await.expect_ok()["stale_because"], json!(["rows"]));
}
