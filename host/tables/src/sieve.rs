//! A first look at whether something is one of many keys: most of what is none is told apart by two bits of one word.
//!
//! **Invariant**: a key always passes. What passes may be none all the same (one in thirty, or more where there are millions of keys): a
//! larger sieve lets less pass, and has to share the nearest cache with the rows that are looked at.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;

/// Bits for each key, rounded up to a power of two.
const BITS_PER_KEY: usize = 8;
/// 8 MiB.
const MAX_BITS: usize = 1 << 26;

#[derive(Debug, Clone, Default)]
pub(crate) struct Sieve {
    /// A power of two of them; none while there are no keys.
    words: Box<[u64]>,
}

impl Sieve {
    pub(crate) fn of<'k, K: Hash + ?Sized + 'k>(keys: impl ExactSizeIterator<Item = &'k K>) -> Self {
        Self::of_hashes(keys.map(hash))
    }

    pub(crate) fn passes<K: Hash + ?Sized>(&self, key: &K) -> bool {
        self.bit(hash(key)) != 0
    }

    /// From hashes of keys, which whoever asks makes as the one did who gave them.
    pub(crate) fn of_hashes(hashes: impl ExactSizeIterator<Item = u64>) -> Self {
        if hashes.len() == 0 {
            return Self::default();
        }
        let size = hashes.len().saturating_mul(BITS_PER_KEY).min(MAX_BITS).next_power_of_two();
        let mut words = vec![0u64; size / 64 + usize::from(size < 64)].into_boxed_slice();
        for hash in hashes {
            words[place(hash, words.len())] |= bits(hash);
        }
        Self { words }
    }

    /// 1 for what may be a key, else 0.
    #[inline]
    pub(crate) fn bit(&self, hash: u64) -> u64 {
        let word = self.words.get(place(hash, self.words.len()));
        word.map_or(0, |word| u64::from(word & bits(hash) == bits(hash)))
    }
}

fn hash<K: Hash + ?Sized>(key: &K) -> u64 {
    // No defence against who chooses keys: all that they gain is a second look.
    FixedState::default().hash_one(key)
}

/// The two bits of a hash in its word.
#[inline]
fn bits(hash: u64) -> u64 {
    1 << (hash & 63) | 1 << (hash >> 58)
}

#[inline]
fn place(hash: u64, words: usize) -> usize {
    (hash >> 6) as usize & words.wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::Sieve;

    #[test]
    fn every_key_passes_and_few_others() {
        for count in [0, 1, 2, 3, 100, 10_000] {
            let keys: Vec<String> = (0..count).map(|n| format!("C-{n:09}")).collect();
            let sieve = Sieve::of(keys.iter().map(String::as_str));
            assert!(keys.iter().all(|key| sieve.passes(key.as_str())), "{count}");
            let others = (count..count + 10_000).filter(|n| sieve.passes(format!("C-{n:09}").as_str())).count();
            assert!(others < 1_000, "{others} of 10,000 passed {count} keys");
        }
    }
}
