//! A first look at whether something is one of many keys: most of what is none is told apart by one bit.
//!
//! **Invariant**: a key always passes. What passes may be none all the same (one in thirty, or more where there are millions of keys).

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;

/// Bits for each key, rounded up to a power of two.
const BITS_PER_KEY: usize = 32;
/// 8 MiB.
const MAX_BITS: usize = 1 << 26;

#[derive(Debug, Clone, Default)]
pub(crate) struct Sieve {
    /// A power of two of them; none while there are no keys.
    words: Box<[u64]>,
}

impl Sieve {
    pub(crate) fn of<'k, K: Hash + ?Sized + 'k>(keys: impl ExactSizeIterator<Item = &'k K>) -> Self {
        if keys.len() == 0 {
            return Self::default();
        }
        let bits = keys.len().saturating_mul(BITS_PER_KEY).min(MAX_BITS).next_power_of_two();
        let mut words = vec![0u64; bits / 64 + usize::from(bits < 64)].into_boxed_slice();
        for key in keys {
            let (word, bit) = place(key, words.len());
            words[word] |= bit;
        }
        Self { words }
    }

    pub(crate) fn passes<K: Hash + ?Sized>(&self, key: &K) -> bool {
        let (word, bit) = place(key, self.words.len().max(1));
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }
}

fn place<K: Hash + ?Sized>(key: &K, words: usize) -> (usize, u64) {
    // No defence against who chooses keys: all that they gain is a second look.
    let hash = FixedState::default().hash_one(key);
    ((hash >> 6) as usize & (words - 1), 1 << (hash & 63))
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
