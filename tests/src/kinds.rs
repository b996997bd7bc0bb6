//! Every kind of component is dispatched, by its dry run; its hostile twin costs one clear problem.
//!
//! Redactors and conditions have theirs in `plugins`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::lake::{Lake, component};

/// The outputs of a dry run.
async fn outputs(lake: &Lake, plugin: &str, kind: &str, config: Value, input: Value) -> Value {
    let body = json!({ "kind": kind, "config": config, "input": input });
    lake.post(&format!("/plugins/{plugin}/dry-run"), body).await.expect_ok()["outputs"].clone()
}

#[tokio::test]
async fn a_chunker_cuts_documents() {
    let lake = Lake::start().await;
    let config = json!({ "chunk_size": 24, "overlap": 0 });
    let documents = json!(["Sie kam spät. Er kam überhaupt nicht.", null, "  "]);
    let cut = outputs(&lake, "chunk-text", "chunker", config, json!({ "documents": documents })).await;
    let expected = json!([
        [{ "start": 0, "end": 14, "text": "Sie kam spät." }, { "start": 15, "end": 39, "text": "Er kam überhaupt nicht." }],
        null,
        [],
    ]);
    assert_eq!(cut, expected);
    let wrong = json!({ "kind": "chunker", "config": { "chunk_size": 50 }, "input": { "documents": ["x"] } });
    let problem = lake.post("/plugins/chunk-text/dry-run", wrong).await.expect_problem("invalid_rule_config");
    assert!(problem["detail"].as_str().unwrap().contains("smaller than"), "{problem}");
    let much = json!({ "kind": "chunker", "config": { "chunk_size": 2_000, "overlap": 1_990 }, "input": { "documents": ["word ".repeat(40_000)] } });
    let problem = lake.post("/plugins/chunk-text/dry-run", much).await.expect_problem("invalid_body");
    assert!(problem["detail"].as_str().unwrap().contains("fewer or shorter"), "{problem}");
}

#[tokio::test]
async fn an_id_mapper_maps_both_ways() {
    let lake = Lake::start().await;
    let config = json!({ "prefix": "W500K-" });
    let map = async |input: Value| outputs(&lake, "id-prefix", "id-mapper", config.clone(), input).await;
    assert_eq!(map(json!({ "keys": [17, null, -3] })).await, json!(["W500K-17", null, "W500K--3"]));
    assert_eq!(map(json!({ "keys": ["a"] })).await, json!(["W500K-a"]));
    assert_eq!(map(json!({ "doc_ids": ["W500K-17", null] })).await, json!(["17", null]));
    let strange = json!({ "kind": "id-mapper", "config": config, "input": { "doc_ids": ["CAND-1"] } });
    let problem = lake.post("/plugins/id-prefix/dry-run", strange).await.expect_problem("plugin_failed");
    assert!(problem["detail"].as_str().unwrap().contains("W500K-"), "{problem}");
    let floats = json!({ "kind": "id-mapper", "input": { "keys": [1.5] } });
    lake.post("/plugins/id-prefix/dry-run", floats).await.expect_problem("invalid_body");
}

#[tokio::test]
async fn an_embedder_makes_vectors() {
    let lake = Lake::start().await;
    let texts = json!({ "texts": ["night-shift forklift operator", "Forklift operator, night shift", "pediatric nurse", ""] });
    let vectors = outputs(&lake, "embed-hash", "embedder", json!({}), texts).await;
    let vectors: Vec<Vec<f64>> = serde_json::from_value(vectors).unwrap();
    assert!(vectors.len() == 4 && vectors.iter().all(|vector| vector.len() == 384));
    let dot = |a: usize, b: usize| vectors[a].iter().zip(&vectors[b]).map(|(a, b)| a * b).sum::<f64>();
    assert!((dot(0, 0) - 1.0).abs() < 1e-5 && dot(3, 3) == 0.0);
    assert!(dot(0, 1) > 0.9 && dot(0, 2) < 0.3, "{} {}", dot(0, 1), dot(0, 2));
    let many = json!({ "kind": "embedder", "input": { "texts": vec!["x"; 5_000] } });
    let problem = lake.post("/plugins/embed-hash/dry-run", many).await.expect_problem("invalid_body");
    assert!(problem["detail"].as_str().unwrap().contains("at most 2604 texts"), "{problem}");
}

