//! Everything that is found in a text.
//!
//! **Invariant**: findings are in order, do not overlap, are not empty and end on character boundaries.

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
    let mut found = email::find(text);
    if has_digits(text.as_bytes()) {
        numbers::find(text, &mut found);
        found.sort_unstable_by_key(|found| found.start);
    }
    found
}

fn has_digits(text: &[u8]) -> bool {
    text.iter().filter(|byte| byte.is_ascii_digit()).nth(FEWEST_DIGITS - 1).is_some()
}
