//! T-40, T-42, T-46 for model adapters.

use bytes::Bytes;
use lakehouse_catalog::{RuleBinding, RuleKind};
use serde_json::{Value, json};

use super::{DEADLINE, MARGIN, attack, is_timeout, lie_of, quick};
use crate::{
    ChatAnswer, ChatEvent, ChatOutcome, ChatRequest, ChatStream, EmbedOutcome, EmbedRequest, FinishReason, HttpResponse, Lie,
    Message, ModelAdapter, PluginError, RefusalKind, Role, Usage,
    testing::{Fixture, rule, within},
};

async fn adapter(fixture: &Fixture, plugin: &str, config: Value) -> ModelAdapter {
    limited(fixture, plugin, config, quick).await
}

async fn limited(fixture: &Fixture, plugin: &str, config: Value, limit: impl FnOnce(&mut RuleBinding)) -> ModelAdapter {
    fixture.bindings(RuleKind::ModelAdapter, plugin, config, limit).model_adapter(&rule("r"), None).await.unwrap()
}

fn question(text: &str) -> ChatRequest {
    ChatRequest {
        model: "m".to_owned(),
        messages: vec![Message { role: Role::User, text: text.to_owned(), name: None }],
        temperature: None,
        max_tokens: None,
        stop: vec![],
        stream: false,
        think: None,
    }
}

fn texts(texts: &[&str]) -> EmbedRequest {
    EmbedRequest { model: "e".to_owned(), texts: texts.iter().map(|text| (*text).to_owned()).collect(), dimensions: None }
}

fn response(body: impl Into<String>) -> HttpResponse {
    HttpResponse { status: 200, headers: vec![], body: body.into().into_bytes() }
}