#[tokio::test]
async fn a_model_adapter_shows_its_request_and_reads_a_made_up_response() {
    let lake = Lake::start().await;
    let adapt = async |input: Value| outputs(&lake, "model-openai", "model-adapter", json!({}), input).await[0].clone();
    let chat = json!({ "model": "m", "messages": [{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "Hello" }], "max_tokens": 9 });
    let asked = adapt(json!({ "chat_request": chat })).await;
    let request = json!({
        "method": "POST",
        "path": "/chat/completions",
        "headers": { "content-type": "application/json", "accept": "application/json" },
        "body": chat,
    });
    assert_eq!(asked, json!({ "request": request }));

    let body = json!({ "model": "m-1", "choices": [{ "message": { "content": "Hi." }, "finish_reason": "stop" }], "usage": { "prompt_tokens": 5, "completion_tokens": 2 } });
    let answered = adapt(json!({ "chat_request": chat, "response": { "status": 200, "headers": {}, "body": body } })).await;
    let usage = json!({ "prompt_tokens": 5, "completion_tokens": 2 });
    assert_eq!(answered["answer"], json!({ "text": "Hi.", "finish_reason": "stop", "usage": usage, "model": "m-1" }));

    let refusal = json!({ "status": 429, "body": { "error": { "message": "slow down" } } });
    let refused = adapt(json!({ "chat_request": chat, "response": refusal })).await;
    assert_eq!(refused["refused"], json!({ "kind": "rate_limited", "message": "slow down" }));

    let streaming = json!({ "model": "m", "messages": [{ "role": "user", "content": "Hello" }], "stream": true });
    let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"Grüße\"}}]}\n\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n";
    let streamed = adapt(json!({ "chat_request": streaming, "response": { "body": stream } })).await;
    assert_eq!(streamed["events"], json!([{ "text": "Grüße" }, { "finished": "length" }]));

    let embed = json!({ "model": "e", "texts": ["a", "b"] });
    let body = json!({ "data": [{ "index": 1, "embedding": [0.5, 1] }, { "index": 0, "embedding": [0.25, 2] }] });
    let embedded = adapt(json!({ "embed_request": embed, "response": { "body": body } })).await;
    assert_eq!(embedded["request"]["path"], "/embeddings");
    assert_eq!(embedded["embeddings"]["vectors"], json!([[0.25, 2.0], [0.5, 1.0]]));
}

#[tokio::test]
async fn an_input_of_another_kind_is_refused_by_name() {
    let lake = Lake::start().await;
    for (plugin, kind, input, says) in [
        ("chunk-text", "chunker", json!({ "texts": ["x"] }), "`input.documents`"),
        ("chunk-text", "chunker", json!({}), "`input.documents`"),
        ("chunk-text", "chunker", json!({ "documents": ["x"], "texts": ["x"] }), "`input.documents`"),
        ("chunk-text", "embedder", json!({ "texts": ["x"] }), "is no embedder"),
        ("id-prefix", "id-mapper", json!({ "keys": ["x"], "doc_ids": ["x"] }), "`input.doc_ids`"),
        ("embed-hash", "embedder", json!({ "texts": [null] }), "null"),
        ("embed-hash", "embedder", json!({ "texts": ["x"], "response": {} }), "`input.texts`"),
        ("model-openai", "model-adapter", json!({ "response": {} }), "`input.chat_request`"),
        ("model-openai", "model-adapter", json!({ "chat_request": { "model": "m", "messages": [] } }), "at least one message"),
        ("model-openai", "model-adapter", json!({ "chat_request": { "model": "m", "mesages": [] } }), "mesages"),
        ("model-openai", "oracle", json!({ "texts": ["x"] }), "`model-adapter`"),
    ] {
        let body = json!({ "kind": kind, "input": input });
        let problem = lake.post(&format!("/plugins/{plugin}/dry-run"), body.clone()).await.expect_problem("invalid_body");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{body}: {problem}");
    }
}

