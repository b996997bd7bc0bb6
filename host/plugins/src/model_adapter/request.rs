//! What a component wants to be sent to a provider.
//!
//! **Invariant**: a request leaves here only if it stays below the provider's address, breaks no message apart, and sets no header
//! that identifies, frames or routes: those are the host's, and so are the secrets in them.

use super::wit;
use crate::{Header, HttpRequest, HttpResponse, Message, Method, Role, error::Lie};

/// Longest path with its query, bytes.
const MAX_PATH_BYTES: usize = 2048;
const MAX_HEADERS: usize = 32;
/// Longest value of a header, bytes.
const MAX_VALUE_BYTES: usize = 4096;
/// Longest body.
const MAX_BODY_BYTES: usize = 16 << 20;

/// Headers that only the host sets: who asks, where the message ends, which way it goes.
const OWN: &[&str] = &[
    "authorization",
    "api-key",
    "cookie",
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];
/// Families of such headers.
const OWN_PREFIXES: &[&str] = &["proxy-", "x-forwarded-", "x-amz-", "sec-"];
const OWN_SUFFIXES: &[&str] = &["-api-key", "-token", "-secret", "-authorization"];

/// The request, if it may be sent.
pub(super) fn accept(asked: wit::HttpRequest) -> Result<HttpRequest, Lie> {
    let wit::HttpRequest { method, path, headers, body } = asked;
    let method = match method {
        wit::Method::Get => Method::Get,
        wit::Method::Post => Method::Post,
    };
    check_path(&path)?;
    if headers.len() > MAX_HEADERS {
        return Err(Lie::RequestHeaders { limit: MAX_HEADERS });
    }
    let headers: Vec<Header> = headers.into_iter().map(|header| Header { name: header.name, value: header.value }).collect();
    for (n, header) in headers.iter().enumerate() {
        check_header(header)?;
        if headers[..n].iter().any(|other| other.name == header.name) {
            return Err(Lie::RequestHeader);
        }
    }
    if method == Method::Get && !body.is_empty() {
        return Err(Lie::RequestBody);
    }
    if body.len() > MAX_BODY_BYTES {
        return Err(Lie::RequestBodySize { limit: MAX_BODY_BYTES });
    }
    Ok(HttpRequest { method, path, headers, body })
}

fn check_path(path: &str) -> Result<(), Lie> {
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#'));
    let is_relative = path.starts_with('/') && !path.starts_with("//");
    let way = path.split('?').next().unwrap_or_default();
    let climbs = way.split('/').any(|step| matches!(undotted(step).as_str(), "." | ".."));
    // A slash or backslash in disguise becomes one at whoever decodes first.
    let lower = way.to_ascii_lowercase();
    let disguised = lower.contains("%2f") || lower.contains("%5c") || lower.contains("%00");
    if is_plain && is_relative && !climbs && !disguised && path.len() <= MAX_PATH_BYTES {
        return Ok(());
    }
    Err(Lie::RequestPath)
}

/// A step with its disguised dots shown.
fn undotted(step: &str) -> String {
    step.replace("%2e", ".").replace("%2E", ".")
}

fn check_header(Header { name, value }: &Header) -> Result<(), Lie> {
    let is_name = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let is_value = value.len() <= MAX_VALUE_BYTES && value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if !is_name || !is_value {
        return Err(Lie::RequestHeader);
    }
    let is_own = OWN.contains(&name.as_str())
        || OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || OWN_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
    if is_own { Err(Lie::RequestOwnHeader) } else { Ok(()) }
}

pub(super) fn message(message: &Message) -> wit::Message<'_> {
    let role = match message.role {
        Role::System => wit::Role::System,
        Role::User => wit::Role::User,
        Role::Assistant => wit::Role::Assistant,
        Role::Tool => wit::Role::Tool,
    };
    wit::Message { role, text: &message.text, name: message.name.as_deref() }
}

