//! A profile decides what stands behind a rule's name, and how far a caller under it may reach.

use serde_json::json;

use crate::lake::Lake;

#[tokio::test]
async fn the_same_view_under_two_profiles_follows_each_ones_rules() {
    let mut lake = Lake::start().await;
    lake.ingest("t", "id,note\nCAND-000001,mail ana@example.com\n").await.expect_ok();
    let bind = |component: &str| json!([{ "name": "clean", "kind": "redactor", "component": component, "config": {} }]);
    lake.put_rules("hr", bind("redact-pii")).await.expect_ok();
    lake.put_rules("public", bind("redact-null")).await.expect_ok();
    lake.under("hr").put_view("v", "t", &["note"], json!({ "note": { "plugin": { "rule": "clean" } } })).await.expect_status(201);
    for _ in 0..2 {
        let hr = lake.under("hr").sql("SELECT note FROM v").await.column("note");
        assert!(hr[0].as_str().is_some_and(|note| note.starts_with("mail ") && !note.contains("ana@")), "{hr:?}");
        assert_eq!(lake.under("public").sql("SELECT note FROM v").await.column("note"), [json!(null)]);
        lake.sql("SELECT note FROM v").await.expect_problem("unresolved_rule");
        lake.kill_and_restart().await;
    }
    lake.put_rules("public", bind("redact-pii")).await.expect_ok();
    assert_ne!(
        lake.under("public").sql("SELECT note FROM v").await.column("note"),
        [json!(null)],
        "in force when the POST answers"
    );
}

#[tokio::test]
async fn a_short_form_can_be_rebound() {
    let lake = Lake::start().await;
    lake.ingest("t", "id\nCAND-000001\n").await.expect_ok();
    lake.put_view("v", "t", &["id"], json!({ "id": "hash" })).await.expect_status(201);
    assert_eq!(lake.sql("SELECT length(id) AS n FROM v").await.n(), 64);
    lake.put_rules("strict", json!([{ "name": "hash", "kind": "redactor", "component": "redact-null", "config": {} }]))
        .await
        .expect_ok();
    assert_eq!(lake.under("strict").sql("SELECT count(id) AS n FROM v").await.n(), 0);
}

#[tokio::test]
async fn bound_datasets_limit_what_a_caller_under_the_profile_reaches() {
    let lake = Lake::start().await;
    lake.ingest("mine", "id\n1\n").await.expect_ok();
    lake.ingest("yours", "id\n1\n").await.expect_ok();
    lake.post("/catalog/profiles", json!({ "id": "narrow", "bound_datasets": ["mine"], "rules": [] })).await.expect_ok();
    let narrow = lake.under("narrow");
    narrow.sql("SELECT count(*) AS n FROM mine").await.expect_cell("n", 1);
    narrow.sql("SELECT count(*) AS n FROM yours").await.expect_any_problem();
    lake.post("/catalog/profiles", json!({ "id": "x", "bound_datasets": ["nope"], "rules": [] })).await.expect_any_problem();
}

#[tokio::test]
async fn a_profile_that_cannot_work_is_refused() {
    let lake = Lake::start().await;
    let rule = |component: &str, config: serde_json::Value, limits: serde_json::Value| json!([{ "name": "r", "kind": "redactor", "component": component, "config": config, "limits": limits }]);
    for (what, rules) in [
        ("no such component", rule("nope", json!({}), json!({}))),
        ("no such version", rule("redact-mask@9", json!({}), json!({}))),
        ("a config that the component rejects", rule("redact-mask", json!({ "keep": 1 }), json!({}))),
        ("a deadline beyond the ceiling", rule("redact-mask", json!({}), json!({ "deadline_ms": 86_400_000 }))),
        ("memory beyond the ceiling", rule("redact-mask", json!({}), json!({ "memory_mib": 100_000 }))),
        ("an unknown limit", rule("redact-mask", json!({}), json!({ "deadline": 1 }))),
        ("another kind", json!([{ "name": "r", "kind": "condition", "component": "redact-mask", "config": {} }])),
        ("a kind that is none", json!([{ "name": "r", "kind": "oracle", "component": "redact-mask", "config": {} }])),
    ] {
        let answer = lake.put_rules("p", rules).await;
        answer.expect_any_problem();
        assert!((400..500).contains(&answer.status), "{what}: {}", answer.text());
    }
    assert!(!lake.names("/catalog/profiles", "profiles", "id").await.contains(&"p".to_owned()));
    lake.under("p").sql("SELECT 1 AS n").await.expect_any_problem();
    lake.under("bad id!").sql("SELECT 1 AS n").await.expect_any_problem();
}

