//! The mask kernels.
//!
//! **Invariant**: output is never longer than input, so both work inside the buffer they were given. Short dynamic copies and fills
//! are library calls inside WebAssembly and would cost more than the rest of the loop: spans below 32 bytes are written with
//! overlapping words instead.

use super::index;

/// All bytes are ASCII: a value keeps its length, offsets stay.
pub(super) fn bytes(offsets: &[i32], data: &mut [u8], prefix: u32, suffix: u32) {
    let (prefix, suffix) = (prefix as usize, suffix as usize);
    let shown = prefix.saturating_add(suffix);
    let mut start = 0;
    for &end in &offsets[1..] {
        let end = index(end);
        let value = &mut data[start..end];
        let hidden = if value.len() <= shown { value } else { &mut value[prefix..end - start - suffix] };
        star(hidden);
        start = end;
    }
}

/// Values may hold any character: each hidden one becomes a single star, rows move towards the front.
pub(super) fn characters(offsets: &mut [i32], data: &mut Vec<u8>, prefix: u32, suffix: u32) {
    let (prefix, suffix) = (prefix as usize, suffix as usize);
    let shown = prefix.saturating_add(suffix);
    let (mut start, mut written) = (0, 0);
    for end_offset in &mut offsets[1..] {
        let end = index(*end_offset);
        let value = &data[start..end];
        // Most rows of a column with a few accents have none.
        let ascii = value.is_ascii();
        let length = if ascii { value.len() } else { count(value) };
        let (head, tail, hidden) = match length.checked_sub(shown) {
            None | Some(0) => (0, 0, length),
            Some(hidden) if ascii => (prefix, suffix, hidden),
            Some(hidden) => (head_bytes(value, prefix), tail_bytes(value, suffix), hidden),
        };
        shift(data, start, written, head);
        star(&mut data[written + head..written + head + hidden]);
        shift(data, end - tail, written + head + hidden, tail);
        written += head + hidden + tail;
        start = end;
        *end_offset = i32::try_from(written).expect("output is never longer than input");
    }
    data.truncate(written);
}

fn star(span: &mut [u8]) {
    if span.len() >= 32 {
        span.fill(b'*');
    } else if !(ends::<16>(span) || ends::<8>(span) || ends::<4>(span) || ends::<2>(span)) {
        ends::<1>(span);
    }
}

/// Stars the first and the last `N` bytes, which is all of a span between `N` and `2 N`; false when it is shorter than `N`.
fn ends<const N: usize>(span: &mut [u8]) -> bool {
    if let Some(first) = span.first_chunk_mut::<N>() {
        *first = [b'*'; N];
    }
    span.last_chunk_mut::<N>().map(|last| *last = [b'*'; N]).is_some()
}

/// Moves `length` bytes towards the front.
fn shift(data: &mut [u8], from: usize, to: usize, length: usize) {
    if from == to {
        return;
    }
    if length > 16 {
        data.copy_within(from..from + length, to);
    } else {
        for step in 0..length {
            data[to + step] = data[from + step];
        }
    }
}

/// Characters in UTF-8: every byte but the continuations starts one.
fn count(value: &[u8]) -> usize {
    value.iter().filter(|&&byte| starts_character(byte)).count()
}

fn head_bytes(value: &[u8], characters: usize) -> usize {
    let mut starts = value.iter().enumerate().filter(|&(_, &byte)| starts_character(byte));
    starts.nth(characters).map_or(value.len(), |(at, _)| at)
}

fn tail_bytes(value: &[u8], characters: usize) -> usize {
    if characters == 0 {
        return 0;
    }
    let mut starts = value.iter().rev().enumerate().filter(|&(_, &byte)| starts_character(byte));
    starts.nth(characters - 1).map_or(value.len(), |(at, _)| at + 1)
}

fn starts_character(byte: u8) -> bool {
    byte & 0b1100_0000 != 0b1000_0000
}
