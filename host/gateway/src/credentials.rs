//! Where a key may stand in a request: `Authorization: Bearer`, `X-API-Key`, and, for the pages that people open in a browser,
//! the password of `Authorization: Basic`.
//!
//! **Invariant**: Basic credentials, which browsers send on their own, are heard only by routes that read nothing but
//! documentation, so that a foreign page cannot act with them.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderName, header};
use base64::{Engine as _, prelude::BASE64_STANDARD as STANDARD};
use lakehouse_types::Code;

use crate::problem::Problem;

/// The other header for a key.
pub(crate) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Longer texts are no keys, and are not hashed.
const MAX_KEY_BYTES: usize = 512;

/// Whether a route hears Basic credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Basic {
    Heard,
    Ignored,
}

/// The presented key, if there is one.
///
/// # Errors
/// When the headers contradict each other or cannot be read.
pub(crate) fn presented(headers: &HeaderMap, basic: Basic) -> Result<Option<Cow<'_, str>>, Problem> {
    let mut found: Option<Cow<'_, str>> = None;
    let candidates = headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .map(|value| (true, value))
        .chain(headers.get_all(API_KEY).iter().map(|value| (false, value)));
    for (is_authorization, value) in candidates {
        let text = value.to_str().map_err(|_| refused("the key has characters that no key has"))?.trim();
        let key = if is_authorization { authorization(text, basic)? } else { Cow::Borrowed(text) };
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(refused("the key is empty or too long to be one"));
        }
        match &found {
            Some(other) if *other != key => return Err(refused("the request has two different keys")),
            _ => found = Some(key),
        }
    }
    Ok(found)
}

fn authorization(text: &str, basic: Basic) -> Result<Cow<'_, str>, Problem> {
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Cow::Borrowed(rest.trim()));
    }
    if scheme.eq_ignore_ascii_case("basic") && basic == Basic::Heard {
        let decoded = STANDARD.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        return match decoded.as_deref().and_then(|pair| pair.split_once(':')) {
            Some((_, password)) => Ok(Cow::Owned(password.to_owned())),
            None => Err(refused("the Basic credentials cannot be read")),
        };
    }
    Err(refused("the Authorization header must be `Bearer <key>`"))
}

fn refused(detail: &str) -> Problem {
    Problem::new(Code::Unauthenticated, detail)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::{Basic, presented};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn a_key_is_found_where_it_may_stand() {
        let check = |pairs: &[(&'static str, &'static str)], basic, expected: Option<&str>| {
            let headers = headers(pairs);
            assert_eq!(presented(&headers, basic).unwrap().as_deref(), expected, "{pairs:?}");
        };
        check(&[], Basic::Ignored, None);
        check(&[("authorization", "Bearer lk_a_b")], Basic::Ignored, Some("lk_a_b"));
        check(&[("authorization", "bearer   lk_a_b ")], Basic::Ignored, Some("lk_a_b"));
        check(&[("x-api-key", "lk_a_b")], Basic::Ignored, Some("lk_a_b"));
        check(&[("x-api-key", "lk_a_b"), ("authorization", "Bearer lk_a_b")], Basic::Ignored, Some("lk_a_b"));
        check(&[("authorization", "Basic YW55Om15OmtleQ==")], Basic::Heard, Some("my:key"));
    }

    #[test]
    fn what_is_no_key_is_refused_rather_than_ignored() {
        let check = |pairs: &[(&'static str, &'static str)], basic| {
            let headers = headers(pairs);
            assert!(presented(&headers, basic).is_err(), "{pairs:?}");
        };
        check(&[("x-api-key", "lk_a_b"), ("authorization", "Bearer lk_a_c")], Basic::Ignored);
        check(&[("authorization", "Bearer ")], Basic::Ignored);
        check(&[("authorization", "Basic YW55Om15OmtleQ==")], Basic::Ignored);
        check(&[("authorization", "Basic !!")], Basic::Heard);
        check(&[("authorization", "Digest x")], Basic::Heard);
        check(&[("x-api-key", "")], Basic::Ignored);
    }
}