/// T-40, T-42 for the four kinds.
#[tokio::test]
async fn hostile_twins_cost_one_problem_each() {
    let mut lake = Lake::start().await;
    lake.push("evil", component("evil")).await.expect_status(201);
    let documents = json!({ "documents": ["BOOM é RAW-VALUE-7421", null, "second"] });
    let keys = json!({ "keys": ["BOOM", "RAW-VALUE-7421"] });
    let texts = json!({ "texts": ["BOOM", "RAW-VALUE-7421"] });
    let chat = json!({ "chat_request": { "model": "m", "messages": [{ "role": "user", "content": "BOOM RAW-VALUE-7421" }] } });
    let attacks = [
        (
            "chunker",
            &documents,
            "span-outside span-overlong span-inside-character span-backwards span-disorder span-twice span-of-nobody span-of-null span-lists",
        ),
        ("id-mapper", &keys, "not-invertible disown-ids short-rows long-rows value-to-null bad-utf8 wrong-type"),
        (
            "embedder",
            &texts,
            "nan-vectors infinite-vectors wrong-dimension short-rows long-rows zero-dimensions huge-dimensions changing-dimensions",
        ),
        ("model-adapter", &chat, "request-absolute-url request-climbing request-split-header request-secret-header"),
    ];
    for (kind, input, names) in attacks {
        for name in names.split(' ') {
            let body = json!({ "kind": kind, "config": { "attack": name, "trigger": "BOOM" }, "input": input });
            let answer = lake.post("/plugins/evil/dry-run", body).await;
            let problem = answer.expect_problem("plugin_failed");
            assert!(problem["detail"].as_str().unwrap().starts_with("plugin `evil@"), "{name}: {problem}");
            assert!(!answer.text().contains("RAW-VALUE") && answer.body.len() < 4_096, "{name}: {problem}");
        }
        let began = Instant::now();
        let body = json!({ "kind": kind, "config": { "attack": "loop", "trigger": "BOOM" }, "input": input });
        lake.post("/plugins/evil/dry-run", body).await.expect_problem("plugin_timeout");
        assert!(began.elapsed() < Duration::from_secs(4), "{kind}: {:?}", began.elapsed());
        let honest = json!({ "kind": kind, "config": {}, "input": input });
        lake.post("/plugins/evil/dry-run", honest).await.expect_ok();
    }
    assert!(lake.is_alive());
    assert!(!lake.log().contains("RAW-VALUE"), "no value in the log");
}

/// Every profile has a chunker, a mapper and an embedder, and may bind its own.
#[tokio::test]
async fn a_profile_binds_every_kind_and_is_refused_what_does_not_open() {
    let lake = Lake::start().await;
    let bind = |kind: &str, component: &str, config: Value| json!({ "name": "r", "kind": kind, "component": component, "config": config });
    for (kind, component, good, bad) in [
        ("chunker", "chunk-text", json!({ "chunk_size": 300 }), json!({ "overlap": 800 })),
        ("id-mapper", "id-prefix", json!({ "prefix": "W-" }), json!({ "prefix": 7 })),
        ("embedder", "embed-hash", json!({}), json!({ "dimensions": 3 })),
        ("model-adapter", "model-openai", json!({ "thinking": "chat-template" }), json!({ "chat_path": "https://x" })),
    ] {
        lake.put_rules("p", json!([bind(kind, component, good)])).await.expect_ok();
        let problem = lake.put_rules("p", json!([bind(kind, component, bad)])).await.expect_problem("invalid_rule_config");
        assert!(problem["detail"].as_str().unwrap().contains(component), "{problem}");
        lake.put_rules("p", json!([bind(kind, "redact-mask", json!({}))])).await.expect_any_problem();
        assert_eq!(lake.get("/catalog/profiles/p").await.expect_ok()["rules"][0]["kind"], kind);
    }
    // Bound by every profile, so none of them is deleted by mistake.
    for shipped in ["chunk-text", "id-prefix", "embed-hash"] {
        lake.delete(&format!("/plugins/{shipped}")).await.expect_problem("in_use");
    }
}
