//! RFC 9457 problems: the one place where a failure becomes a status and a body.
//!
//! **Invariant**: a problem's body holds what [`Fault::public`] and [`Fault::members`] gave, and nothing of the cause; the cause
//! goes to the log under the request id. [`render`] and [`render_onto`] are the only writers of `application/problem+json`.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use lakehouse_engine::JobFailure;
use lakehouse_types::{Code, ErrorKind, Fault, Members, RequestId};
use serde_json::{Value, json};

/// The media type of RFC 9457.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// A failed request, before it has its request id.
#[derive(Debug, Clone)]
pub struct Problem {
    code: Code,
    status: StatusCode,
    detail: String,
    /// Boxed: a problem is the error of nearly every function here.
    members: Box<Members>,
    cause: Option<String>,
}

impl Problem {
    /// A problem of the gateway itself.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, status: status(code, code.kind()), detail: detail.into(), members: Box::default(), cause: None }
    }

    /// Adds a member that a program can read.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Why a job failed.
    pub(crate) fn of_job(failure: &JobFailure) -> Self {
        let code = Code::ALL.iter().copied().find(|code| code.as_str() == failure.code).unwrap_or(Code::Internal);
        let members = Box::new(failure.members.clone());
        Self { code, status: status(code, code.kind()), detail: failure.detail.clone(), members, cause: None }
    }

    /// The same, to be kept.
    pub(crate) fn into_failure(self) -> JobFailure {
        JobFailure::new(self.code, self.detail, *self.members)
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The status that it answers with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What the log says and the caller does not see.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// When to come again: as long as the problem itself says, else a second.
    fn retry_after_secs(&self) -> u64 {
        self.members.get("retry_after_ms").and_then(Value::as_u64).map_or(1, |ms| ms.div_ceil(1_000).max(1))
    }

    /// The body, as [`render`] and the `error` member of a broken stream write it.
    pub(crate) fn body(&self, request_id: &RequestId) -> Value {
        let mut body = Members::clone(&self.members);
        body.shift_insert(0, "type".into(), format!("/problems/{}", self.code.as_str().replace('_', "-")).into());
        body.shift_insert(1, "title".into(), self.code.title().into());
        body.shift_insert(2, "status".into(), self.status.as_u16().into());
        body.shift_insert(3, "code".into(), self.code.as_str().into());
        body.shift_insert(4, "detail".into(), self.detail.clone().into());
        body.insert("action".into(), action(self.code).into());
        body.insert("request_id".into(), json!(request_id));
        Value::Object(body)
    }
}

impl<F: Fault> From<F> for Problem {
    fn from(fault: F) -> Self {
        let code = fault.code();
        Self {
            code,
            status: status(code, fault.kind()),
            detail: fault.public(),
            members: Box::new(fault.members()),
            cause: Some(chain(&fault)),
        }
    }
}

impl IntoResponse for Problem {
    /// Carries the problem to [`render`], which knows the request id.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the answer to a request that came to be.
pub(crate) fn render(problem: &Problem, request_id: &RequestId, challenge: &'static str) -> Response {
    let mut response = Response::new(Body::from(problem.body(request_id).to_string()));
    *response.status_mut() = problem.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match problem.status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        // Nobody is told to repeat what may have been done.
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE if problem.code != Code::OutcomeUnknown => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(problem.retry_after_secs()));
        }
        _ => {}
    }
    response
}

/// Writes the answer to a head that became no request, in place of `bare`: a head without a body, of which the status line and what
/// concerns the connection stay.
pub(crate) fn render_onto(bare: &str, problem: &Problem, request_id: &RequestId) -> Vec<u8> {
    let kept = bare.trim_end().replace("\r\ncontent-length: 0", "");
    let body = problem.body(request_id).to_string();
    let length = body.len();
    format!(
        "{kept}\r\ncontent-type: {MEDIA_TYPE}\r\ncache-control: no-store\r\nx-request-id: {request_id}\r\ncontent-length: {length}\r\n\r\n\
         {body}"
    )
    .into_bytes()
}

