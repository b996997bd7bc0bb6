//! Model adapters: well-formed requests, and streams that read the same however they are cut.

use super::broken;
use crate::chat::{ChatEvent, ChatRequest, EmbedRequest, Header, HttpRequest, HttpResponse, Message, Method, Role};
use crate::{Error, ModelAdapter};

/// Headers that the host sets itself.
const OF_THE_HOST: [&str; 7] = ["authorization", "x-api-key", "api-key", "cookie", "host", "content-length", "connection"];

/// A chat of one question, everything else left to the provider.
pub fn question(model: &str, text: &str) -> ChatRequest {
    ChatRequest {
        model: model.into(),
        messages: vec![Message { role: Role::User, text: text.into(), name: None }],
        temperature: None,
        max_tokens: None,
        stop: Vec::new(),
        stream: false,
        think: None,
    }
}

/// A response of JSON, or of whatever text.
pub fn response(status: u16, body: &str) -> HttpResponse {
    let header = Header { name: "content-type".into(), value: "application/json".into() };
    HttpResponse { status, headers: vec![header], body: body.as_bytes().to_vec() }
}

/// The request for a chat, checked as the host would.
///
/// # Errors
/// The adapter's own, or [`Error::Internal`] naming the promise that it broke.
pub fn chat<A: ModelAdapter>(adapter: &A, request: &ChatRequest) -> Result<HttpRequest, Error> {
    well_formed(adapter.chat(request)?)
}

/// The request for embeddings, checked as the host would.
///
/// # Errors
/// As [`chat`].
pub fn embed_request<A: ModelAdapter>(adapter: &A, request: &EmbedRequest) -> Result<HttpRequest, Error> {
    well_formed(adapter.embed(request)?)
}

/// Reads a streamed body at once, byte by byte and in threes; pieces of text are joined.
///
/// # Errors
/// As [`chat`].
pub fn stream<A: ModelAdapter>(adapter: &A, body: &str) -> Result<Vec<ChatEvent>, Error> {
    let read = |size: usize| -> Result<Vec<ChatEvent>, Error> {
        let mut stream = adapter.open_stream()?;
        let mut events = Vec::new();
        for piece in body.as_bytes().chunks(size) {
            events.extend(stream.push(piece)?);
        }
        events.extend(stream.finish()?);
        Ok(joined(events))
    };
    let whole = read(body.len().max(1))?;
    if read(1)? != whole || read(3)? != whole {
        return Err(broken("a stream reads the same however it is cut"));
    }
    Ok(whole)
}

fn joined(events: Vec<ChatEvent>) -> Vec<ChatEvent> {
    let mut out: Vec<ChatEvent> = Vec::new();
    for event in events {
        match (out.last_mut(), event) {
            (Some(ChatEvent::Text(so_far)), ChatEvent::Text(more)) => so_far.push_str(&more),
            (_, event) => out.push(event),
        }
    }
    out
}

fn well_formed(request: HttpRequest) -> Result<HttpRequest, Error> {
    let HttpRequest { method, path, headers, body } = &request;
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\' && byte != b'#');
    if !path.starts_with('/') || path.starts_with("//") || !is_plain || path.split(['/', '?']).any(|step| step == "..") {
        return Err(broken("a path begins with one `/` and stays below the base address"));
    }
    for Header { name, value } in headers {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || !name.bytes().all(is_name) || !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(broken("a header has a lower-case name and a value of printable ASCII"));
        }
        if OF_THE_HOST.contains(&name.as_str()) {
            return Err(broken("no header is set that is the host's"));
        }
    }
    if *method == Method::Get && !body.is_empty() {
        return Err(broken("a GET has no body"));
    }
    Ok(request)
}
