//! Payment card numbers.
//!
//! **Invariant**: only numbers that an issuer could have given out: a known prefix with its length, grouped as cards are, and a valid
//! check digit (ISO/IEC 7812-1).

use crate::numbers::Run;

/// How many groups from `first` on are a card number: the fewest, for what comes after may belong to another one.
pub(crate) fn groups(run: &Run<'_>, first: usize) -> Option<usize> {
    let most = run.groups.len() - first;
    let ends = |count| run.may_end(first, count) || is_followed_by_expiry(run, first + count);
    (1..=most.min(5)).find(|&count| run.is_uniform(first, count) && is_card(run, first, count) && ends(count))
}

/// A dash, then at most four digits: a month, a month and a year, or the value that verifies the card.
fn is_followed_by_expiry(run: &Run<'_>, next: usize) -> bool {
    next < run.groups.len() && run.is_dashed(next - 1) && run.lengths(next, 1)[0] <= 4
}

fn is_card(run: &Run<'_>, first: usize, count: usize) -> bool {
    let in_groups = match run.lengths(first, count) {
        [_] | [4, 6, 4 | 5] => true,
        [whole @ .., last] => whole.len() >= 3 && whole.iter().all(|&length| length == 4) && (1..=4).contains(last),
        [] => false,
    };
    if !in_groups {
        return false;
    }
    let digits = run.digits(first, count);
    (14..=19).contains(&digits.len()) && has_issuer(&digits) && luhn(&digits)
}

fn has_issuer(digits: &str) -> bool {
    let prefix = |length: usize| digits[..length].parse::<u32>().unwrap_or_default();
    match digits.len() {
        19 if prefix(1) == 4 => true,
        14 => matches!(prefix(2), 36 | 38 | 39) || matches!(prefix(3), 300..=305 | 309),
        15 => matches!(prefix(2), 34 | 37),
        16 => {
            matches!(prefix(1), 4)
                || matches!(prefix(2), 51..=55 | 35 | 36 | 50 | 56..=65 | 67 | 81)
                || matches!(prefix(4), 2221..=2720)
        }
        17..=19 => matches!(prefix(2), 62 | 63 | 67 | 50 | 56..=58),
        _ => false,
    }
}

/// The check of ISO/IEC 7812-1, annex B.
pub(crate) fn luhn(digits: &str) -> bool {
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, byte)| (at % 2 == 1, u32::from(byte - b'0')))
        .map(|(second, digit)| if second { doubled(digit) } else { digit })
        .sum();
    sum.is_multiple_of(10)
}