/// Asks with the trigger, expects an error, and that the next call works.
async fn strike(adapter: &mut ModelAdapter) -> PluginError {
    let error = adapter.chat(question("BOOM secret-4711")).await.expect_err("it got away with it");
    assert_eq!(adapter.chat(question("calm")).await.expect("the next call works").body, b"calm");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_must_not_be_sent_is_named() {
    let fixture = Fixture::with(&["evil"]).await;
    for (name, lie) in [
        ("request-absolute-url", Lie::RequestPath),
        ("request-climbing", Lie::RequestPath),
        ("request-split-header", Lie::RequestHeader),
        ("request-secret-header", Lie::RequestOwnHeader),
    ] {
        let mut evil = adapter(&fixture, "evil", attack(name)).await;
        assert_eq!(lie_of(strike(&mut evil).await), lie, "{name}");
        let embedding = evil.embed(texts(&["BOOM"])).await.unwrap_err();
        assert_eq!(lie_of(embedding), lie, "{name}");
    }
    let mut config = attack("request-huge-body");
    config["size_mib"] = 17.into();
    let mut evil = limited(&fixture, "evil", config, |binding| binding.limits.memory_mib = 256).await;
    assert_eq!(lie_of(strike(&mut evil).await), Lie::RequestBodySize { limit: 16 << 20 });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_out_of_a_response_is_checked() {
    let fixture = Fixture::with(&["evil"]).await;
    for (name, lie) in [
        ("nan-vectors", Lie::NotFinite),
        ("wrong-dimension", Lie::VectorLength { expected: 8, got: 6 }),
        ("short-rows", Lie::VectorLength { expected: 8, got: 4 }),
        ("zero-dimensions", Lie::Dimensions { got: 0, limit: 4096 }),
        ("huge-dimensions", Lie::Dimensions { got: u32::MAX, limit: 4096 }),
    ] {
        let mut evil = adapter(&fixture, "evil", attack(name)).await;
        let error = evil.parse_embed(response("BOOM\nsecond"), 2).await.unwrap_err();
        assert_eq!(lie_of(error), lie, "{name}");
        let honest = evil.parse_embed(response("one\ntwo"), 2).await.unwrap();
        assert!(matches!(honest, EmbedOutcome::Answer(answer) if answer.vectors.len() == 2), "{name}");
        let miscounted = evil.parse_embed(response("one\ntwo"), 3).await.unwrap_err();
        assert_eq!(lie_of(miscounted), Lie::VectorLength { expected: 12, got: 8 });
    }
    let mut evil = adapter(&fixture, "evil", attack("bad-utf8")).await;
    let error = evil.parse_chat(response("BOOM")).await.unwrap_err();
    assert!(matches!(error, PluginError::Crashed { .. }), "{error}");
    let mut config = attack("huge-output");
    config["size_mib"] = 8.into();
    let mut evil = limited(&fixture, "evil", config, |binding| binding.limits.output_mib = 4).await;
    let error = evil.parse_chat(response("BOOM")).await.unwrap_err();
    assert!(matches!(error, PluginError::OutputExceeded { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_in_any_function_ends_at_its_deadline() {
    let fixture = Fixture::with(&["evil"]).await;
    let limit = DEADLINE + MARGIN;
    let mut evil = adapter(&fixture, "evil", attack("loop")).await;
    for error in [
        within(limit, evil.chat(question("BOOM"))).await.unwrap_err(),
        within(limit, evil.parse_chat(response("BOOM"))).await.unwrap_err(),
        within(limit, evil.embed(texts(&["BOOM"]))).await.unwrap_err(),
        within(limit, evil.parse_embed(response("BOOM"), 1)).await.unwrap_err(),
    ] {
        assert!(is_timeout(&error), "{error}");
    }
    let mut stream = evil.into_stream().await.unwrap();
    assert!(is_timeout(&within(limit, stream.push(Bytes::from_static(b"BOOM"))).await.unwrap_err()));
    assert!(matches!(stream.push(Bytes::from_static(b"calm")).await, Err(PluginError::Host { .. })), "a dead stream stays dead");

    let mut evil = adapter(&fixture, "evil", attack("loop-in-capabilities")).await;
    assert!(is_timeout(&within(limit, evil.capabilities()).await.unwrap_err()));
    let evil = adapter(&fixture, "evil", attack("loop-in-open-stream")).await;
    assert!(is_timeout(&within(limit, evil.into_stream()).await.unwrap_err()));
    let stream = adapter(&fixture, "evil", attack("loop-in-finish")).await.into_stream().await.unwrap();
    assert!(is_timeout(&within(limit, stream.finish()).await.unwrap_err()));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_never_sees_what_another_left_in_an_adapter() {
    let fixture = Fixture::with(&["evil"]).await;
    let config = json!({ "attack": "remember-state" });
    let said = async |adapter: &mut ModelAdapter, body: &str| match adapter.parse_chat(response(body)).await.unwrap() {
        ChatOutcome::Answer(answer) => answer.text,
        ChatOutcome::Refused(refusal) => panic!("{refusal:?}"),
    };
    let mut first = adapter(&fixture, "evil", config.clone()).await;
    assert_eq!((said(&mut first, "alpha").await, said(&mut first, "beta").await), ("alpha|".into(), "alpha|beta|".into()));
    let mut second = adapter(&fixture, "evil", config).await;
    assert_eq!(said(&mut second, "gamma").await, "gamma|");
}

async fn read(mut stream: ChatStream, pieces: &[&'static str]) -> Vec<ChatEvent> {
    let mut events = Vec::new();
    for piece in pieces {
        events.extend(stream.push(Bytes::from_static(piece.as_bytes())).await.unwrap());
    }
    events.extend(stream.finish().await.unwrap());
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_protocol_is_spoken_through_the_component() {
    let fixture = Fixture::with(&["model-openai"]).await;
    let open = async || adapter(&fixture, "model-openai", json!({})).await;
    let mut openai = open().await;
    let can = openai.capabilities().await.unwrap();
    assert!(can.chat && can.stream && can.embed && !can.think);
    let request = openai.chat(question("Hello")).await.unwrap();
    assert_eq!(request.path, "/chat/completions");
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body, json!({ "model": "m", "messages": [{ "role": "user", "content": "Hello" }] }));

    let answer = json!({ "model": "m-1", "choices": [{ "message": { "content": "Hi." }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 1, "completion_tokens": 2 } });
    let expected = ChatAnswer {
        text: "Hi.".to_owned(),
        finish_reason: FinishReason::Stop,
        usage: Some(Usage { prompt_tokens: 1, completion_tokens: 2 }),
        model: Some("m-1".to_owned()),
    };
    assert_eq!(openai.parse_chat(response(answer.to_string())).await.unwrap(), ChatOutcome::Answer(expected));
    let refusal = HttpResponse { status: 429, ..response(r#"{"error": {"message": "slow\u001b[2Jdown"}}"#) };
    let ChatOutcome::Refused(refusal) = openai.parse_chat(refusal).await.unwrap() else { panic!("it is an answer") };
    assert_eq!((refusal.kind, refusal.message.as_str()), (RefusalKind::RateLimited, "slow\\u{1b}[2Jdown"));

    let pieces = [
        "data: {\"choices\":[{\"delta\":{\"content\":\"Grü",
        "ße\"}}]}\n",
        "\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n",
    ];
    let events = read(open().await.into_stream().await.unwrap(), &pieces).await;
    assert_eq!(events, [ChatEvent::Text("Grüße".to_owned()), ChatEvent::Finished(FinishReason::Length)]);

    let body = json!({ "data": [{ "index": 0, "embedding": [0.5, 1.5] }], "model": "e-1" });
    let EmbedOutcome::Answer(answer) = openai.parse_embed(response(body.to_string()), 1).await.unwrap() else {
        panic!("refused")
    };
    assert_eq!((answer.vectors.into_numbers(), answer.model.as_deref()), (vec![0.5, 1.5], Some("e-1")));
    assert_eq!(openai.embed(texts(&["a"])).await.unwrap().path, "/embeddings");
}
