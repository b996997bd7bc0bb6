//! Where a key may stand in what HTTP and gRPC call headers: `authorization: Bearer`, `x-api-key`, and, where that is heard, the password
//! of `authorization: Basic`.
//!
//! **Invariant**: what cannot be read as a key is refused rather than passed over, and two different keys are no key.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD as STANDARD};

/// Longer texts are no keys, and are not hashed.
const MAX_KEY_BYTES: usize = 512;

/// Whether Basic credentials are heard. Browsers send them on their own, so that only what changes nothing and shows no data may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basic {
    Heard,
    Ignored,
}

/// One header that may hold a key, as text where it is any.
#[derive(Debug, Clone, Copy)]
pub enum Credential<'a> {
    Authorization(Option<&'a str>),
    ApiKey(Option<&'a str>),
}

/// Why what was sent is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    #[error("the key has characters that no key has")]
    Characters,
    #[error("the key is empty or too long to be one")]
    Length,
    #[error("the request has two different keys")]
    Two,
    #[error("the Basic credentials cannot be read")]
    Basic,
    #[error("the Authorization header must be `Bearer <key>`")]
    Scheme,
}

/// The presented key, if there is one.
///
/// # Errors
/// When the headers contradict each other or cannot be read.
pub fn presented<'a>(
    headers: impl IntoIterator<Item = Credential<'a>>,
    basic: Basic,
) -> Result<Option<Cow<'a, str>>, CredentialError> {
    let mut found: Option<Cow<'a, str>> = None;
    for header in headers {
        let key = match header {
            Credential::Authorization(Some(text)) => authorization(text.trim(), basic)?,
            Credential::ApiKey(Some(text)) => Cow::Borrowed(text.trim()),
            Credential::Authorization(None) | Credential::ApiKey(None) => return Err(CredentialError::Characters),
        };
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(CredentialError::Length);
        }
        match &found {
            Some(other) if *other != key => return Err(CredentialError::Two),
            _ => found = Some(key),
        }
    }
    Ok(found)
}

fn authorization(text: &str, basic: Basic) -> Result<Cow<'_, str>, CredentialError> {
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Cow::Borrowed(rest.trim()));
    }
    if scheme.eq_ignore_ascii_case("basic") && basic == Basic::Heard {
        let decoded = STANDARD.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|pair| pair.split_once(':'));
        return pair.map(|(_, password)| Cow::Owned(password.to_owned())).ok_or(CredentialError::Basic);
    }
    Err(CredentialError::Scheme)
}

#[cfg(test)]
mod tests {
    use super::{
        Basic,
        Credential::{self, ApiKey, Authorization},
        presented,
    };

    #[test]
    fn a_key_is_found_where_it_may_stand() {
        let check = |headers: &[Credential<'_>], basic, expected: Option<&str>| {
            assert_eq!(presented(headers.iter().copied(), basic).unwrap().as_deref(), expected, "{headers:?}");
        };
        check(&[], Basic::Ignored, None);
        check(&[Authorization(Some("Bearer lk_a_b"))], Basic::Ignored, Some("lk_a_b"));
        check(&[Authorization(Some("bearer   lk_a_b "))], Basic::Ignored, Some("lk_a_b"));
        check(&[ApiKey(Some("lk_a_b"))], Basic::Ignored, Some("lk_a_b"));
        check(&[ApiKey(Some("lk_a_b")), Authorization(Some("Bearer lk_a_b"))], Basic::Ignored, Some("lk_a_b"));
        check(&[Authorization(Some("Basic YW55Om15OmtleQ=="))], Basic::Heard, Some("my:key"));
    }

    #[test]
    fn what_is_no_key_is_refused_rather_than_ignored() {
        let long = "x".repeat(600);
        let check = |headers: &[Credential<'_>], basic| {
            assert!(presented(headers.iter().copied(), basic).is_err(), "{headers:?}");
        };
        check(&[ApiKey(Some("lk_a_b")), Authorization(Some("Bearer lk_a_c"))], Basic::Ignored);
        check(&[Authorization(Some("Bearer "))], Basic::Ignored);
        check(&[Authorization(Some("Basic YW55Om15OmtleQ=="))], Basic::Ignored);
        check(&[Authorization(Some("Basic !!"))], Basic::Heard);
        check(&[Authorization(Some("Digest x"))], Basic::Heard);
        check(&[Authorization(None)], Basic::Heard);
        check(&[ApiKey(Some(""))], Basic::Ignored);
        check(&[ApiKey(Some(&long))], Basic::Ignored);
    }
}
