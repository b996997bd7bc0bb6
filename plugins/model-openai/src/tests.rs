//! The protocol, on bodies as providers send them.

use lakehouse_sdk::chat::{ChatAnswer, ChatEvent, Embeddings, FinishReason, Message, Refusal, RefusalKind, Role, Usage};
use lakehouse_sdk::{Value, json, testing};
use proptest::prelude::*;

use super::*;

fn adapter(config: &Value) -> OpenAi {
    OpenAi::open(&config.to_string()).unwrap()
}

fn body(config: &Value, request: &ChatRequest) -> Value {
    let request = testing::chat(&adapter(config), request).unwrap();
    std::str::from_utf8(&request.body).unwrap().parse().unwrap()
}

fn parsed(status: u16, body: &Value) -> ChatOutcome {
    adapter(&json!({})).parse_chat(&testing::response(status, &body.to_string())).unwrap()
}

fn refused(kind: RefusalKind, message: &str) -> ChatOutcome {
    ChatOutcome::Refused(Refusal::new(kind, message))
}

#[test]
fn a_plain_question_says_nothing_that_was_left_open() {
    let request = testing::chat(&adapter(&json!({})), &testing::question("gpt", "Hello")).unwrap();
    assert_eq!(request.path, "/chat/completions");
    assert_eq!(request.headers[1].value, "application/json");
    let plain = body(&json!({}), &testing::question("gpt", "Hello"));
    assert_eq!(plain, json!({ "model": "gpt", "messages": [{ "role": "user", "content": "Hello" }] }));
}

#[test]
fn everything_that_is_asked_is_in_the_body() {
    let message = |role, text: &str, name: Option<&str>| Message { role, text: text.into(), name: name.map(str::to_owned) };
    let request = ChatRequest {
        messages: vec![
            message(Role::System, "Be brief.", None),
            message(Role::User, "Weather?", None),
            message(Role::Assistant, "I look it up.", None),
            message(Role::Tool, "sunny", Some("weather")),
        ],
        temperature: Some(0.5),
        max_tokens: Some(64),
        stop: vec!["\n\n".into()],
        stream: true,
        think: Some(false),
        ..testing::question("m", "")
    };
    let expected = json!({
        "model": "m",
        "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": "Weather?" },
            { "role": "assistant", "content": "I look it up." },
            { "role": "user", "content": "Result of the tool weather:\nsunny" },
        ],
        "temperature": 0.5, "max_completion_tokens": 64, "stop": ["\n\n"], "stream": true,
        "stream_options": { "include_usage": true }, "reasoning_effort": "none",
    });
    let config = json!({ "max_tokens_field": "max-completion-tokens", "thinking": "reasoning-effort" });
    assert_eq!(body(&config, &request), expected);

    let plain = body(&json!({ "stream_usage": false }), &request);
    assert_eq!((&plain["max_tokens"], plain.get("stream_options"), plain.get("reasoning_effort")), (&json!(64), None, None));
    let template = body(&json!({ "thinking": "chat-template" }), &request);
    assert_eq!(template["chat_template_kwargs"], json!({ "enable_thinking": false }));
    assert!(adapter(&config).capabilities().think && !adapter(&json!({})).capabilities().think);
    let nothing = ChatRequest { messages: vec![], ..testing::question("m", "") };
    assert!(matches!(adapter(&json!({})).chat(&nothing), Err(Error::InvalidInput { .. })));
}

