//! What the service answers instead of doing it, reduced to what a machine can use.
//!
//! **Invariant**: of an answer that is no success, only the status and S3's error code go further. Its body may repeat what was
//! signed, a session token included.

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use http::{Method, StatusCode};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
        ReqwestConnector,
    },
};

/// What is read of an answer that is no success.
const MAX_TOLD_BYTES: usize = 64 << 10;
/// What is read of an answer that may hold an error under status 200: it names up to 1000 keys of up to 1 KiB.
const MAX_REPORT_BYTES: usize = 8 << 20;
const MAX_CODE_BYTES: usize = 64;

/// The service refused, or failed.
#[derive(Debug, thiserror::Error)]
#[error("the service answered {status}{}", code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default())]
pub(crate) struct Refusal {
    status: StatusCode,
    code: Option<Box<str>>,
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Whether the same call may well succeed a moment later.
    pub(crate) fn is_transient(&self) -> bool {
        self.status.is_server_error()
            || matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
            || self.is_raced()
            || matches!(self.code(), Some("RequestTimeout" | "SlowDown" | "InternalError"))
    }

    /// Another write of the same object was under way, and this one was not done.
    fn is_raced(&self) -> bool {
        self.status == StatusCode::CONFLICT && matches!(self.code(), Some("ConditionalRequestConflict" | "OperationAborted"))
    }

    /// Whether the client understands the status itself: not there, not allowed, a precondition that does not hold.
    fn is_mapped(&self) -> bool {
        let mapped = matches!(
            self.status,
            StatusCode::NOT_FOUND | StatusCode::PRECONDITION_FAILED | StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED
        );
        mapped || self.status == StatusCode::CONFLICT && !self.is_raced()
    }
}

/// Who reads refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    /// The client makes its own errors of those that it knows.
    Mapped,
    /// All arrive as [`Refusal`].
    Typed,
}

#[derive(Debug)]
pub(super) struct Connector(pub(super) Answers);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Reader { client, answers: self.0 }))
    }
}

#[derive(Debug)]
struct Reader {
    client: HttpClient,
    answers: Answers,
}

#[async_trait]
impl HttpService for Reader {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let may_report = request.method() == Method::POST || request.headers().contains_key("x-amz-copy-source");
        let (head, body) = self.client.execute(request).await?.into_parts();
        if head.status.is_success() && may_report {
            let told = read(body, MAX_REPORT_BYTES).await?;
            return match reported(&told) {
                Some(refusal) => Err(failed(refusal)),
                None => Ok(HttpResponse::from_parts(head, told.into())),
            };
        }
        if head.status.is_success() || head.status == StatusCode::NOT_MODIFIED {
            return Ok(HttpResponse::from_parts(head, body));
        }
        // A body that breaks off has said enough by its status.
        let told = read(body, MAX_TOLD_BYTES).await.unwrap_or_default();
        let refusal = Refusal { status: head.status, code: code(&told) };
        if self.answers == Answers::Mapped && refusal.is_mapped() {
            let code = refusal.code.map(String::from).unwrap_or_default();
            return Ok(HttpResponse::from_parts(head, code.into()));
        }
        Err(failed(refusal))
    }
}

/// `Unknown`, so that nobody below guesses whether to repeat it.
fn failed(refusal: Refusal) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, refusal)
}

async fn read(body: HttpResponseBody, limit: usize) -> Result<Bytes, HttpError> {
    let mut parts = body.bytes_stream();
    let mut told = Vec::new();
    while told.len() < limit
        && let Some(part) = parts.next().await
    {
        told.extend_from_slice(&part?);
    }
    Ok(told.into())
}

/// A failure that came with status 200, as S3 sends it when it began its answer before it knew.
fn reported(told: &[u8]) -> Option<Refusal> {
    let code = code(told)?;
    let status = match &*code {
        "InternalError" => StatusCode::INTERNAL_SERVER_ERROR,
        "SlowDown" => StatusCode::SERVICE_UNAVAILABLE,
        _ => return None,
    };
    Some(Refusal { status, code: Some(code) })
}

/// The first `<Code>` of an XML answer: letters and digits, or nothing.
fn code(told: &[u8]) -> Option<Box<str>> {
    let text = String::from_utf8_lossy(told);
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let is_code = (1..=MAX_CODE_BYTES).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
    is_code.then(|| code.into())
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::{Refusal, code, reported};

    #[test]
    fn only_the_code_is_taken_from_an_answer() {
        for (told, expected) in [
            (
                "<Error><Code>SignatureDoesNotMatch</Code><StringToSign>secret</StringToSign></Error>",
                Some("SignatureDoesNotMatch"),
            ),
            ("<Error><Code>no code, a text</Code></Error>", None),
            ("<html>503</html>", None),
            ("", None),
        ] {
            assert_eq!(code(told.as_bytes()).as_deref(), expected);
        }
        assert!(reported(b"<DeleteResult><Error><Code>SlowDown</Code></Error></DeleteResult>").is_some());
        assert!(reported(b"<DeleteResult><Error><Code>AccessDenied</Code></Error></DeleteResult>").is_none());
    }

    #[test]
    fn a_refusal_is_transient_when_waiting_helps() {
        for (status, code, expected) in [
            (500, None, true),
            (503, Some("SlowDown"), true),
            (429, None, true),
            (400, Some("RequestTimeout"), true),
            (409, Some("ConditionalRequestConflict"), true),
            (409, Some("BucketNotEmpty"), false),
            (400, Some("InvalidRequest"), false),
            (403, Some("AccessDenied"), false),
        ] {
            let refusal = Refusal { status: StatusCode::from_u16(status).unwrap(), code: code.map(Into::into) };
            assert_eq!(refusal.is_transient(), expected, "{refusal}");
        }
    }
}
