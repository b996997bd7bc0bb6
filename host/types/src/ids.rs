//! Ids as newtypes: their constructors validate, so that a held id is well formed.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("{what} must be {expected}")]
    Shape { what: &'static str, expected: &'static str },
}

const SLUG: &str = "a lower-case letter followed by up to 62 of a-z, 0-9, _ and -";

fn is_slug(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 63
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

fn is_profile(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn is_bucket(text: &str) -> bool {
    match text.split_once(':') {
        Some((kind, name)) => is_slug(kind) && is_profile(name),
        None => is_slug(text),
    }
}

/// Column names are the source's own: anything printable up to 255 bytes.
fn is_column(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn is_actor(text: &str) -> bool {
    (1..=128).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && is_hex(text)
}

fn is_grant(text: &str) -> bool {
    text.split_once('.').is_some_and(|(key, own)| is_slug(key) && own.len() == 16 && is_hex(own))
}

fn is_request(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

macro_rules! id {
    ($(#[doc = $doc:literal])* $name:ident, $what:literal, $check:path, $expected:expr) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// # Errors
            /// When the text has another shape.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                let text = text.as_ref();
                if $check(text) { Ok(Self(text.into())) } else { Err(IdError::Shape { what: $what, expected: $expected }) }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.into()
            }
        }
    };
}

id!(/// The name of a dataset.
    DatasetName, "a dataset name", is_slug, SLUG);
id!(/// The id of a dataset, fresh for each one that is created: names its folder.
    DatasetId, "a dataset id", is_request, "1 to 64 letters, digits, - and _");
id!(/// The name of a view.
    ViewName, "a view name", is_slug, SLUG);
id!(/// The name of an index.
    IndexName, "an index name", is_slug, SLUG);
id!(/// The id of an index or of a segment, fresh for each one that is made: names its folder.
    IndexId, "an index id", is_request, "1 to 64 letters, digits, - and _");
id!(/// The id of a job.
    JobId, "a job id", is_request, "1 to 64 letters, digits, - and _");
id!(/// The id of a query.
    QueryId, "a query id", is_request, "1 to 64 letters, digits, - and _");
id!(/// The id of an erasure's certificate.
    CertificateId, "a certificate id", is_request, "1 to 64 letters, digits, - and _");
id!(/// The name of a plugin: the component's own.
    PluginName, "a plugin name", is_slug, SLUG);
id!(/// The name that views give a rule and profiles bind to a component.
    RuleName, "a rule name", is_slug, SLUG);
id!(/// What people call a key; the actor of its requests.
    KeyName, "a key name", is_slug, SLUG);
id!(/// The public id of a key.
    KeyId, "a key id", is_slug, SLUG);
id!(/// The id of a grant: its key's, a dot, and what tells it from the key's others.
    GrantId, "a grant id", is_grant, "a key id, a dot and 16 lower-case hexadecimal digits");
id!(/// The name of a group of keys that a file grants the same to.
    GroupName, "a group name", is_slug, SLUG);
id!(/// The id of a profile.
    ProfileId, "a profile id", is_profile, "1 to 64 letters, digits, - and _");
id!(/// The name of a bucket: `primary`, `profile:ada`.
    BucketName, "a bucket name", is_bucket, "a slug, or two parts joined by a colon like profile:ada");
id!(/// The name of a database that an operator declared for ingest.
    SourceName, "a source name", is_slug, SLUG);
id!(/// The name of a column, as the source gave it.
    ColumnName, "a column name", is_column, "1 to 255 bytes without control characters");
id!(/// Who did something, as journals show it.
    Actor, "an actor", is_actor, "1 to 128 bytes without control characters");
id!(/// A SHA-256 as lower-case hex.
    Digest, "a digest", is_digest, "64 lower-case hexadecimal digits");
id!(/// The id of one request, on every answer and log line.
    RequestId, "a request id", is_request, "1 to 64 letters, digits, - and _");

impl BucketName {
    /// The bucket that always exists.
    pub fn primary() -> Self {
        Self("primary".into())
    }

    /// The bucket's name as the host of a URL: `profile:ada` is `lakehouse-profile-ada`.
    pub fn url_host(&self) -> String {
        format!("lakehouse-{}", self.0.replace([':', '_'], "-").to_ascii_lowercase())
    }
}

impl GrantId {
    /// The id of a grant of this key.
    pub fn of(key: &KeyId, own: [u8; 8]) -> Self {
        Self(format!("{key}.{:016x}", u64::from_be_bytes(own)).into())
    }

    /// The key whose grant it is.
    pub fn key(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(key, _)| key)
    }
}

impl ProfileId {
    /// The profile that always exists.
    pub fn default_profile() -> Self {
        Self("default".into())
    }
}

impl DatasetId {
    /// A fresh, time-ordered id.
    pub fn fresh() -> Self {
        #[expect(clippy::disallowed_methods, reason = "ids are one of the places that may ask the machine")]
        let id = ulid::Ulid::new();
        Self(id.to_string().to_ascii_lowercase().into())
    }
}

/// Ids that are made here: fresh, and in the order of their making.
macro_rules! fresh {
    ($($name:ident),*) => { $(
        impl $name {
            /// A fresh, time-ordered id.
            pub fn fresh() -> Self {
                #[expect(clippy::disallowed_methods, reason = "ids are one of the places that may ask the machine")]
                let id = ulid::Ulid::new();
                Self(id.to_string().to_ascii_lowercase().into())
            }
        }
    )* };
}

fresh!(IndexId, JobId, QueryId, CertificateId);

impl RequestId {
    /// A fresh, time-ordered id.
    pub fn fresh() -> Self {
        #[expect(clippy::disallowed_methods, reason = "ids are one of the places that may ask the machine")]
        let id = ulid::Ulid::new();
        Self(id.to_string().into())
    }
}

impl Digest {
    /// From the 32 bytes of a SHA-256.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        use fmt::Write;
        let mut hex = String::with_capacity(64);
        for byte in bytes {
            let _ = write!(hex, "{byte:02x}");
        }
        Self(hex.into())
    }
}

#[cfg(test)]
mod tests {
    use super::{BucketName, DatasetName, Digest, GrantId, KeyId, ProfileId};

    #[test]
    fn slugs_begin_with_a_letter_and_end_in_time() {
        for good in ["a", "candidates", "a-b_c9"] {
            assert!(DatasetName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "9a", "_a", "a b", "a\u{0}", "é", &"a".repeat(64)] {
            assert!(DatasetName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bucket_may_belong_to_a_profile() {
        assert_eq!(BucketName::new("profile:ada").unwrap().url_host(), "lakehouse-profile-ada");
        assert!(BucketName::new("profile:").is_err());
        assert!(ProfileId::new("Ada_1-x").is_ok());
    }

    #[test]
    fn a_grants_id_tells_its_key() {
        let id = GrantId::of(&KeyId::new("k-1_x").unwrap(), [0, 1, 2, 3, 4, 5, 6, 0xff]);
        assert_eq!((id.as_str(), id.key()), ("k-1_x.00010203040506ff", "k-1_x"));
        assert_eq!(GrantId::new(id.as_str()), Ok(id));
        for bad in ["k1", "k1.", "k1.0001020304050", "k1.00010203040506FF", ".00010203040506ff", "K.00010203040506ff"] {
            assert!(GrantId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_digest_is_hex() {
        assert!(Digest::from_bytes(&[0xab; 32]).as_str().starts_with("abab"));
    }
}
