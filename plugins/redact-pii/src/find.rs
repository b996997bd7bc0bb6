//! Everything that is found in a text.
//!
//! **Invariant**: findings are in order, do not overlap, are not empty and end on character boundaries.

use std::cmp::Reverse;

use crate::plain::Plain;
use crate::{Kind, email, numbers};

/// A finding: `text[start..end]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

/// The fewest digits that are a finding: a local phone number.
pub(crate) const FEWEST_DIGITS: usize = 7;

pub fn find(text: &str) -> Vec<Found> {
    let Some(plain) = Plain::of(text) else { return in_plain(text) };
    let mut found = in_plain(&plain.text);
    for found in &mut found {
        (found.start, found.end) = (plain.original(found.start), plain.original(found.end));
    }
    found
}

fn in_plain(text: &str) -> Vec<Found> {
    let mut found = email::find(text);
    if has_digits(text.as_bytes()) {
        let numbers = numbers::find(text, &found);
        found.extend(numbers);
    }
    apart(found)
}

/// In order, and of findings that overlap one that covers them all, of the kind of the widest.
pub(crate) fn apart(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_unstable_by_key(|found| (found.start, Reverse(found.end)));
    found.dedup_by(|next, last| {
        let overlap = next.start < last.end;
        if overlap {
            if next.end - next.start > last.end - last.start {
                last.kind = next.kind;
            }
            last.end = last.end.max(next.end);
        }
        overlap
    });
    found
}

fn has_digits(text: &[u8]) -> bool {
    text.iter().filter(|byte| byte.is_ascii_digit()).nth(FEWEST_DIGITS - 1).is_some()
}