#[test]
fn paths_are_configured_and_begin_with_a_slash() {
    let azure = adapter(&json!({ "chat_path": "/deployments/x/chat/completions?api-version=2024-10-21" }));
    assert!(testing::chat(&azure, &testing::question("m", "x")).unwrap().path.ends_with("2024-10-21"));
    let error = OpenAi::open(r#"{"chat_path": "https://api.openai.com/v1"}"#).map(drop).unwrap_err();
    assert_eq!(error, Error::InvalidConfig("\"chat_path\" must begin with \"/\"".into()));
}

#[test]
fn an_answer_is_read_whole() {
    let answer = json!({
        "id": "x", "object": "chat.completion", "model": "gpt-4o-mini-2024",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": "Hi." }, "finish_reason": "length" }],
        "usage": { "prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12 },
    });
    let expected = ChatAnswer {
        text: "Hi.".into(),
        finish_reason: FinishReason::Length,
        usage: Some(Usage { prompt_tokens: 9, completion_tokens: 3 }),
        model: Some("gpt-4o-mini-2024".into()),
    };
    assert_eq!(parsed(200, &answer), ChatOutcome::Answer(expected));
    // Servers that say less, and a model that only calls tools.
    let bare = parsed(200, &json!({ "choices": [{ "message": { "content": null }, "finish_reason": "tool_calls" }] }));
    let expected = ChatAnswer { text: String::new(), finish_reason: FinishReason::ToolCalls, usage: None, model: None };
    assert_eq!(bare, ChatOutcome::Answer(expected));
}

#[test]
fn what_cannot_be_read_is_refused_and_not_guessed() {
    let unreadable = |what| refused(RefusalKind::Unreadable, what);
    let html = adapter(&json!({})).parse_chat(&testing::response(200, "<html>")).unwrap();
    assert_eq!(html, unreadable("the response is not JSON"));
    assert_eq!(parsed(200, &json!({ "choices": [] })), unreadable("the response has no choices"));
    assert_eq!(parsed(200, &json!({ "choices": [{}] })), unreadable("the choice has no message"));
    let listed = json!({ "choices": [{ "message": { "content": [1] } }] });
    assert_eq!(parsed(200, &listed), unreadable("the message's content is no text"));
}

#[test]
fn each_refusal_says_what_to_do() {
    let error = |message: &str, code: &str| json!({ "error": { "message": message, "code": code } });
    for (status, body, kind) in [
        (400, error("wrong", "unknown_parameter"), RefusalKind::InvalidRequest),
        (401, error("no key", "invalid_api_key"), RefusalKind::Unauthorized),
        (404, error("no such model", "model_not_found"), RefusalKind::UnknownModel),
        (400, error("too much", "context_length_exceeded"), RefusalKind::TooLong),
        (400, error("This model's maximum context length is 4096 tokens", ""), RefusalKind::TooLong),
        (429, error("slow down", "rate_limit_exceeded"), RefusalKind::RateLimited),
        (500, error("oops", ""), RefusalKind::Unavailable),
        (408, error("late", ""), RefusalKind::Unavailable),
        (200, json!({ "error": { "message": "overloaded", "code": 503 } }), RefusalKind::Unavailable),
        (200, error("what", ""), RefusalKind::Other),
    ] {
        assert!(matches!(parsed(status, &body), ChatOutcome::Refused(refusal) if refusal.kind == kind), "{status} {body}");
    }
    assert_eq!(parsed(422, &json!({ "detail": "bad field" })), refused(RefusalKind::InvalidRequest, "bad field"));
    assert_eq!(
        parsed(404, &json!({ "error": "model \"m\" not found" })),
        refused(RefusalKind::UnknownModel, "model \"m\" not found")
    );
    let gateway = adapter(&json!({})).parse_chat(&testing::response(502, "<html>Bad gateway")).unwrap();
    assert_eq!(gateway, refused(RefusalKind::Unavailable, "status 502"));
}

const STREAM: &str = concat!(
    ": keep alive\n\n",
    "data: {\"model\":\"m-1\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
    "data: {\"model\":\"m-1\",\"choices\":[{\"delta\":{\"content\":\"Grüß\"}}]}\n\n",
    "data: {\"model\":\"m-1\",\"choices\":[{\"delta\":{\"content\":\" dich\"}}]}\r\n\r\n",
    "data: {\"model\":\"m-1\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"model\":\"m-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n",
    "data: [DONE]\n\n",
);

fn streamed(body: &str) -> Vec<ChatEvent> {
    testing::stream(&adapter(&json!({})), body).unwrap()
}

#[test]
fn a_stream_is_read_however_it_is_cut() {
    let expected = [
        ChatEvent::Model("m-1".into()),
        ChatEvent::Text("Grüß dich".into()),
        ChatEvent::Finished(FinishReason::Stop),
        ChatEvent::Usage(Usage { prompt_tokens: 5, completion_tokens: 2 }),
    ];
    assert_eq!(streamed(STREAM), expected);
}

#[test]
fn a_stream_that_fails_says_so_once() {
    let begun = "data: {\"choices\":[{\"delta\":{\"content\":\"Hal\"}}]}\n\n";
    let after = |rest: &str| streamed(&format!("{begun}{rest}")).split_off(1);
    let refused = |kind, message: &str| vec![ChatEvent::Refused(Refusal::new(kind, message))];
    assert_eq!(after(""), refused(RefusalKind::Unavailable, "the stream broke off before the answer's end"));
    assert_eq!(after("data: {\"choi"), refused(RefusalKind::Unreadable, "an event is not JSON"));
    let error = "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\"}}\n\n";
    assert_eq!(after(&format!("{error}{error}{begun}")), refused(RefusalKind::Unavailable, "overloaded"));
    assert_eq!(after("data: [DONE]\n\n"), [ChatEvent::Finished(FinishReason::Stop)]);
    let endless = format!("{begun}data: {}", "x".repeat(lakehouse_sdk::sse::MAX_EVENT_BYTES));
    let mut stream = adapter(&json!({})).open_stream().unwrap();
    let events = stream.push(endless.as_bytes()).unwrap();
    assert!(matches!(&events[1], ChatEvent::Refused(refusal) if refusal.kind == RefusalKind::Unreadable));
}

#[test]
fn embeddings_come_back_in_the_order_of_the_texts() {
    let adapter = adapter(&json!({ "embeddings_path": "/embed" }));
    let request = EmbedRequest { model: "e".into(), texts: vec!["a".into(), "b".into()], dimensions: Some(2) };
    let request = testing::embed_request(&adapter, &request).unwrap();
    let body: Value = std::str::from_utf8(&request.body).unwrap().parse().unwrap();
    assert_eq!(request.path, "/embed");
    assert_eq!(body, json!({ "model": "e", "input": ["a", "b"], "encoding_format": "float", "dimensions": 2 }));

    let parse = |body: Value| adapter.parse_embed(&testing::response(200, &body.to_string())).unwrap();
    let item = |index: u32, vector: &[f32]| json!({ "index": index, "embedding": vector });
    let answer =
        json!({ "model": "e-3", "data": [item(1, &[0.5, 1.0]), item(0, &[2.0, -1.0])], "usage": { "prompt_tokens": 4 } });
    let expected = Embeddings {
        dimensions: 2,
        vectors: vec![2.0, -1.0, 0.5, 1.0],
        usage: Some(Usage { prompt_tokens: 4, completion_tokens: 0 }),
        model: Some("e-3".into()),
    };
    assert_eq!(parse(answer), EmbedOutcome::Answer(expected));
    for wrong in [
        json!({}),
        json!({ "data": [] }),
        json!({ "data": [item(0, &[1.0]), item(0, &[1.0])] }),
        json!({ "data": [item(7, &[1.0])] }),
        json!({ "data": [item(0, &[1.0]), item(1, &[1.0, 2.0])] }),
        json!({ "data": [{ "embedding": ["x"] }] }),
        json!({ "data": [{ "embedding": [1e300] }] }),
        json!({ "data": [{ "embedding": "AAAA" }] }),
    ] {
        assert!(
            matches!(parse(wrong.clone()), EmbedOutcome::Refused(refusal) if refusal.kind == RefusalKind::Unreadable),
            "{wrong}"
        );
    }
}

proptest! {
    /// Whatever a provider sends, it is an answer or a refusal.
    #[test]
    fn nothing_that_a_provider_sends_is_an_error(status in 100_u16..600, body in ".{0,200}") {
        let adapter = adapter(&json!({}));
        let response = testing::response(status, &body);
        prop_assert!(adapter.parse_chat(&response).is_ok());
        prop_assert!(adapter.parse_embed(&response).is_ok());
        prop_assert!(testing::stream(&adapter, &body).is_ok());
    }

    #[test]
    fn a_streamed_text_is_the_text(pieces in prop::collection::vec("\\PC{1,12}", 1..8)) {
        let chunk = |text: &String| format!("data: {}\n\n", json!({ "choices": [{ "delta": { "content": text } }] }));
        let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        let body: String = pieces.iter().map(chunk).chain([end.to_owned()]).collect();
        prop_assert_eq!(streamed(&body), [ChatEvent::Text(pieces.concat()), ChatEvent::Finished(FinishReason::Stop)]);
    }
}
