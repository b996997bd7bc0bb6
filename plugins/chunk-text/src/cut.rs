//! Where a text is cut.
//!
//! **Invariant**: each chunk begins behind the beginning of the one before and ends behind its end, so that the walk ends; what lies
//! between two chunks is white space.

use std::ops::Range;

/// The chunks of one text, in order.
#[derive(Debug)]
pub(crate) struct Cuts<'t> {
    text: &'t str,
    size: usize,
    overlap: usize,
    /// Where the next chunk begins; the end of the text when there is none.
    next: usize,
    /// Where the last chunk ended.
    covered: usize,
}

impl<'t> Cuts<'t> {
    /// `size` and `overlap` are characters; the overlap is the smaller one.
    pub(crate) fn of(text: &'t str, size: usize, overlap: usize) -> Self {
        Self { text, size, overlap, next: skip_blank(text, 0), covered: 0 }
    }
}

impl Iterator for Cuts<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        loop {
            let start = self.next;
            if start == self.text.len() {
                return None;
            }
            let cut = end_of(self.text, start, self.size, self.overlap);
            let rest = skip_blank(self.text, cut);
            self.next = if rest == self.text.len() { rest } else { self.back_from(cut) };
            let end = start + self.text[start..cut].trim_end().len();
            if end > self.covered {
                self.covered = end;
                return Some(start..end);
            }
            // Only white space is new here, more of it than the overlap leaves room for.
            self.next = rest;
        }
    }
}

impl Cuts<'_> {
    /// Where the chunk after a cut begins: at the first word that begins within the overlap, in the middle of one that fills it.
    fn back_from(&self, cut: usize) -> usize {
        let back = before(self.text, cut, self.overlap);
        skip_blank(self.text, word_start(self.text, back, cut).unwrap_or(back))
    }
}

/// Where a chunk from `start` is cut: behind the last sentence in its second half, else behind the last word, else when it is full.
/// Never so early that the next chunk, which begins up to `overlap` characters before, would not get any further.
fn end_of(text: &str, start: usize, size: usize, overlap: usize) -> usize {
    let bytes = text.as_bytes();
    // As many bytes as characters at least: a shorter rest needs no look at its characters.
    if bytes.len() - start <= size {
        return bytes.len();
    }
    let (half, shortest) = ((size / 2).max(overlap), overlap);
    let (mut at, mut count) = (start, 0);
    let (mut sentence, mut word) = (None, None);
    let mut ends = Ends::Nothing;
    while at < bytes.len() {
        let (character, length) = decode(text, at);
        let is_blank = character.is_whitespace();
        // A place between two characters, with `count` of them before it.
        if count > shortest {
            if count > half && (ends == Ends::WideSentence || (is_blank && ends == Ends::Sentence)) {
                sentence = Some(at);
            }
            if is_blank && ends != Ends::Blank {
                word = Some(at);
            }
        }
        if count == size {
            return sentence.or(word).unwrap_or(at);
        }
        ends = ends.after(character, is_blank);
        at += length;
        count += 1;
    }
    bytes.len()
}

/// What the text before a place ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Nothing,
    Blank,
    /// A mark that ends a sentence if white space follows, and perhaps closing quotes.
    Sentence,
    /// A mark that ends a sentence whatever follows, as in scripts that do not put spaces between words; a line break.
    WideSentence,
}

impl Ends {
    fn after(self, character: char, is_blank: bool) -> Self {
        match character {
            '.' | '!' | '?' | '…' => Self::Sentence,
            '。' | '！' | '？' | '\n' => Self::WideSentence,
            '"' | '\'' | ')' | ']' | '”' | '’' | '»' | '」' | '』' | '）'
                if matches!(self, Self::Sentence | Self::WideSentence) =>
            {
                self
            }
            _ if is_blank => Self::Blank,
            _ => Self::Nothing,
        }
    }
}

/// The character at a byte, and its length.
fn decode(text: &str, at: usize) -> (char, usize) {
    match text.as_bytes()[at] {
        ascii @ 0..0x80 => (char::from(ascii), 1),
        _ => {
            let character = text[at..].chars().next().unwrap_or_default();
            (character, character.len_utf8())
        }
    }
}

/// The place `count` characters before `at`.
fn before(text: &str, at: usize, count: usize) -> usize {
    let mut place = at;
    for _ in 0..count {
        if place == 0 {
            break;
        }
        place -= 1;
        while !text.is_char_boundary(place) {
            place -= 1;
        }
    }
    place
}

/// The first place from `from` on, and before `to`, where a word begins.
fn word_start(text: &str, from: usize, to: usize) -> Option<usize> {
    let mut was_blank = text[..from].chars().next_back().is_none_or(char::is_whitespace);
    let mut at = from;
    while at < to {
        let (character, length) = decode(text, at);
        let is_blank = character.is_whitespace();
        if was_blank && !is_blank {
            return Some(at);
        }
        was_blank = is_blank;
        at += length;
    }
    None
}

/// The first place from `from` on that is not white space; the end when there is none.
fn skip_blank(text: &str, from: usize) -> usize {
    text.len() - text[from..].trim_start().len()
}
