//! A set of ordinals, one bit each.
//!
//! **Invariant**: bits at and beyond `len` are zero.

use crate::{FaissError, Result};

const BITS: usize = u64::BITS as usize;

/// Which of `len` ordinals are in: the live ones of an index, or those that a filter left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    len: usize,
}

impl Bitmap {
    /// None of `len`.
    pub fn empty(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(BITS)], len }
    }

    /// All of `len`.
    pub fn full(len: usize) -> Self {
        let mut words = vec![u64::MAX; len.div_ceil(BITS)];
        if let (Some(last), used @ 1..) = (words.last_mut(), len % BITS) {
            *last = (1 << used) - 1;
        }
        Self { words, len }
    }

    /// The named ones of `len`; naming one twice is fine.
    ///
    /// # Errors
    /// When an ordinal is `len` or more.
    pub fn of(len: usize, ordinals: impl IntoIterator<Item = u32>) -> Result<Self> {
        let mut bitmap = Self::empty(len);
        for ordinal in ordinals {
            bitmap.insert(ordinal)?;
        }
        Ok(bitmap)
    }

    /// From the bytes of [`Bitmap::to_bytes`].
    ///
    /// # Errors
    /// When the bytes are not `len` bits long, or a bit beyond `len` is set.
    pub fn from_bytes(len: usize, bytes: &[u8]) -> Result<Self> {
        if bytes.len() != len.div_ceil(8) {
            return Err(FaissError::BitmapLength { got: bytes.len().saturating_mul(8), expected: len });
        }
        let word = |chunk: &[u8]| chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        let bitmap = Self { words: bytes.chunks(BITS / 8).map(word).collect(), len };
        if bitmap.words.last().is_some_and(|last| !len.is_multiple_of(BITS) && last >> (len % BITS) != 0) {
            return Err(FaissError::Damaged { at: bytes.len() - 1, problem: "a bit beyond the last ordinal" });
        }
        Ok(bitmap)
    }

    /// Eight ordinals a byte, the smallest in the lowest bit.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.truncate(self.len.div_ceil(8));
        bytes
    }

    /// Number of ordinals that it speaks of, in or out.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it speaks of no ordinal at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of ordinals that are in.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether an ordinal is in; one beyond `len` is not.
    pub fn contains(&self, ordinal: u32) -> bool {
        let ordinal = ordinal as usize;
        self.words.get(ordinal / BITS).is_some_and(|word| word >> (ordinal % BITS) & 1 == 1)
    }

    /// Puts one in; answers whether it was out.
    ///
    /// # Errors
    /// When the ordinal is `len` or more.
    pub fn insert(&mut self, ordinal: u32) -> Result<bool> {
        let (word, mask) = self.place(ordinal)?;
        let was_out = *word & mask == 0;
        *word |= mask;
        Ok(was_out)
    }

    /// Takes one out; answers whether it was in.
    ///
    /// # Errors
    /// When the ordinal is `len` or more.
    pub fn remove(&mut self, ordinal: u32) -> Result<bool> {
        let (word, mask) = self.place(ordinal)?;
        let was_in = *word & mask != 0;
        *word &= !mask;
        Ok(was_in)
    }

    /// Keeps what is in both.
    ///
    /// # Errors
    /// When they speak of different numbers of ordinals.
    pub fn intersect(&mut self, other: &Self) -> Result<()> {
        self.combine(other, |mine, theirs| mine & theirs)
    }

    /// Takes out what is in the other: from a full one, the dead ordinals leave the live ones.
    ///
    /// # Errors
    /// When they speak of different numbers of ordinals.
    pub fn subtract(&mut self, other: &Self) -> Result<()> {
        self.combine(other, |mine, theirs| mine & !theirs)
    }

    /// The ordinals that are in, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().zip(0u32..).flat_map(|(word, index)| {
            let first = index * u64::BITS;
            std::iter::successors(Some(*word), |rest| Some(rest & rest.wrapping_sub(1)))
                .take_while(|rest| *rest != 0)
                .map(move |rest| first + rest.trailing_zeros())
        })
    }

    /// The bits, 64 a word, the smallest ordinal in the lowest bit.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    fn place(&mut self, ordinal: u32) -> Result<(&mut u64, u64)> {
        let (len, place) = (self.len, ordinal as usize);
        if place >= len {
            return Err(FaissError::UnknownOrdinal { ordinal, len });
        }
        Ok((&mut self.words[place / BITS], 1 << (place % BITS)))
    }

    fn combine(&mut self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Result<()> {
        if self.len != other.len {
            return Err(FaissError::BitmapLength { got: other.len, expected: self.len });
        }
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine = with(*mine, *theirs);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Bitmap;

    #[test]
    fn a_full_bitmap_holds_exactly_its_ordinals() {
        for len in [0, 1, 63, 64, 65, 128, 200] {
            let full = Bitmap::full(len);
            assert_eq!(full.count(), len);
            assert!(!full.contains(u32::try_from(len).unwrap()));
            assert_eq!(full.iter().count(), len);
        }
    }

    #[test]
    fn an_ordinal_beyond_the_end_is_an_error() {
        let mut bitmap = Bitmap::empty(65);
        assert!(bitmap.insert(65).is_err());
        assert!(bitmap.remove(u32::MAX).is_err());
        assert!(bitmap.insert(64).unwrap());
        assert!(!bitmap.insert(64).unwrap());
        assert!(bitmap.remove(64).unwrap());
        assert_eq!(bitmap.count(), 0);
    }

    #[test]
    fn bitmaps_of_different_lengths_do_not_combine() {
        assert!(Bitmap::full(64).intersect(&Bitmap::full(65)).is_err());
        assert!(Bitmap::full(65).subtract(&Bitmap::full(64)).is_err());
    }

    #[test]
    fn bytes_of_another_length_or_with_bits_beyond_the_end_are_refused() {
        assert!(Bitmap::from_bytes(9, &[0xff, 0x01]).is_ok());
        assert!(Bitmap::from_bytes(9, &[0xff, 0x02]).is_err());
        assert!(Bitmap::from_bytes(9, &[0xff]).is_err());
        assert!(Bitmap::from_bytes(8, &[0xff, 0]).is_err());
    }

    proptest! {
        #[test]
        fn a_bitmap_is_the_set_of_its_ordinals(len in 1usize..300, picks in prop::collection::vec(any::<prop::sample::Index>(), 0..80)) {
            let ordinals: BTreeSet<u32> = picks.iter().map(|pick| u32::try_from(pick.index(len)).unwrap()).collect();
            let bitmap = Bitmap::of(len, ordinals.iter().copied()).unwrap();
            prop_assert_eq!(bitmap.iter().collect::<BTreeSet<_>>(), ordinals.clone());
            prop_assert_eq!(bitmap.count(), ordinals.len());
            prop_assert_eq!(&Bitmap::from_bytes(len, &bitmap.to_bytes()).unwrap(), &bitmap);

            let mut rest = Bitmap::full(len);
            rest.subtract(&bitmap).unwrap();
            prop_assert_eq!(rest.count(), len - ordinals.len());
            rest.intersect(&bitmap).unwrap();
            prop_assert_eq!(rest.count(), 0);
        }
    }
}
