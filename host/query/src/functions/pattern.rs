//! What a regular expression asks of whoever looks for it.
//!
//! **Invariant**: estimates only grow with the truth. The engine never backtracks: one search takes at most one step for each state
//! of the pattern and each byte of the text. Searching for all matches may read the rest of the text anew for each, where a match
//! that is found does not end the search for a longer one: `.*[^A-Z]|[A-Z]` in a text of capitals.

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::ColumnarValue;

/// States of a character class such as `\w`, which stands for ranges of Unicode.
const CLASS_STATES: u64 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Effort {
    /// About how many states the pattern is compiled to.
    pub(super) states: u64,
    /// Groups that it captures, and the whole match; never fewer than there are.
    pub(super) groups: u64,
    /// Whether a search for all matches may take the square of the text.
    pub(super) wanders: bool,
}

const NOTHING: Effort = Effort { states: 1, groups: 1, wanders: false };

/// The most that any of the patterns asks.
pub(super) fn effort(patterns: &ColumnarValue) -> Effort {
    match patterns {
        ColumnarValue::Scalar(
            ScalarValue::Utf8(Some(one)) | ScalarValue::Utf8View(Some(one)) | ScalarValue::LargeUtf8(Some(one)),
        ) => of(one),
        ColumnarValue::Scalar(_) => NOTHING,
        ColumnarValue::Array(array) => match array.data_type() {
            DataType::Utf8 => most(array.as_string::<i32>().iter()),
            DataType::LargeUtf8 => most(array.as_string::<i64>().iter()),
            DataType::Utf8View => most(array.as_string_view().iter()),
            _ => Effort { states: array.len() as u64, groups: array.len() as u64, wanders: true },
        },
    }
}

fn most<'a>(patterns: impl Iterator<Item = Option<&'a str>>) -> Effort {
    patterns.flatten().map(of).fold(NOTHING, |most, one| Effort {
        states: most.states.max(one.states),
        groups: most.groups.max(one.groups),
        wanders: most.wanders || one.wanders,
    })
}

/// Reads `pattern` from left to right. What is no valid pattern fails by itself.
fn of(pattern: &str) -> Effort {
    // States of the open groups, and of the last atom: what a repetition would repeat.
    let mut groups = vec![0u64];
    let mut atom = 0u64;
    let (mut endless, mut optional) = (false, false);
    let mut captured = 1u64;
    let mut chars = pattern.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '(' => {
                groups.push(0);
                captured += 1;
                atom = 0;
                // `(?:`, `(?i)`: no repetition.
                chars.next_if_eq(&'?');
                continue;
            }
            ')' if groups.len() > 1 => {
                atom = groups.pop().unwrap_or(0).saturating_add(1);
                optional |= matches!(chars.peek(), Some('*' | '+' | '{'));
            }
            '*' | '+' => {
                endless = true;
                continue;
            }
            '?' | '|' => {
                optional = true;
                continue;
            }
            '{' => {
                let bounds: String = chars.by_ref().take_while(|char| *char != '}').collect();
                let most = bounds.rsplit(',').next().unwrap_or_default();
                endless |= most.is_empty();
                optional |= bounds.starts_with('0');
                let times = bounds.split(',').filter_map(|bound| bound.trim().parse::<u64>().ok()).max().unwrap_or(1);
                add(&mut groups, atom.saturating_mul(times.saturating_sub(1)));
                atom = atom.saturating_mul(times.max(1));
                continue;
            }
            '[' => {
                atom = 1;
                while let Some(char) = chars.next() {
                    atom += if char == '\\' { CLASS_STATES } else { 1 };
                    match char {
                        ']' => break,
                        '\\' => drop(chars.next()),
                        _ => {}
                    }
                }
            }
            '\\' => {
                chars.next();
                atom = CLASS_STATES;
            }
            '.' => atom = CLASS_STATES,
            _ => atom = 1,
        }
        add(&mut groups, atom);
    }
    let states = groups.into_iter().fold(1u64, u64::saturating_add);
    Effort { states, groups: captured, wanders: endless && optional }
}

fn add(groups: &mut [u64], states: u64) {
    if let Some(group) = groups.last_mut() {
        *group = group.saturating_add(states);
    }
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn repetitions_count_as_often_as_they_repeat() {
        assert!(of("abc").states < 10);
        assert!(of(r"\d{4}-\d{2}-\d{2}").states < 60);
        assert!(of("(a{100}){100}").states > 10_000);
        assert!(of("((a{100}){100}){100}").states > 1_000_000);
        assert!(of("(((((((((((").states < 20 && of("}}}{{{").states < 20, "no valid pattern");
    }

    #[test]
    fn what_may_look_on_after_a_match_is_known() {
        for pattern in [".*[^A-Z]|[A-Z]", "[A-Z](.*[^A-Z])?", "A(.*b)*", "A.*?b", "a|b+", "x(y.{1,})?", "A(.*b){0,1}"] {
            assert!(of(pattern).wanders, "{pattern}");
        }
        for pattern in [r"\s+", "[^a-z0-9]+", r"(\d+)-(\d+)", "a|b|c", "(?i)hello", r"(?:\w+)@", r"\|+", "[|?]*"] {
            assert!(!of(pattern).wanders, "{pattern}");
        }
    }
}
