//! Dry runs of model adapters: the request that would be sent, and what a response would mean that the caller made up.
//!
//! **Invariant**: nothing is sent.

use serde_json::{Map, Value, json};

use super::{Attempt, DryRunReport, rows::json_vectors};
use crate::{
    ChatEvent, ChatOutcome, ChatRequest, EmbedOutcome, EmbedRequest, HttpRequest, HttpResponse, Method, PluginError, Refusal,
    Usage, model_adapter::Reader, rule::Rule, wit::exports::lakehouse::plugin::model_adapter::Guest,
};

/// A streamed body arrives in pieces of so many bytes.
const PIECE_BYTES: usize = 1024;

pub(super) async fn chat(rule: &Rule, request: ChatRequest, response: Option<HttpResponse>) -> Result<DryRunReport, PluginError> {
    if request.messages.is_empty() {
        return Err(PluginError::InvalidDryRun("a chat has at least one message".to_owned()));
    }
    let mut attempt = Attempt::<Guest>::begin(rule).await?;
    let is_streamed = request.stream;
    let made = attempt.opened.chat(rule, request).await;
    let mut output = Map::from_iter([("request".to_owned(), json_request(attempt.check(made)?))]);
    match response {
        None => {}
        Some(response) if is_streamed && response.status < 300 => return streamed(attempt, output, &response.body).await,
        Some(response) => {
            let parsed = attempt.opened.parse_chat(rule, response).await;
            let (member, value) = match attempt.check(parsed)? {
                ChatOutcome::Refused(refusal) => ("refused", json_refusal(&refusal)),
                ChatOutcome::Answer(answer) => {
                    let finish = answer.finish_reason.as_str();
                    let usage = answer.usage.map(json_usage);
                    ("answer", json!({ "text": answer.text, "finish_reason": finish, "usage": usage, "model": answer.model }))
                }
            };
            output.insert(member.to_owned(), value);
        }
    }
    Ok(attempt.report(vec![Value::Object(output)]))
}

async fn streamed(attempt: Attempt<'_, Guest>, mut output: Map<String, Value>, body: &[u8]) -> Result<DryRunReport, PluginError> {
    let Attempt { rule, begun, opened } = attempt;
    let mut reader = Reader::open(rule, opened).await.map_err(|error| super::failed(rule, error))?;
    let mut events = Vec::new();
    for piece in body.chunks(PIECE_BYTES) {
        let read = reader.push(rule, piece).await;
        events.extend(read.map_err(|error| super::failed(rule, error))?);
    }
    let read = reader.finish(rule).await;
    events.extend(read.map_err(|error| super::failed(rule, error))?);
    output.insert("events".to_owned(), events.into_iter().map(json_event).collect());
    let attempt = Attempt { rule, begun, opened: reader.opened };
    Ok(attempt.report(vec![Value::Object(output)]))
}

pub(super) async fn embed(
    rule: &Rule,
    request: EmbedRequest,
    response: Option<HttpResponse>,
) -> Result<DryRunReport, PluginError> {
    let mut attempt = Attempt::<Guest>::begin(rule).await?;
    let texts = request.texts.len();
    let made = attempt.opened.embed(rule, request).await;
    let mut output = Map::from_iter([("request".to_owned(), json_request(attempt.check(made)?))]);
    if let Some(response) = response {
        let parsed = attempt.opened.parse_embed(rule, response, texts).await;
        let (member, value) = match attempt.check(parsed)? {
            EmbedOutcome::Refused(refusal) => ("refused", json_refusal(&refusal)),
            EmbedOutcome::Answer(answer) => {
                let (dimensions, vectors) = (answer.vectors.dimensions(), json_vectors(&answer.vectors));
                let usage = answer.usage.map(json_usage);
                ("embeddings", json!({ "dimensions": dimensions, "vectors": vectors, "usage": usage, "model": answer.model }))
            }
        };
        output.insert(member.to_owned(), value);
    }
    Ok(attempt.report(vec![Value::Object(output)]))
}

/// The body as JSON where it is some.
fn json_request(HttpRequest { method, path, headers, body }: HttpRequest) -> Value {
    let method = match method {
        Method::Get => "GET",
        Method::Post => "POST",
    };
    let headers: Map<String, Value> = headers.into_iter().map(|header| (header.name, header.value.into())).collect();
    let body: Value = serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into());
    json!({ "method": method, "path": path, "headers": headers, "body": body })
}

fn json_event(event: ChatEvent) -> Value {
    match event {
        ChatEvent::Text(text) => json!({ "text": text }),
        ChatEvent::Finished(reason) => json!({ "finished": reason.as_str() }),
        ChatEvent::Usage(usage) => json!({ "usage": json_usage(usage) }),
        ChatEvent::Model(model) => json!({ "model": model }),
        ChatEvent::Refused(refusal) => json!({ "refused": json_refusal(&refusal) }),
    }
}

fn json_usage(Usage { prompt_tokens, completion_tokens }: Usage) -> Value {
    json!({ "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens })
}

fn json_refusal(refusal: &Refusal) -> Value {
    json!({ "kind": refusal.kind.as_str(), "message": refusal.message.as_str() })
}
