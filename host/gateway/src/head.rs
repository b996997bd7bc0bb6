//! The head of a request in bounds.
//!
//! **Invariant**: hyper's own limits lie above these, so that a head that is somewhat too large is a request, and is refused like
//! one. What lies above hyper's too, or cannot be read, never becomes a request; [`crate::manners`] explains hyper's reply.

use axum::http::request::Parts;
use lakehouse_types::Code;

use crate::problem::Problem;

/// Bytes of a method, a URI and headers.
pub(crate) const MAX_BYTES: usize = 64 << 10;

/// Bytes of a URI.
const MAX_URI_BYTES: usize = 32 << 10;

pub(crate) const MAX_HEADERS: usize = 100;

/// `: ` and the end of the line.
const BYTES_AROUND_A_HEADER: usize = 4;

/// # Errors
/// When the head is too large.
pub(crate) fn check(head: &Parts) -> Result<(), Problem> {
    let uri = &head.uri;
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let uri_bytes = path + uri.authority().map_or(0, |authority| authority.as_str().len());
    if uri_bytes > MAX_URI_BYTES {
        return Err(refused(Code::UriTooLong));
    }
    let headers = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + BYTES_AROUND_A_HEADER);
    if head.headers.len() > MAX_HEADERS || uri_bytes + headers.sum::<usize>() > MAX_BYTES {
        return Err(refused(Code::HeadTooLarge));
    }
    Ok(())
}

/// The problem of a head that is too large, or that cannot be read.
pub(crate) fn refused(code: Code) -> Problem {
    let detail = match code {
        Code::UriTooLong => format!("a URI has at most {} KiB", MAX_URI_BYTES >> 10),
        Code::HeadTooLarge => format!("a head has at most {MAX_HEADERS} headers and {} KiB", MAX_BYTES >> 10),
        _ => "the request line or a header is not HTTP/1.1".to_owned(),
    };
    Problem::new(code, detail)
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, extract::Request};
    use lakehouse_types::Code;

    use super::{MAX_BYTES, MAX_HEADERS, MAX_URI_BYTES, check};

    #[test]
    fn a_head_may_be_as_large_as_its_limits_and_no_larger() {
        let code = |uri_bytes: usize, headers: usize, value_bytes: usize| {
            let mut request = Request::get(format!("/{}", "x".repeat(uri_bytes - 1)));
            for _ in 0..headers {
                request = request.header("x", "v".repeat(value_bytes));
            }
            check(&request.body(Body::empty()).unwrap().into_parts().0).err().map(|problem| problem.code())
        };
        assert_eq!(code(MAX_URI_BYTES, 1, 8), None);
        assert_eq!(code(MAX_URI_BYTES + 1, 1, 8), Some(Code::UriTooLong));
        assert_eq!(code(1, MAX_HEADERS, 8), None);
        assert_eq!(code(1, MAX_HEADERS + 1, 8), Some(Code::HeadTooLarge));
        // The URI, the header's name and what is around it.
        let largest = MAX_BYTES - 1 - 1 - 4;
        assert_eq!(code(1, 1, largest), None);
        assert_eq!(code(1, 1, largest + 1), Some(Code::HeadTooLarge));
    }
}
