//! Parquet's packed integers, walked without building anything: repetition levels, the lengths of delta-encoded values.
//!
//! The Parquet reader allocates as many lengths as a page claims, and all values of a row at once. **Invariant**: what is answered
//! is what the reader finds in the same bytes.
//!
//! <https://parquet.apache.org/docs/file-format/data-pages/encodings/>

/// The lengths of one stream of delta-encoded values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lengths {
    pub(super) count: u64,
    pub(super) longest: u64,
    /// Where the stream ends.
    pub(super) end: usize,
}

/// How many of the first `most` levels are 0: the rows that begin. `None` if there are fewer levels.
pub(super) fn zeros(bytes: &[u8], max_level: i16, most: u64) -> Option<u64> {
    let width = width_of(max_level);
    let mut input = Input { bytes, at: 0 };
    let (mut left, mut zeros) = (most, 0);
    while left > 0 {
        let header = input.varint()?;
        let run = if header & 1 == 0 {
            let level = input.take(width.div_ceil(8))?;
            let run = left.min(header >> 1);
            zeros += if level.iter().all(|&byte| byte == 0) { run } else { 0 };
            run
        } else {
            // The last group may be cut off after its last level.
            let levels = left.min((header >> 1).saturating_mul(8));
            let rest = bytes.get(input.at..)?;
            let packed = &rest[..rest.len().min(usize::try_from(header >> 1).ok()?.saturating_mul(width))];
            for index in 0..usize::try_from(levels).ok()? {
                zeros += u64::from(bits(packed, index * width, width)? == 0);
            }
            input.at += packed.len();
            levels
        };
        left -= run;
    }
    Some(zeros)
}

/// The lengths that a stream of deltas holds; `None` if there are more than `most`, if one is negative, or if bytes are missing.
pub(super) fn lengths(bytes: &[u8], most: u64) -> Option<Lengths> {
    let mut input = Input { bytes, at: 0 };
    let (block, parts, count) = (input.varint()?, input.varint()?, input.varint()?);
    let per_part =
        block.checked_div(parts).filter(|per_part| per_part * parts == block && *per_part > 0 && per_part % 32 == 0)?;
    if count > most {
        return None;
    }
    let mut last = i32::try_from(input.zigzag()?).ok()?;
    let (mut shortest, mut longest) = if count == 0 { (0, 0) } else { (last, last) };
    let mut left = count.saturating_sub(1);
    while left > 0 {
        let least = i32::try_from(input.zigzag()?).ok()?;
        for &width in input.take(usize::try_from(parts).ok()?)? {
            // Parts after the last value have a width, but no bytes.
            let (width, values) = (usize::from(width), left.min(per_part));
            if values == 0 {
                break;
            }
            let packed = bytes.get(input.at..).filter(|_| width <= 32)?;
            for index in 0..usize::try_from(values).ok()? {
                let delta = bits(packed, index * width, width)?.cast_signed();
                last = last.wrapping_add(least).wrapping_add(delta);
                (shortest, longest) = (shortest.min(last), longest.max(last));
            }
            input.at += usize::try_from(per_part).ok()?.checked_mul(width)? / 8;
            left -= values;
        }
    }
    u64::try_from(shortest).ok()?;
    Some(Lengths { count, longest: u64::try_from(longest).ok()?, end: input.at })
}

/// Bits of a level.
pub(super) fn width_of(max_level: i16) -> usize {
    (u16::BITS - max_level.unsigned_abs().leading_zeros()) as usize
}

/// The `width` bits, at most 32, from bit `at` on; the lowest bit of a byte is its first.
fn bits(bytes: &[u8], at: usize, width: usize) -> Option<u32> {
    const SPAN: usize = 5;
    let held = bytes.get(at / 8..(at + width).div_ceil(8))?;
    let word = held.iter().take(SPAN).rev().fold(0_u64, |word, &byte| word << 8 | u64::from(byte));
    Some((word >> (at % 8)) as u32 & (((1_u64 << width) - 1) as u32))
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..)?.get(..count)?;
        self.at += count;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn zigzag(&mut self) -> Option<i64> {
        let raw = self.varint()?;
        Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Lengths, lengths, zeros};

    #[test]
    fn rows_are_the_levels_that_are_zero() {
        // A run of three 0, a run of a million 1, eight packed levels.
        let levels = [6, 0, 0x80, 0x89, 0x7a, 1, 3, 0b0101_0001];
        assert_eq!(zeros(&levels, 1, 1_000_011), Some(3 + 5));
        assert_eq!(zeros(&levels, 1, 2), Some(2), "only as many as there are values");
        assert_eq!(zeros(&levels, 1, 1_000_012), None);
        assert_eq!(zeros(&[3, 0b1110_0100, 0b1110_0100], 3, 8), Some(2), "levels of two bits");
        assert_eq!(zeros(&[0, 0, 0, 0], 1, 1), None, "empty runs come to an end");
    }

    #[test]
    fn lengths_are_counted_and_the_longest_known() {
        // Blocks of 128 in 4 parts; five lengths from 7 on; least delta -2; widths 2, 0, 0, 0; deltas 0, 3, 2, 1.
        let five = [0x80, 1, 4, 5, 14, 3, 2, 0, 0, 0, 0b0110_1100, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(lengths(&five, 5), Some(Lengths { count: 5, longest: 7, end: 18 }));
        assert_eq!(lengths(&five, 4), None, "more than there are values");
        assert_eq!(lengths(&five[..10], 5), None);
        let claim = [0x80, 1, 4, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1, 0];
        assert_eq!(lengths(&claim, 1 << 31), None);
        assert_eq!(lengths(&[0x80, 1, 4, 1, 1], 5), None, "a negative length");
        assert_eq!(lengths(&[0x80, 1, 0, 1, 2], 5), None, "no parts");
        assert_eq!(lengths(&[0x80, 1, 4, 0, 0], 5), Some(Lengths { count: 0, longest: 0, end: 5 }));
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = (zeros(&bytes, 3, 1 << 20), lengths(&bytes, 1 << 20));
        }
    }
}
