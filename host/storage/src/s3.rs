//! S3 and what speaks its protocol: how such a bucket is declared, opened, and found unusable.
//!
//! **Invariant**: a bucket that is opened has answered, takes these credentials, and refuses to create an object twice: without
//! that, two commits of a table could both succeed. Neither an error nor a debug form holds a credential or a word of the server.
//!
//! The HTTP client repeats nothing. What may be repeated as it stands is repeated by the bucket's store, as for every kind of bucket;
//! what only S3's own means make repeatable (conditional writes, parts, pages, batches) is repeated in [`store`]. Both keep to
//! [`RetryPolicy::remote`], and no call passes through both.

mod answer; // what is no success, reduced to status and code
mod body; // reads that go on where they broke off
mod store; // the bucket as a store
mod upload; // uploads by parts

use std::{error::Error, fmt, sync::Arc, time::Duration};

use http::StatusCode;
use lakehouse_types::{BucketName, Secret};
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut, S3CopyIfNotExists},
    client::{HttpError, HttpErrorKind},
    list::{PaginatedListOptions, PaginatedListStore},
    path::Path,
    prefix::PrefixStore,
};

pub(crate) use answer::Refusal;
use answer::{Answers, Connector};
use store::S3Store;

use crate::{Claim, Result, RetryPolicy, StorageError, metrics::Counters};

/// A server that does not even accept a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// A server that stays silent this long in the middle of a call.
const SILENCE: Duration = Duration::from_secs(20);
/// The whole of one call, its body included. A longer read goes on where it stopped.
const CALL_DEADLINE: Duration = Duration::from_secs(120);
/// What a start waits for a bucket.
const OPEN_DEADLINE: Duration = Duration::from_secs(6);
/// The object that every bucket of ours has: shows that names are taken once, and that the bucket is still there.
pub(crate) const PROBE: &str = "_probe";

/// The region of buckets that state none.
const REGION_VARIABLES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
/// The credentials of buckets that state none: keys, a web identity, a container's role, the machine's.
const CREDENTIAL_VARIABLES: [&str; 12] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_METADATA_ENDPOINT",
    "AWS_IMDSV1_FALLBACK",
];

/// A bucket of an S3-compatible service.
#[derive(Clone)]
pub struct S3Spec {
    /// The bucket's name at the service.
    pub bucket: String,
    /// Where in it our objects are; absent, at its root.
    pub prefix: Option<String>,
    /// The service's URL, without the bucket; absent, AWS.
    pub endpoint: Option<String>,
    /// Absent, what the environment says, else `us-east-1`.
    pub region: Option<String>,
    /// Whether the bucket stands in the path of URLs rather than in their host.
    pub path_style: bool,
    /// Whether the endpoint may be plain HTTP.
    pub allow_http: bool,
    pub credentials: S3Credentials,
}

/// Who asks.
#[derive(Debug, Clone)]
pub enum S3Credentials {
    /// As AWS's own tools find them: `AWS_ACCESS_KEY_ID` and its kin, a web identity, the container's or the machine's role.
    Environment,
    Keys {
        access_key_id: String,
        secret_access_key: Secret,
        session_token: Option<Secret>,
    },
}

/// Why a bucket of a remote service cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    #[error("nothing answers there; check the endpoint")]
    Unreachable,
    #[error("it did not answer in time")]
    TimedOut,
    #[error("it refuses the access key or its secret")]
    Credentials,
    #[error("no credentials were found; set them for the bucket or in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")]
    NoCredentials,
    #[error("these credentials may not list, read and write it")]
    Forbidden,
    #[error("there is no such bucket")]
    NoSuchBucket,
    #[error("the bucket is in another region")]
    Region,
    #[error("this machine's clock differs from the service's by more than it allows")]
    Clock,
    #[error("it writes over an object that must not exist (`If-None-Match: *`): two commits of a table could both succeed")]
    NotConditional,
    #[error("its settings make no client; check `endpoint`, `region` and `allow_http`")]
    Settings,
    #[error("it did not do as S3 does")]
    Other,
}

impl S3Spec {
    /// Where the bucket is, in one line: `s3://lake/tables` or `http://127.0.0.1:9000/lake/tables`.
    pub fn location(&self) -> String {
        let base = match &self.endpoint {
            Some(endpoint) => format!("{}/{}", endpoint.trim_end_matches('/'), self.bucket),
            None => format!("s3://{}", self.bucket),
        };
        match &self.prefix {
            Some(prefix) => format!("{base}/{prefix}"),
            None => base,
        }
    }