/// The status of a kind. HTTP has statuses of its own for a wrong method, a long URI and large headers.
fn status(code: Code, kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::InvalidRequest if code == Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorKind::TooLarge if code == Code::UriTooLong => StatusCode::URI_TOO_LONG,
        ErrorKind::TooLarge if code == Code::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        ErrorKind::InvalidRequest => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::PluginFault => StatusCode::BAD_GATEWAY,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Bug => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The status that problems with this code usually have.
pub(crate) fn usual_status(code: Code) -> StatusCode {
    status(code, code.kind())
}

/// What the caller does about it, as the `action` member.
pub(crate) fn action(code: Code) -> &'static str {
    match code.kind() {
        ErrorKind::Unavailable if code == Code::OutcomeUnknown => "check_outcome",
        ErrorKind::InvalidRequest
        | ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::TooLarge
        | ErrorKind::Unprocessable => "fix_request",
        ErrorKind::Unauthenticated => "authenticate",
        ErrorKind::Forbidden => "get_permission",
        ErrorKind::TooMany | ErrorKind::Unavailable | ErrorKind::Timeout => "retry",
        ErrorKind::PluginFault | ErrorKind::Bug => "report",
    }
}

/// An error and its sources, for the log.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{error::Error, fmt};

    use super::{Code, Fault, Members, Problem, RequestId, StatusCode, render, render_onto};

    #[derive(Debug)]
    struct Inner;
    impl fmt::Display for Inner {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the disk at /secret/path is gone")
        }
    }
    impl Error for Inner {}

    #[derive(Debug)]
    struct Outer(Inner, Code);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("could not open")
        }
    }
    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }
    impl Fault for Outer {
        fn code(&self) -> Code {
            self.1
        }
        fn public(&self) -> String {
            "bucket `testin` does not exist".into()
        }
        fn members(&self) -> Members {
            let mut members = Members::new();
            members.insert("valid_buckets".into(), serde_json::json!(["primary"]));
            members
        }
    }

    #[test]
    fn the_body_is_the_contracts_and_the_cause_stays_inside() {
        let problem = Problem::from(Outer(Inner, Code::UnknownBucket));
        let id = RequestId::new("r-1").unwrap();
        insta::assert_json_snapshot!(problem.body(&id), @r#"
        {
          "type": "/problems/unknown-bucket",
          "title": "Unknown bucket",
          "status": 404,
          "code": "unknown_bucket",
          "detail": "bucket `testin` does not exist",
          "valid_buckets": [
            "primary"
          ],
          "action": "fix_request",
          "request_id": "r-1"
        }
        "#);
        assert_eq!(problem.cause(), Some("could not open: the disk at /secret/path is gone"));
    }

    #[test]
    fn every_code_has_a_failing_status_and_rendering_sets_what_the_status_needs() {
        let id = RequestId::new("r-1").unwrap();
        for code in Code::ALL {
            let problem = Problem::new(*code, "x");
            assert!(problem.status().is_client_error() || problem.status().is_server_error(), "{code:?}");
            let response = render(&problem, &id, "Bearer");
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            assert_eq!(
                response.headers().contains_key("www-authenticate"),
                problem.status() == StatusCode::UNAUTHORIZED,
                "{code:?}"
            );
            assert_eq!(
                response.headers().contains_key("retry-after"),
                matches!(problem.status().as_u16(), 429 | 503) && *code != Code::OutcomeUnknown,
                "{code:?}"
            );
        }
        for (code, status) in [(Code::MethodNotAllowed, 405), (Code::UriTooLong, 414), (Code::HeadTooLarge, 431)] {
            assert_eq!(Problem::new(code, "x").status().as_u16(), status);
        }
    }

    #[test]
    fn what_may_have_been_done_is_not_to_be_repeated_blindly() {
        let id = RequestId::new("r-1").unwrap();
        let action = |code: Code| Problem::new(code, "x").body(&id)["action"].clone();
        assert_eq!(action(Code::OutcomeUnknown), "check_outcome");
        assert_eq!(action(Code::Busy), "retry");
    }

    #[test]
    fn a_problem_takes_the_place_of_a_bare_reply() {
        let bare = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: today\r\n\r\n";
        let problem = Problem::new(Code::MalformedRequest, "x");
        let text = String::from_utf8(render_onto(bare, &problem, &RequestId::new("r-1").unwrap())).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let lines: Vec<&str> = head.split("\r\n").collect();
        assert_eq!(lines[..3], ["HTTP/1.1 400 Bad Request", "connection: close", "date: today"]);
        assert_eq!(lines[3], "content-type: application/problem+json");
        assert_eq!(lines[5..], ["x-request-id: r-1".to_owned(), format!("content-length: {}", body.len())]);
        assert!(body.contains("malformed_request"), "{body}");
    }
}
