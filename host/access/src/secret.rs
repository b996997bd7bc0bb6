//! Key texts, `lk_<id>_<secret>`, and what is stored of them: SHA-256 over a random salt and the whole text.
//!
//! A fast hash is enough: a generated secret has 256 random bits, and nothing searches that space. **Invariant**: comparing takes
//! the same time wherever two digests first differ.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use lakehouse_types::{KeyId, random_bytes};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// Longest text that is looked at.
pub(crate) const MAX_KEY_BYTES: usize = 512;
/// Shortest text that `LAKEHOUSE_ADMIN_KEY` may hold.
pub(crate) const MIN_ADMIN_BYTES: usize = 16;

const PREFIX: &str = "lk_";
/// Separates these digests from any other use of SHA-256 on the same text.
const DOMAIN: &[u8] = b"lakehouse key 1\0";
const ID_BYTES: usize = 10;
const SECRET_BYTES: usize = 32;

/// What is stored of a key text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SecretDigest {
    #[serde(with = "base64_text")]
    salt: [u8; 16],
    #[serde(with = "base64_text")]
    digest: [u8; 32],
}

impl SecretDigest {
    pub(crate) fn of(text: &str) -> Self {
        let salt = random_bytes();
        Self { salt, digest: digest(&salt, text) }
    }

    /// A digest that no text has: stands in for an unknown key, so that it costs the same work.
    pub(crate) fn of_nothing() -> Self {
        Self { salt: random_bytes(), digest: random_bytes() }
    }

    pub(crate) fn matches(&self, text: &str) -> Choice {
        self.digest.ct_eq(&digest(&self.salt, text))
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(…)")
    }
}

fn digest(salt: &[u8; 16], text: &str) -> [u8; 32] {
    #[cfg(test)]
    tests::DIGESTS.set(tests::DIGESTS.get() + 1);
    Sha256::new().chain_update(DOMAIN).chain_update(salt).chain_update(text.as_bytes()).finalize().into()
}

/// A fresh id and the key text that carries it.
pub(crate) fn generate() -> (KeyId, String) {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let random: [u8; ID_BYTES] = random_bytes();
    let letters = random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    let id = KeyId::new(std::iter::once('k').chain(letters).collect::<String>()).expect("k and base32 letters make a slug");
    let secret: [u8; SECRET_BYTES] = random_bytes();
    let text = format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret));
    (id, text)
}

/// The id that a key text carries. A text without one can only be the admin key of the environment, whose id is `admin`.
pub(crate) fn id_of(text: &str) -> KeyId {
    let id = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).and_then(|(id, _)| KeyId::new(id).ok());
    id.unwrap_or_else(|| KeyId::new("admin").expect("a plain word is a slug"))
}

mod base64_text {
    //! Bytes of a fixed length as one text.

    use super::{Engine, URL_SAFE_NO_PAD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<const N: usize, S: Serializer>(bytes: &[u8; N], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(super) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(from: D) -> Result<[u8; N], D::Error> {
        let text = String::deserialize(from)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| D::Error::custom("not base64url"))?;
        bytes.try_into().map_err(|_| D::Error::custom("another length was expected"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::{SecretDigest, generate, id_of};

    thread_local! {
        /// How often this thread has hashed a text: the work of authenticating.
        pub(crate) static DIGESTS: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn a_key_text_carries_its_id_and_never_repeats() {
        let (id, text) = generate();
        assert_eq!(id_of(&text), id);
        assert_ne!(generate().1, text);
        assert!(text.len() > 50, "256 bits of secret");
        for plain in ["", "lk_", "lk_x", "lk_BAD_secret", "correct horse battery"] {
            assert_eq!(id_of(plain).as_str(), "admin", "{plain}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_some_id(text in "(lk_)?\\PC{0,40}(_\\PC{0,40})?") {
            let id = id_of(&text);
            let prefix = format!("lk_{id}_");
            prop_assert!(id.as_str() == "admin" || text.starts_with(&prefix));
        }
    }

    #[test]
    fn equal_texts_have_unlike_digests_that_both_match() {
        let (one, two) = (SecretDigest::of("the same text"), SecretDigest::of("the same text"));
        assert_ne!(one, two);
        assert!(bool::from(one.matches("the same text")) && bool::from(two.matches("the same text")));
        assert!(!bool::from(one.matches("the same texT")));
        assert!(!bool::from(SecretDigest::of_nothing().matches("")));
    }
}
