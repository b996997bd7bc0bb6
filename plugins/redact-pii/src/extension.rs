//! The words that announce a phone number's extension: `ext. 42`, `x7`, `#12`.
//!
//! **Invariant**: looks a few characters ahead, whatever follows.

const WORDS: &[&str] = &["extension", "durchwahl", "interno", "extn", "poste", "ext", "wew", "dw", "x", "#"];

pub(crate) const MOST_DIGITS: usize = 6;

/// Spaces and commas before the word, and signs and spaces after it.
const MOST_BEFORE: usize = 2;
const MOST_AFTER: usize = 3;

/// Where the extension's digits start if one follows at `position`.
pub(crate) fn digits(text: &str, position: usize) -> Option<usize> {
    let start = after_word(text, skip(text, position, MOST_BEFORE, b" ,"))?;
    text.as_bytes()[start..].first().is_some_and(u8::is_ascii_digit).then_some(start)
}

/// Whether the word is glued to what ends at `position`, and a number follows.
pub(crate) fn is_glued(text: &str, position: usize) -> bool {
    after_word(text, position).is_some_and(|start| text[start..].starts_with(|c: char| c.is_ascii_digit() || "+(".contains(c)))
}

/// Whether the word stands between two numbers and nothing else does.
pub(crate) fn joins(gap: &str) -> bool {
    after_word(gap, skip(gap, 0, MOST_BEFORE, b" ,")).is_some_and(|start| start == gap.len())
}

/// Where the word at `position` ends, with what sets it off from its digits.
fn after_word(text: &str, position: usize) -> Option<usize> {
    let bytes = &text.as_bytes()[position..];
    let begins = |word: &&&str| bytes.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
    let word = WORDS.iter().find(begins)?;
    Some(skip(text, position + word.len(), MOST_AFTER, b".: "))
}

/// After at most `most` of the `bytes`, which are ASCII.
fn skip(text: &str, position: usize, most: usize, bytes: &[u8]) -> usize {
    position + text.as_bytes()[position..].iter().take(most).take_while(|byte| bytes.contains(byte)).count()
}