pub(super) fn headers(response: &HttpResponse) -> Vec<wit::HeaderParam<'_>> {
    response.headers.iter().map(|Header { name, value }| wit::HeaderParam { name, value }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str, headers: &[(&str, &str)]) -> wit::HttpRequest {
        let header = |(name, value): &(&str, &str)| wit::HeaderResult { name: (*name).into(), value: (*value).into() };
        wit::HttpRequest {
            method: wit::Method::Post,
            path: path.into(),
            headers: headers.iter().map(header).collect(),
            body: b"{}".to_vec(),
        }
    }

    #[test]
    fn what_providers_need_is_taken() {
        let headers =
            [("content-type", "application/json"), ("accept", "text/event-stream"), ("anthropic-version", "2023-06-01")];
        for path in ["/chat/completions", "/v1/messages", "/models/gemini-2.0:generateContent?alt=sse", "/a/..b/...", "/a.b/@c"] {
            assert_eq!(accept(request(path, &headers)).unwrap().path, path);
        }
        let get = wit::HttpRequest { method: wit::Method::Get, body: vec![], ..request("/models", &[]) };
        assert_eq!(accept(get).unwrap().method, Method::Get);
    }

    #[test]
    fn a_path_stays_below_the_address() {
        let long = format!("/{}", "x".repeat(MAX_PATH_BYTES));
        for path in [
            "",
            "chat",
            "https://evil.example/",
            "//evil.example/",
            "/../admin",
            "/a/../../b",
            "/a/..",
            "/./a",
            "/%2e%2e/a",
            "/.%2E/a",
            "/a%2f..%2fb",
            "/a\\b",
            "/a b",
            "/a\r\nHost: evil",
            "/a\tb",
            "/é",
            "/a#b",
            "/a%5c..%5cb",
            "/a%00",
            &long,
        ] {
            assert_eq!(accept(request(path, &[])).unwrap_err(), Lie::RequestPath, "{path}");
        }
    }

    #[test]
    fn a_header_breaks_nothing_apart() {
        let long = "x".repeat(MAX_VALUE_BYTES + 1);
        for (name, value) in [
            ("", "x"),
            ("Accept", "x"),
            ("a b", "x"),
            ("a:b", "x"),
            ("a\r\nb", "x"),
            ("é", "x"),
            ("accept", "a\r\nauthorization: x"),
            ("accept", "a\nb"),
            ("accept", "a\0b"),
            ("accept", "é"),
            ("accept", &long),
        ] {
            assert_eq!(accept(request("/", &[(name, value)])).unwrap_err(), Lie::RequestHeader, "{name}: {value:.20}");
        }
        assert_eq!(accept(request("/", &[("a", "1"), ("a", "2")])).unwrap_err(), Lie::RequestHeader);
        let many: Vec<(String, &str)> = (0..=MAX_HEADERS).map(|n| (format!("h{n}"), "x")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(accept(request("/", &many)).unwrap_err(), Lie::RequestHeaders { limit: MAX_HEADERS });
    }

    #[test]
    fn headers_of_the_host_are_not_set() {
        for name in [
            "authorization",
            "proxy-authorization",
            "x-api-key",
            "api-key",
            "x-goog-api-key",
            "cookie",
            "host",
            "content-length",
            "transfer-encoding",
            "connection",
            "upgrade",
            "x-forwarded-for",
            "x-auth-token",
            "x-client-secret",
            "x-amz-security-token",
        ] {
            assert_eq!(accept(request("/", &[(name, "x")])).unwrap_err(), Lie::RequestOwnHeader, "{name}");
        }
    }

    #[test]
    fn a_body_is_bounded_and_only_posted() {
        let get = wit::HttpRequest { method: wit::Method::Get, ..request("/", &[]) };
        assert_eq!(accept(get).unwrap_err(), Lie::RequestBody);
        let huge = wit::HttpRequest { body: vec![b' '; MAX_BODY_BYTES + 1], ..request("/", &[]) };
        assert_eq!(accept(huge).unwrap_err(), Lie::RequestBodySize { limit: MAX_BODY_BYTES });
    }
}
