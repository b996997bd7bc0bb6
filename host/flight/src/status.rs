//! Failures as gRPC has them.
//!
//! **Invariant**: a status carries what a problem of the HTTP interface would: the stable code, the public message and the request id;
//! never the cause.

use lakehouse_types::{Code, ErrorKind, Fault, RequestId};
use tonic::{Status, metadata::MetadataValue};

/// The problem code's key.
const CODE: &str = "x-lakehouse-code";
/// The request id's key, in calls and their answers.
pub(crate) const REQUEST_ID: &str = "x-request-id";
/// gRPC carries messages in headers, whose room is bounded.
const MAX_MESSAGE_CHARS: usize = 2_000;

/// The failure as its caller is told of it. Its cause goes to the log.
pub(crate) fn refused<F: Fault>(fault: &F, request_id: &RequestId) -> Status {
    let code = fault.code();
    tracing::debug!(%request_id, code = code.as_str(), cause = %Chain(fault), "a call failed");
    told(code, fault.kind(), &fault.public(), request_id)
}

/// A failure of this interface itself.
pub(crate) fn told(code: Code, kind: ErrorKind, message: &str, request_id: &RequestId) -> Status {
    let message: String = message.chars().take(MAX_MESSAGE_CHARS).collect();
    let mut status = Status::new(grpc(code, kind), format!("{message} [{}, request {request_id}]", code.as_str()));
    let metadata = status.metadata_mut();
    metadata.insert(CODE, MetadataValue::from_static(code.as_str()));
    if let Ok(id) = request_id.as_str().parse() {
        metadata.insert(REQUEST_ID, id);
    }
    status
}

fn grpc(code: Code, kind: ErrorKind) -> tonic::Code {
    use tonic::Code as Grpc;
    match kind {
        _ if code == Code::Cancelled => Grpc::Cancelled,
        ErrorKind::InvalidRequest | ErrorKind::Unprocessable => Grpc::InvalidArgument,
        ErrorKind::Unauthenticated => Grpc::Unauthenticated,
        ErrorKind::Forbidden => Grpc::PermissionDenied,
        ErrorKind::NotFound => Grpc::NotFound,
        ErrorKind::Conflict | ErrorKind::PluginFault => Grpc::FailedPrecondition,
        ErrorKind::TooLarge | ErrorKind::TooMany => Grpc::ResourceExhausted,
        ErrorKind::Unavailable => Grpc::Unavailable,
        ErrorKind::Timeout => Grpc::DeadlineExceeded,
        ErrorKind::Bug => Grpc::Internal,
    }
}

/// A failure and its causes, in words.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lakehouse_types::{Code, RequestId};

    use super::told;

    #[test]
    fn every_problem_has_a_status_of_its_kind() {
        let id = RequestId::fresh();
        for code in Code::ALL {
            let status = told(*code, code.kind(), "a\nb", &id);
            assert_ne!(status.code(), tonic::Code::Ok, "{code:?}");
            assert_eq!(status.metadata().get("x-lakehouse-code").unwrap(), code.as_str());
            assert_eq!(status.metadata().get("x-request-id").unwrap(), id.as_str());
            assert!(status.message().contains(code.as_str()) && status.message().contains(id.as_str()));
        }
    }

    #[test]
    fn a_long_message_is_cut() {
        let id = RequestId::fresh();
        let status = told(Code::InvalidSql, Code::InvalidSql.kind(), &"ö".repeat(100_000), &id);
        assert!(status.message().len() < 5_000);
    }
}
