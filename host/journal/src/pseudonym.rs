//! Keyed hashes for what events must not name.
//!
//! **Invariant**: the key is made at first start, never leaves the host, and is the same for the life of the storage, so that
//! one row key always has one pseudonym.

use std::fmt;

use lakehouse_storage::{Meta, Record};
use lakehouse_types::random_bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Result, chain::hex};

const KEY: &str = "pseudonyms";
const BLOCK_BYTES: usize = 64;
/// 128 bits: short in events, and no collisions below 2^64 keys.
const PSEUDONYM_BYTES: usize = 16;

#[derive(Serialize, Deserialize)]
struct Secret {
    key: [u8; 32],
}

impl Record for Secret {
    const COLLECTION: &'static str = "journal_secrets";
    const FORMAT: u32 = 1;
}

pub(crate) struct Pseudonyms {
    key: [u8; 32],
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pseudonyms").finish_non_exhaustive()
    }
}

impl Pseudonyms {
    /// Reads the key, or makes it.
    pub(crate) async fn open(meta: &Meta) -> Result<Self> {
        if let Some(Secret { key }) = meta.collection::<Secret>().get(KEY).await? {
            return Ok(Self { key });
        }
        let secret = Secret { key: random_bytes() };
        let mut transaction = meta.begin().await?;
        transaction.put(KEY, &secret)?;
        transaction.commit().await?;
        Ok(Self { key: secret.key })
    }

    pub(crate) fn of(&self, value: &str) -> String {
        hex(&hmac(&self.key, value.as_bytes())[..PSEUDONYM_BYTES])
    }
}

/// HMAC-SHA-256 (RFC 2104), for keys of at most one block.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    debug_assert!(key.len() <= BLOCK_BYTES);
    let pad = |with: u8| {
        let mut block = [with; BLOCK_BYTES];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::{hex, hmac};

    #[test]
    fn hmac_agrees_with_rfc_4231() {
        let case_1 = hmac(&[0x0b; 20], b"Hi There");
        assert_eq!(hex(&case_1), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        let case_2 = hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&case_2), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
