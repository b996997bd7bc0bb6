//! What is glued to a number: whether one may start or end there, and which words announce it.
//!
//! **Invariant**: what is glued to a number makes it less likely to be one, never more: a number behind a sign or a word is taken
//! only for what it is beyond doubt or for what the words before it announce.

use crate::label::{self, Label};
use crate::numbers::{Lead, Run};
use crate::separator::is_dash;
use crate::{Found, extension};

/// A place where a number may start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start<'t> {
    pub(crate) footing: Footing,
    /// What may announce the number.
    pub(crate) words: &'t str,
}

/// How a number stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Footing {
    /// On its own.
    Free,
    /// Behind a sign such as `#`: the words before it announce it.
    Marked,
    /// Behind a word without a space: that word announces it and no other.
    Glued,
}

const LONGEST_WORD: usize = 40;

/// How the group `first` may start a number, given what is glued to it and the finding before it.
pub(crate) fn start<'t>(run: &Run<'t>, first: usize, lead: &Lead, last: Option<Found>) -> Option<Start<'t>> {
    let before = &run.text[..lead.start];
    let at = |footing| Some(Start { footing, words: before });
    let mut back = before.chars().rev();
    let (glued, earlier) = (back.next(), back.next());
    let digit_earlier = earlier.is_some_and(|c| c.is_ascii_digit());
    let apart = earlier.is_none_or(|c| c.is_whitespace() || c == '(');
    let length = run.lengths(first, 1)[0];
    let free_if = |free: bool| if free { at(Footing::Free) } else { None };
    match glued {
        _ if last.is_some_and(|last| goes_on(run.text.get(last.end..lead.start))) => at(Footing::Free),
        None => at(Footing::Free),
        // `1,250,000` is one number.
        Some(',') => free_if(!digit_earlier || length != 3 || run.is_dashed(first)),
        // `09:30` is a time.
        Some(':') => free_if(!digit_earlier || length > 2),
        Some('.') => free_if(!digit_earlier),
        Some(c) if is_dash(c) || c == '/' => {
            let word = word_before(&before[..before.len() - c.len_utf8()]).is_some();
            if apart || (!digit_earlier && label::before(before) == Label::Phone && !before.ends_with("/-")) {
                at(Footing::Free)
            } else if word {
                at(if c == '/' { Footing::Free } else { Footing::Marked })
            } else {
                None
            }
        }
        Some('#' | '№') => at(Footing::Marked),
        Some('@') if apart => at(Footing::Marked),
        // A line break or a tab that was escaped.
        Some('n' | 'r' | 't') if earlier == Some('\\') => at(Footing::Free),
        Some('$' | '€' | '£' | '¥' | '@' | '\\' | '%' | '&' | '^' | '+') => None,
        Some(c) if c == '_' || (c.is_alphanumeric() && c < '\u{2e80}') => {
            if lead.paren && c.is_alphabetic() {
                return at(Footing::Free);
            }
            word_before(before).map(|words| Start { footing: Footing::Glued, words })
        }
        Some(_) => at(Footing::Free),
    }
}

/// Whether what stands between a finding and a number leads from one to the other.
fn goes_on(gap: Option<&str>) -> bool {
    gap.is_some_and(|gap| matches!(gap, "" | "/" | ",") || extension::joins(gap))
}

/// The letters that a text ends with, underscores between them, unless they go on as a path or as a name with digits.
fn word_before(text: &str) -> Option<&str> {
    let letters = |&(_, c): &(usize, char)| c == '_' || (c.is_alphabetic() && c < '\u{2e80}');
    let start = text.char_indices().rev().take(LONGEST_WORD).take_while(letters).last()?.0;
    let word = &text[start..];
    let goes_on = match text[..start].chars().next_back() {
        Some('/') => true,
        Some(c) => c.is_alphanumeric() && c < '\u{2e80}' && !word.starts_with('_'),
        None => false,
    };
    (word.contains(char::is_alphabetic) && !goes_on).then_some(word)
}

/// Whether a number may end at `end`, given what is glued to it.
pub(crate) fn ends_well(text: &str, end: usize, last_length: usize) -> bool {
    let mut after = text[end..].chars();
    let Some(next) = after.next() else { return true };
    let later = after.next();
    let digit_later = later.is_some_and(|c| c.is_ascii_digit());
    match next {
        ',' => !digit_later || last_length > 3,
        ':' => !digit_later || last_length > 2,
        '_' => !digit_later,
        '-' => !later.is_some_and(char::is_alphanumeric),
        '%' | '°' | '€' | '$' | '£' | '@' => false,
        c if c.is_alphanumeric() => c >= '\u{2e80}' || extension::is_glued(text, end),
        _ => true,
    }
}
