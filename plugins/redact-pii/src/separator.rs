//! What stands between two groups of one number.
//!
//! **Invariant**: a separator is one of those that people write inside numbers, and a digit follows it.

/// What stands between two groups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sep {
    /// `-`, `.`, `/` or a space; typographic dashes, dots and spaces count as their plain kin.
    pub(crate) kind: u8,
    pub(crate) opens: bool,
    pub(crate) closes: bool,
    /// Two spaces: between the groups of a card, or the columns of a table.
    pub(crate) wide: bool,
    /// Whether another number may start after it, and one may end before it.
    pub(crate) parts_numbers: bool,
}

/// Separators as they are written, typography aside.
const WRITTEN: &[&[u8]] =
    &[b" ", b"-", b".", b"/", b")", b") ", b")-", b").", b")/", b" (", b"(", b")(", b"  ", b" - ", b" / ", b"-(", b".(", b"/("];

impl Sep {
    /// The separator at the start of `text`, and its length.
    pub(crate) fn read(text: &str) -> Option<(Self, usize)> {
        let (mut plain, mut length) = ([0_u8; 3], 0);
        let mut count = 0;
        for character in text.chars() {
            let kin = match character {
                ' ' | '\u{a0}' | '\u{2009}' | '\u{202f}' => b' ',
                c if is_dash(c) => b'-',
                '.' | '·' | '•' => b'.',
                '/' => b'/',
                '(' => b'(',
                ')' => b')',
                '0'..='9' => break,
                _ => return None,
            };
            *plain.get_mut(count)? = kin;
            count += 1;
            length += character.len_utf8();
        }
        let written = &plain[..count];
        if length == text.len() || !WRITTEN.contains(&written) {
            return None;
        }
        let kind = written.iter().copied().find(|byte| matches!(byte, b'-' | b'.' | b'/')).unwrap_or(b' ');
        let (opens, closes) = (written.contains(&b'('), written.contains(&b')'));
        let parts_numbers = opens || written.ends_with(b" ") || (kind == b'/' && !closes);
        Some((Self { kind, opens, closes, wide: written == b"  ", parts_numbers }, length))
    }

    /// This separator and no parenthesis.
    pub(crate) fn is(self, kind: u8) -> bool {
        self.kind == kind && !self.opens && !self.closes
    }
}

/// `-`, or what typography makes of it.
pub(crate) fn is_dash(character: char) -> bool {
    matches!(character, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}