    fn client(&self, answers: Answers) -> object_store::Result<AmazonS3> {
        let builder = from_environment(AmazonS3Builder::new(), &REGION_VARIABLES);
        let builder = match &self.credentials {
            S3Credentials::Environment => from_environment(builder, &CREDENTIAL_VARIABLES),
            S3Credentials::Keys { access_key_id, secret_access_key, session_token } => {
                let builder = builder.with_access_key_id(access_key_id).with_secret_access_key(secret_access_key.expose());
                match session_token {
                    Some(token) => builder.with_token(token.expose()),
                    None => builder,
                }
            }
        };
        let options = ClientOptions::new()
            .with_allow_http(self.allow_http)
            .with_connect_timeout(CONNECT_DEADLINE)
            .with_read_timeout(SILENCE)
            .with_timeout(CALL_DEADLINE);
        let once = RetryConfig { backoff: BackoffConfig::default(), max_retries: 0, retry_timeout: CALL_DEADLINE };
        let mut builder = builder
            .with_client_options(options)
            .with_bucket_name(&self.bucket)
            .with_virtual_hosted_style_request(!self.path_style)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_copy_if_not_exists(S3CopyIfNotExists::Multipart)
            .with_retry(once)
            .with_http_connector(Connector(answers));
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(self.host(endpoint));
        }
        builder.build()
    }

    /// The endpoint as the client wants it: with the bucket in its host unless it goes into the path.
    fn host(&self, endpoint: &str) -> String {
        let endpoint = endpoint.trim_end_matches('/');
        match endpoint.split_once("://") {
            Some((scheme, host)) if !self.path_style && !host.starts_with(&format!("{}.", self.bucket)) => {
                format!("{scheme}://{}.{host}", self.bucket)
            }
            _ => endpoint.to_owned(),
        }
    }
}

impl fmt::Debug for S3Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Spec").field("location", &self.location()).finish_non_exhaustive()
    }
}

/// Takes what the environment says under these names, and no other: where a bucket is, its settings alone say.
fn from_environment(builder: AmazonS3Builder, variables: &[&str]) -> AmazonS3Builder {
    variables.iter().fold(builder, |builder, name| {
        match (std::env::var(name), name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>()) {
            (Ok(value), Ok(key)) if !value.is_empty() => builder.with_config(key, value),
            _ => builder,
        }
    })
}

/// Opens the bucket: asks whether it is there, whether these credentials do, and whether it keeps to preconditions.
pub(crate) async fn open(
    name: &BucketName,
    spec: &S3Spec,
    policy: RetryPolicy,
    counters: &Arc<Counters>,
    claim: Claim,
) -> Result<Arc<dyn ObjectStore>> {
    let failed = |why, source: Option<object_store::Error>| StorageError::OpenRemote {
        name: name.clone(),
        location: spec.location(),
        why,
        source: source.map(Box::new),
    };
    let is_plain = spec.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    if is_plain && !spec.allow_http {
        return Err(failed(Unusable::Settings, None));
    }
    let opened = async {
        let build = |answers| spec.client(answers).map_err(|error| failed(Unusable::Settings, Some(error)));
        let (asking, client) = (build(Answers::Typed)?, build(Answers::Mapped)?);
        asking.credentials().get_credential().await.map_err(|error| failed(Unusable::NoCredentials, Some(error)))?;
        let store = S3Store::new(client, &spec.bucket, policy, Arc::clone(counters));
        let store: Arc<dyn ObjectStore> = match &spec.prefix {
            Some(prefix) => Arc::new(PrefixStore::new(store, Path::from(prefix.as_str()))),
            None => Arc::new(store),
        };
        let one = PaginatedListOptions { max_keys: Some(1), ..PaginatedListOptions::default() };
        let listed = policy.run(counters, || asking.list_paginated(spec.prefix.as_deref(), one.clone())).await;
        listed.map_err(|error| failed(why(&error), Some(error)))?;
        // Whoever comes to read tries out no write.
        let created_once = if claim == Claim::Read { Ok(true) } else { creates_once(&*store).await };
        match created_once {
            Ok(true) => Ok(store),
            Ok(false) => Err(failed(Unusable::NotConditional, None)),
            Err(error) => Err(failed(why(&error), Some(error))),
        }
    };
    match tokio::time::timeout(OPEN_DEADLINE, opened).await {
        Ok(outcome) => outcome,
        Err(_) => Err(failed(Unusable::TimedOut, None)),
    }
}

/// Whether an object that is there is created a second time.
async fn creates_once(store: &dyn ObjectStore) -> object_store::Result<bool> {
    let probe = Path::from(PROBE);
    for _ in 0..2 {
        match store.put_opts(&probe, "created once".into(), PutOptions::from(PutMode::Create)).await {
            Ok(_) => {}
            Err(object_store::Error::AlreadyExists { .. }) => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    store.delete(&probe).await?;
    Ok(false)
}

fn why(error: &object_store::Error) -> Unusable {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut transport = None;
    while let Some(error) = cause {
        if let Some(refusal) = error.downcast_ref::<Refusal>() {
            return refused(refusal);
        }
        if let Some(http) = error.downcast_ref::<HttpError>() {
            transport = Some(http.kind());
        }
        cause = error.source();
    }
    match (transport, error) {
        (Some(HttpErrorKind::Connect), _) => Unusable::Unreachable,
        (Some(HttpErrorKind::Timeout), _) => Unusable::TimedOut,
        (_, object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }) => Unusable::Forbidden,
        _ => Unusable::Other,
    }
}

fn refused(refusal: &Refusal) -> Unusable {
    match (refusal.status(), refusal.code()) {
        (_, Some("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "NotSignedUp" | "InvalidToken" | "ExpiredToken")) => {
            Unusable::Credentials
        }
        (_, Some("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException")) => {
            Unusable::Region
        }
        (_, Some("RequestTimeTooSkewed")) => Unusable::Clock,
        (_, Some("NoSuchBucket")) | (StatusCode::NOT_FOUND, _) => Unusable::NoSuchBucket,
        (StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED, _) => Unusable::Forbidden,
        (status, _) if status.is_redirection() => Unusable::Region,
        _ => Unusable::Other,
    }
}

#[cfg(test)]
pub(crate) mod tests;
