//! The key of an HTTP request.
//!
//! **Invariant**: Basic credentials, which browsers send on their own, are heard only by routes that read nothing but
//! documentation, so that a foreign page cannot act with them.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderName, header};
pub(crate) use lakehouse_engine::Basic;
use lakehouse_engine::{Credential, presented as read};
use lakehouse_types::Code;

use crate::problem::Problem;

/// The other header for a key.
pub(crate) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The presented key, if there is one.
///
/// # Errors
/// When the headers contradict each other or cannot be read.
pub(crate) fn presented(headers: &HeaderMap, basic: Basic) -> Result<Option<Cow<'_, str>>, Problem> {
    let authorization = headers.get_all(header::AUTHORIZATION).iter().map(|value| Credential::Authorization(value.to_str().ok()));
    let api_key = headers.get_all(API_KEY).iter().map(|value| Credential::ApiKey(value.to_str().ok()));
    read(authorization.chain(api_key), basic).map_err(|error| Problem::new(Code::Unauthenticated, error.to_string()))
}
