//! US social-security numbers.
//!
//! **Invariant**: only numbers that can be one (no area 000, 666 or 9xx, no group 00, no serial 0000: SSA, POMS RM 10201.035), and
//! without its dashes only where the text says so.

use crate::label::{self, Label};
use crate::numbers::Run;

const WORDS: &[&str] = &["ssn", "ssns", "ss", "social", "soc"];

/// How many groups from `first` on are a social-security number, which these words may announce.
pub(crate) fn groups(run: &Run<'_>, first: usize, words: &str) -> Option<usize> {
    let announced = || label::mentions(words, WORDS);
    let dashed = || run.is_dashed(first) && label::before(words) != Label::Other;
    let count = match run.lengths(first, run.groups.len() - first) {
        [3, 2, 4, ..] if run.is_uniform(first, 3) && (dashed() || announced()) => 3,
        [9, ..] if announced() => 1,
        _ => return None,
    };
    let digits = run.digits(first, count);
    let (area, group, serial) = (&digits[..3], &digits[3..5], &digits[5..]);
    let possible = area != "000" && area != "666" && !area.starts_with('9') && group != "00" && serial != "0000";
    (possible && run.may_end(first, count)).then_some(count)
}
