//! Whole responses.
//!
//! **Invariant**: a response is an answer in full, or a refusal that says why; nothing is half read.

use lakehouse_sdk::Value;
use lakehouse_sdk::chat::{ChatAnswer, Embeddings, FinishReason, HttpResponse, Refusal, RefusalKind, Usage};

/// The JSON of a response that is an answer.
pub(crate) fn body(response: &HttpResponse) -> Result<Value, Refusal> {
    let body = parse(&response.body);
    if !response.is_success() {
        return Err(refusal(Some(response.status), body.as_ref()));
    }
    let body = body.ok_or_else(|| unreadable("the response is not JSON"))?;
    // Some servers answer 200 and say in the body that they failed.
    if is_error(&body) { Err(refusal(None, Some(&body))) } else { Ok(body) }
}

fn parse(bytes: &[u8]) -> Option<Value> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

pub(crate) fn is_error(body: &Value) -> bool {
    body.get("error").is_some_and(|error| !error.is_null())
}

/// The first choice; servers send one unless asked for more.
pub(crate) fn answer(body: &Value) -> Result<ChatAnswer, Refusal> {
    let choice = body.pointer("/choices/0").ok_or_else(|| unreadable("the response has no choices"))?;
    let message = choice.get("message").ok_or_else(|| unreadable("the choice has no message"))?;
    let text = match (message.get("content"), message.get("refusal")) {
        (Some(Value::String(text)), _) => text.clone(),
        (_, Some(Value::String(words))) => {
            return Err(Refusal::new(RefusalKind::Other, words.clone()));
        }
        // A model that only calls tools says nothing.
        (None | Some(Value::Null), _) => String::new(),
        _ => return Err(unreadable("the message's content is no text")),
    };
    let finish_reason = finish_reason(choice).unwrap_or(FinishReason::Stop);
    Ok(ChatAnswer { text, finish_reason, usage: usage(body), model: model(body) })
}

pub(crate) fn finish_reason(choice: &Value) -> Option<FinishReason> {
    Some(match choice.get("finish_reason")?.as_str()? {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "content_filter" => FinishReason::ContentFilter,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        other => FinishReason::Other(other.to_owned()),
    })
}

pub(crate) fn usage(body: &Value) -> Option<Usage> {
    let usage = body.get("usage")?;
    let prompt_tokens = usage.get("prompt_tokens")?.as_u64()?;
    // Absent for embeddings.
    let completion_tokens = usage.get("completion_tokens").and_then(Value::as_u64).unwrap_or(0);
    Some(Usage { prompt_tokens, completion_tokens })
}

pub(crate) fn model(body: &Value) -> Option<String> {
    body.get("model")?.as_str().filter(|model| !model.is_empty()).map(str::to_owned)
}

/// The vectors, put in the order of the texts.
pub(crate) fn embeddings(body: &Value) -> Result<Embeddings, Refusal> {
    let data = body.get("data").and_then(Value::as_array).ok_or_else(|| unreadable("the response has no data"))?;
    let mut ordered: Vec<Option<&Vec<Value>>> = vec![None; data.len()];
    for (position, item) in data.iter().enumerate() {
        let index = item.get("index").and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok()).unwrap_or(position);
        let vector = item.get("embedding").and_then(Value::as_array);
        let place = ordered.get_mut(index).filter(|place| place.is_none());
        *place.ok_or_else(|| unreadable("the vectors are not numbered one by one"))? =
            Some(vector.ok_or_else(|| unreadable("an embedding is no list of numbers"))?);
    }
    let vectors: Vec<&Vec<Value>> = ordered.into_iter().flatten().collect();
    let dimensions = vectors.first().map_or(0, |vector| vector.len());
    if dimensions == 0 || vectors.iter().any(|vector| vector.len() != dimensions) {
        return Err(unreadable("the vectors are empty, or not of one length"));
    }
    let number = |number: &Value| number.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
    let numbers: Option<Vec<f32>> = vectors.into_iter().flatten().map(number).collect();
    let numbers = numbers.ok_or_else(|| unreadable("an embedding holds what is no number"))?;
    let dimensions = u32::try_from(dimensions).map_err(|_| unreadable("a vector is far too long"))?;
    Ok(Embeddings { dimensions, vectors: numbers, usage: usage(body), model: model(body) })
}

pub(crate) fn unreadable(what: &str) -> Refusal {
    Refusal::new(RefusalKind::Unreadable, what)
}

/// Why the provider refuses: its error's own code where it has one, else the status.
pub(crate) fn refusal(status: Option<u16>, body: Option<&Value>) -> Refusal {
    let error = body.and_then(|body| body.get("error")).or(body);
    let text = |name: &str| error.and_then(|error| error.get(name)).and_then(Value::as_str);
    let said = text("message").or_else(|| error.and_then(Value::as_str)).or_else(|| text("detail"));
    let message = match (said, status) {
        (Some(said), _) => said.to_owned(),
        (None, Some(status)) => format!("status {status}"),
        (None, None) => "an error without a message".to_owned(),
    };
    let code = text("code").or_else(|| text("type")).unwrap_or_default();
    // In a body the status is at times a number in the error.
    let in_body = error.and_then(|error| error.get("code")).and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let kind = kind_of_code(code)
        .or_else(|| is_too_long(&message).then_some(RefusalKind::TooLong))
        .or_else(|| status.or(in_body).map(kind_of_status))
        .unwrap_or(RefusalKind::Other);
    Refusal::new(kind, message)
}

fn kind_of_code(code: &str) -> Option<RefusalKind> {
    Some(match code {
        "context_length_exceeded" | "string_above_max_length" => RefusalKind::TooLong,
        "invalid_api_key" | "authentication_error" | "permission_error" => RefusalKind::Unauthorized,
        "model_not_found" => RefusalKind::UnknownModel,
        "rate_limit_exceeded" | "rate_limit_error" | "insufficient_quota" => RefusalKind::RateLimited,
        "server_error" | "api_error" | "overloaded_error" | "service_unavailable" => RefusalKind::Unavailable,
        _ => return None,
    })
}

/// Servers that imitate the protocol answer 400 with words of their own.
fn is_too_long(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["maximum context length", "context window", "context size", "too many tokens", "input is too long"]
        .iter()
        .any(|words| message.contains(words))
}

fn kind_of_status(status: u16) -> RefusalKind {
    match status {
        401 | 403 => RefusalKind::Unauthorized,
        404 => RefusalKind::UnknownModel,
        408 | 500.. => RefusalKind::Unavailable,
        413 => RefusalKind::TooLong,
        429 => RefusalKind::RateLimited,
        400..=499 => RefusalKind::InvalidRequest,
        _ => RefusalKind::Other,
    }
}
