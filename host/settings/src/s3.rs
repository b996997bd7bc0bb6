//! Buckets of S3-compatible services.
//!
//! **Invariant**: no credential is repeated, in an error or in a debug form.

use lakehouse_types::Secret;

use crate::section::Section;

/// `[buckets.NAME]` with `kind = "s3"`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// The bucket's name at the service.
    pub bucket: String,
    /// Where in it the objects are. Default: at its root.
    pub prefix: Option<String>,
    /// The service's URL without the bucket. Default: AWS.
    pub endpoint: Option<String>,
    /// Default: `AWS_REGION`, else `us-east-1`.
    pub region: Option<String>,
    /// Whether the bucket stands in the path of URLs. Default: with an `endpoint` yes, at AWS no.
    pub path_style: bool,
    /// Whether `endpoint` may be plain HTTP. Default: no.
    pub allow_http: bool,
    /// Default: what the environment gives, as AWS's own tools find it.
    pub keys: Option<S3Keys>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Keys {
    pub access_key_id: String,
    pub secret_access_key: Secret,
    pub session_token: Option<Secret>,
}

impl S3Settings {
    pub(crate) fn read(table: &mut Section<'_, '_>, name: &str) -> Option<Self> {
        let has_bucket = table.has("bucket");
        let bucket = table.text("bucket", None, BUCKET, |text| is_bucket(text).then(|| Some(text.to_owned())));
        let prefix = table.text("prefix", None, PREFIX, |text| is_prefix(text).then(|| Some(text.to_owned())));
        let endpoint = table.text("endpoint", None, ENDPOINT, |text| endpoint(text).map(Some));
        let region = table.text("region", None, REGION, |text| is_region(text).then(|| Some(text.to_owned())));
        let path_style = table.flag("path_style", endpoint.is_some());
        let allow_http = table.flag("allow_http", false);
        let keys = keys(table, name);
        if !has_bucket {
            table.report(format!("[buckets.{name}] needs a \"bucket\": its name at the service"));
        }
        if !allow_http && endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://")) {
            table.report(format!(
                "\"endpoint\" in [buckets.{name}] is plain HTTP, which whoever is on the way can read and change; use https, or say \
                 allow_http = true"
            ));
        }
        bucket.map(|bucket| Self { bucket, prefix, endpoint, region, path_style, allow_http, keys })
    }

    /// The service and the bucket in it, and the way to the objects: what two buckets must not share.
    pub(crate) fn place(&self) -> (String, &str) {
        let service = self.endpoint.as_deref().unwrap_or("aws");
        (format!("{service}/{}", self.bucket), self.prefix.as_deref().unwrap_or_default())
    }
}

/// Both keys, or neither.
fn keys(table: &mut Section<'_, '_>, name: &str) -> Option<S3Keys> {
    let id = secret(table, name, "access_key_id", "access_key_id_env");
    let secret_key = secret(table, name, "secret_access_key", "secret_access_key_env");
    let token = secret(table, name, "session_token", "session_token_env");
    match (id, secret_key) {
        (Some(id), Some(secret_access_key)) => {
            let access_key_id = id?.expose().to_owned();
            let session_token = token.flatten();
            Some(S3Keys { access_key_id, secret_access_key: secret_access_key?, session_token })
        }
        (None, None) if token.is_none() => None,
        _ => {
            table.report(format!(
                "[buckets.{name}] needs both an access key and its secret: \"access_key_id\" or \"access_key_id_env\", and \
                 \"secret_access_key\" or \"secret_access_key_env\"; with neither, those of the environment are used"
            ));
            None
        }
    }
}

/// A secret, or the name of the variable that holds it. `Some(None)` is one that was stated and reported as wrong.
fn secret(table: &mut Section<'_, '_>, bucket: &str, key: &'static str, variable_key: &'static str) -> Option<Option<Secret>> {
    let (is_stated, is_named) = (table.has(key), table.has(variable_key));
    let stated = table.secret(key);
    let variable = table.text(variable_key, None, "the name of a variable", |text| {
        (!text.is_empty() && !text.contains(['=', '\0'])).then(|| Some(text.to_owned()))
    });
    if is_stated && is_named {
        table.report(format!("[buckets.{bucket}] has both \"{key}\" and \"{variable_key}\"; one of them is enough"));
        return Some(None);
    }
    let named = variable.map(|variable| {
        let value = std::env::var(&variable).ok().filter(|value| !value.is_empty());
        if value.is_none() {
            table.report(format!("the variable {variable:?}, which \"{variable_key}\" in [buckets.{bucket}] names, is not set"));
        }
        value.map(Secret::new)
    });
    named.or_else(|| is_stated.then_some(stated)).or_else(|| is_named.then_some(None))
}

const BUCKET: &str = "a bucket's name: 3 to 63 of a-z, 0-9, . and -";
const PREFIX: &str = "a path like \"lake/tables\", without / at its ends";
const ENDPOINT: &str = "a URL like \"https://s3.example.com\", without a path or a password";
const REGION: &str = "a region like \"eu-central-1\"";

fn is_bucket(text: &str) -> bool {
    (3..=63).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-')
}

fn is_prefix(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part != "." && part != "..";
    text.len() <= 512 && text.split('/').all(is_part) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.=".contains(&b))
}

fn is_region(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Without the slash that may end it.
fn endpoint(text: &str) -> Option<String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let is_host = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b));
    is_host.then(|| text.to_owned())
}
