//! What a text is made of, hashed.
//!
//! **Invariant**: the hash and the places are fixed: a change of either makes every index of old vectors wrong.

use std::cell::RefCell;

/// A piece of a word weighs so much; a word weighs 1. A word of eight letters has 21 pieces, which then count together about twice
/// as much as the word: enough for `forklifts` to find `forklift`.
const PIECE_WEIGHT: f32 = 0.3;
/// Characters in a piece.
const SHORTEST_PIECE: usize = 3;
const LONGEST_PIECE: usize = 5;
/// Words are cut off here, so that a text without spaces costs no more than others.
const MOST_CHARACTERS: usize = 64;
/// Distinguishes the word `abc` from the piece `abc`.
const WORD: u64 = 1;

/// Features of one text, and room for those of the next.
#[derive(Debug, Default)]
pub(crate) struct Features {
    /// Hashes; the lowest bit says whether it is a word.
    hashes: Vec<u64>,
    /// The word at hand, between marks, as UTF-8.
    word: String,
    /// Where its characters begin, and where the last one ends.
    places: Vec<usize>,
}

impl Features {
    /// Lends the one set of this instance, so that texts allocate nothing.
    pub(crate) fn with(work: impl FnOnce(&mut Self)) {
        thread_local! {
            static SHARED: RefCell<Features> = RefCell::new(Features::default());
        }
        SHARED.with_borrow_mut(work);
    }

    /// The features of a text, and of no other.
    pub(crate) fn read(&mut self, text: &str) {
        self.hashes.clear();
        self.begin_word();
        for character in text.chars() {
            if character.is_ascii_alphanumeric() {
                self.push(character.to_ascii_lowercase());
            } else if character.is_alphanumeric() {
                character.to_lowercase().for_each(|lower| self.push(lower));
            } else if self.places.len() > 1 {
                self.end_word();
            }
        }
        if self.places.len() > 1 {
            self.end_word();
        }
        self.hashes.sort_unstable();
    }

    /// Adds each feature where its hash says.
    pub(crate) fn add_to(&self, vector: &mut [f32]) {
        for run in self.hashes.chunk_by(|a, b| a == b) {
            let hash = run[0];
            let weight = if hash & WORD == WORD { 1.0 } else { PIECE_WEIGHT };
            let times = if run.len() == 1 { 1.0 } else { 1.0 + (run.len() as f64).ln() as f32 };
            // The upper half says where, by a multiplication in place of a division; a bit of the lower half says the sign.
            let place = ((hash >> 32) * vector.len() as u64) >> 32;
            let sign = if hash & 2 == 0 { 1.0 } else { -1.0 };
            vector[usize::try_from(place).unwrap_or_default()] += sign * weight * times;
        }
    }

    fn begin_word(&mut self) {
        self.word.clear();
        self.places.clear();
        self.word.push('<');
        self.places.push(0);
    }

    fn push(&mut self, character: char) {
        if self.places.len() <= MOST_CHARACTERS {
            self.places.push(self.word.len());
            self.word.push(character);
        }
    }

    fn end_word(&mut self) {
        self.places.push(self.word.len());
        self.word.push('>');
        self.places.push(self.word.len());
        let bytes = self.word.as_bytes();
        self.hashes.push(hash_of(&bytes[1..bytes.len() - 1]) | WORD);
        let characters = self.places.len() - 1;
        for first in 0..characters {
            for length in SHORTEST_PIECE..=LONGEST_PIECE.min(characters - first) {
                let piece = &bytes[self.places[first]..self.places[first + length]];
                self.hashes.push(hash_of(piece) & !WORD);
            }
        }
        self.begin_word();
    }
}

/// FNV-1a in 64 bits (Fowler, Noll, Vo), then the finalizer of MurmurHash3 (Appleby), since FNV mixes its upper bits badly.
fn hash_of(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for &byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::hash_of;

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(hash_of(b""), 0xefd0_1f60_ba99_2926);
        assert_eq!(hash_of(b"forklift"), 0xd34e_dcd3_4c12_c437);
        assert_eq!(hash_of("é".as_bytes()), 0x9d55_ccb9_ba86_763b);
    }
}
