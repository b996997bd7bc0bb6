//! HMAC-SHA256 (RFC 2104), by which cached code is known to be ours.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

const BLOCK_BYTES: usize = 64;

/// The tag of `parts`, concatenated.
pub(crate) fn tag(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let (mut inner_pad, mut outer_pad) = ([0x36; BLOCK_BYTES], [0x5c; BLOCK_BYTES]);
    for (n, byte) in key.iter().enumerate() {
        inner_pad[n] ^= byte;
        outer_pad[n] ^= byte;
    }
    let mut inner = Sha256::new_with_prefix(inner_pad);
    for part in parts {
        inner.update(part);
    }
    Sha256::new_with_prefix(outer_pad).chain_update(inner.finalize()).finalize().into()
}

/// Compares in constant time.
pub(crate) fn is_tag(key: &[u8; 32], parts: &[&[u8]], given: &[u8]) -> bool {
    tag(key, parts).ct_eq(given).into()
}

#[cfg(test)]
mod tests {
    use super::{is_tag, tag};

    /// RFC 4231, test case 1, its 20-byte key padded with zeros as RFC 2104 pads it.
    #[test]
    fn the_tag_is_that_of_the_rfc() {
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let hex: String = tag(&key, &[b"Hi ", b"There"]).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        assert!(is_tag(&key, &[b"Hi There"], &tag(&key, &[b"Hi There"])));
        assert!(!is_tag(&key, &[b"Hi there"], &tag(&key, &[b"Hi There"])));
    }
}
