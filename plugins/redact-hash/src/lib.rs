//! Replaces each value by the SHA-256 of its text form, in lower-case hexadecimal.
//!
//! **Invariant**: integer 7 and text `7` have the same hash, so that hashed columns still join.

#[cfg(test)]
mod tests;

use lakehouse_sdk::{Config, Error, Redactor, TextMut, export_redactor};
use sha2::{Digest, Sha256};

/// Replaces each value by its SHA-256, in lower-case hexadecimal.
#[derive(Clone, Copy, Debug, Config)]
pub struct Hash {}

impl Redactor for Hash {
    fn redact_text(&self, values: &mut TextMut) -> Result<(), Error> {
        values.rewrite(|value, out| {
            let mut hex = [0; 64];
            out.push_str(hex_of(&Sha256::digest(value).into(), &mut hex));
        })
    }
}

fn hex_of<'h>(digest: &[u8; 32], hex: &'h mut [u8; 64]) -> &'h str {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in hex.chunks_exact_mut(2).zip(digest) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    std::str::from_utf8(hex).unwrap_or_default()
}

export_redactor!(Hash);
