//! Who calls: the key, the profile and the request id of a call's metadata.
//!
//! **Invariant**: a call is answered for the principal of its own key and for no other, whatever else its message holds.

use std::{borrow::Cow, sync::Arc};

use lakehouse_engine::{Basic, Caller, Credential, CredentialError, Engine, presented as credentials};
use lakehouse_types::{Code, ErrorKind, ProfileId, RequestId};
use tonic::{
    Status,
    metadata::{Ascii, AsciiMetadataValue, MetadataMap, MetadataValue},
};

use crate::status::{REQUEST_ID, refused, told};

const AUTHORIZATION: &str = "authorization";
const API_KEY: &str = "x-api-key";
const PROFILE: &str = "x-lakehouse-profile";

/// Told of each call, for metrics.
pub trait Calls: Send + Sync + 'static {
    /// A call begins; whatever comes back is held until its answer has ended.
    fn began(&self, method: &'static str) -> Box<dyn Send + Sync>;

    /// It was answered, or refused.
    fn answered(&self, method: &'static str, status: tonic::Code);

    /// Rows were sent.
    fn rows(&self, rows: u64);
}

/// The request id that the call brings, if it is fit to be one, else a new one.
pub(crate) fn request_id(metadata: &MetadataMap) -> RequestId {
    let given = metadata.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    given.and_then(|text| RequestId::new(text).ok()).unwrap_or_else(RequestId::fresh)
}

/// Lets a call in.
///
/// # Errors
/// When it has no valid key, or may not run under its profile.
pub(crate) async fn admit(engine: &Arc<Engine>, metadata: &MetadataMap, request_id: &RequestId) -> Result<Caller, Status> {
    let key = presented(metadata, Basic::Ignored);
    let key = match key {
        Ok(key) => key,
        Err(_) if !engine.settings().auth.enabled => None,
        Err(error) => {
            engine.journal_unreadable_key(request_id.clone()).await;
            return Err(unauthenticated(&error, request_id));
        }
    };
    let profile = match metadata.get(PROFILE) {
        None => Ok(None),
        Some(value) => value.to_str().ok().and_then(|text| ProfileId::new(text).ok()).map(Some).ok_or(()),
    };
    let named = profile.as_ref().ok().and_then(Option::as_ref);
    let caller = engine.admit(key.as_deref(), named, request_id.clone()).await.map_err(|error| refused(&error, request_id))?;
    // Who has no key learns only that.
    match profile {
        Ok(_) => Ok(caller),
        Err(()) => {
            let message = "`x-lakehouse-profile` names no profile: letters, digits, `-` and `_`";
            Err(told(Code::InvalidParameter, Code::InvalidParameter.kind(), message, request_id))
        }
    }
}

/// The key of a handshake: the password of `Basic`, any name beside it, or a `Bearer` key. It is tried, and is the token of the calls
/// that follow: nothing needs to be remembered of who shook hands.
///
/// # Errors
/// When it opens nothing.
pub(crate) async fn shake_hands(
    engine: &Arc<Engine>,
    metadata: &MetadataMap,
    request_id: &RequestId,
) -> Result<MetadataValue<Ascii>, Status> {
    let key = match presented(metadata, Basic::Heard) {
        Ok(key) => key.unwrap_or_default(),
        Err(error) => {
            engine.journal_unreadable_key(request_id.clone()).await;
            return Err(unauthenticated(&error, request_id));
        }
    };
    engine.admit(Some(&key), None, request_id.clone()).await.map_err(|error| refused(&error, request_id))?;
    let mut token: AsciiMetadataValue =
        format!("Bearer {key}").parse().map_err(|_| unauthenticated(&CredentialError::Characters, request_id))?;
    token.set_sensitive(true);
    Ok(token)
}

fn unauthenticated(error: &CredentialError, request_id: &RequestId) -> Status {
    told(Code::Unauthenticated, ErrorKind::Unauthenticated, &error.to_string(), request_id)
}

fn presented(metadata: &MetadataMap, basic: Basic) -> Result<Option<Cow<'_, str>>, CredentialError> {
    let authorization = metadata.get_all(AUTHORIZATION).into_iter().map(|value| Credential::Authorization(value.to_str().ok()));
    let api_key = metadata.get_all(API_KEY).into_iter().map(|value| Credential::ApiKey(value.to_str().ok()));
    credentials(authorization.chain(api_key), basic)
}