#[tokio::test]
async fn a_key_names_only_its_own_profiles() {
    let lake = Lake::start().await;
    lake.put_rules("hr", json!([])).await.expect_ok();
    lake.put_rules("public", json!([])).await.expect_ok();
    let key = json!({ "name": "k", "role": "reader", "grants": [], "profiles": ["public"], "default_profile": "public" });
    let made = lake.post("/admin/keys", key).await.expect_status(201);
    let reader = lake.as_key(made["key"].as_str().unwrap());
    reader.sql("SELECT 1 AS n").await.expect_cell("n", 1);
    reader.under("public").sql("SELECT 1 AS n").await.expect_cell("n", 1);
    for other in ["hr", "default", "nope"] {
        reader.under(other).sql("SELECT 1 AS n").await.expect_problem("profile_not_allowed");
    }
}

#[tokio::test]
async fn a_key_learns_what_its_profile_is_bound_to_where_it_may_read_that() {
    let lake = Lake::start().await;
    for name in ["mine", "yours"] {
        lake.ingest(name, "id\n1\n").await.expect_ok();
    }
    lake.post("/catalog/profiles", json!({ "id": "narrow", "bound_datasets": ["mine", "yours"], "rules": [] })).await.expect_ok();
    let grants = json!([{ "dataset": "mine", "verbs": ["read"] }]);
    let key = json!({ "name": "k", "role": "reader", "grants": grants, "profiles": ["narrow"], "default_profile": "narrow" });
    let made = lake.post("/admin/keys", key).await.expect_status(201);
    let reader = lake.as_key(made["key"].as_str().unwrap());
    assert_eq!(lake.get("/catalog/profiles/narrow").await.expect_ok()["bound_datasets"], json!(["mine", "yours"]));
    assert_eq!(reader.get("/catalog/profiles/narrow").await.expect_ok()["bound_datasets"], json!(["mine"]));
    let listed = reader.get("/catalog/profiles").await.expect_ok();
    assert_eq!(listed["profiles"][0]["bound_datasets"], json!(["mine"]));
}

#[tokio::test]
async fn the_default_profile_is_always_there() {
    let lake = Lake::start().await;
    assert!(lake.names("/catalog/profiles", "profiles", "id").await.contains(&"default".to_owned()));
    lake.delete("/catalog/profiles/default").await.expect_any_problem();
    lake.under("default").sql("SELECT 1 AS n").await.expect_cell("n", 1);
}

/// A rule that hides nothing is one profile away: who reads a view must not put it there.
#[tokio::test]
async fn who_reads_a_view_and_not_its_base_changes_nothing_that_stands_behind_its_rules() {
    let lake = Lake::start().await;
    lake.ingest("people", "id,note\nCAND-000001,secret\n").await.expect_ok();
    lake.ingest("other", "id\n1\n").await.expect_ok();
    lake.put_view("v", "people", &["id"], json!({ "id": "hash" })).await.expect_status(201);
    let show = json!({ "keep_prefix": 5, "keep_suffix": 5 });
    let open = json!([{ "name": "hash", "kind": "redactor", "component": "redact-mask", "config": show }]);
    let plain = json!([{ "name": "note", "kind": "redactor", "component": "redact-pii", "config": {} }]);
    lake.put_rules("hr", open.clone()).await.expect_ok();
    let view = json!({ "view": "v", "verbs": ["read"] });
    let base = json!({ "dataset": "people", "verbs": ["read"] });
    let reads = lake.new_key("reads", "operator", json!([view])).await;

    for profile in ["default", "new"] {
        let told = reads.put_rules(profile, open.clone()).await.expect_problem("forbidden");
        let told = told["detail"].as_str().unwrap().to_owned();
        assert!(["`v`", "`hash`", "`people`"].iter().all(|name| told.contains(name)), "{told}");
        reads.put_rules(profile, plain.clone()).await.expect_ok();
    }
    // What stands behind it would change here too.
    reads.put_rules("hr", json!([])).await.expect_problem("forbidden");
    reads.delete("/catalog/profiles/hr").await.expect_problem("forbidden");
    reads.delete("/catalog/profiles/new").await.expect_ok();
    let hash = crate::lake::component("redact-hash");
    reads.push("redact-hash", hash.clone()).await.expect_problem("forbidden");
    reads.post("/plugins/redact-hash/rollback", json!({})).await.expect_problem("forbidden");
    reads.post("/plugins/redact-hash/disable", json!({})).await.expect_ok();
    reads.sql("SELECT id FROM v").await.expect_any_problem();
    reads.post("/plugins/redact-hash/enable", json!({})).await.expect_problem("forbidden");
    lake.post("/plugins/redact-hash/enable", json!({})).await.expect_ok();
    assert_eq!(reads.sql("SELECT length(id) AS n FROM v").await.n(), 64, "still hashed");
    let denied = lake.get("/journal/events?kind=denied&actor=reads").await.expect_ok();
    assert!(!denied["events"].as_array().unwrap().is_empty(), "{denied}");

    let rules_only = lake.new_key("rules-only", "operator", json!([])).await;
    let reads_both = lake.new_key("reads-both", "operator", json!([view, base])).await;
    for caller in [&rules_only, &reads_both] {
        caller.put_rules("default", open.clone()).await.expect_ok();
        caller.push("redact-hash", hash.clone()).await.expect_ok();
        caller.put_rules("default", json!([])).await.expect_ok();
    }
}
