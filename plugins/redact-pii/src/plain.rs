//! Text as the scanners read it: full-width forms and the digits of Arabic script become their plain kin.
//!
//! **Invariant**: a character stays one character, so that every place in the plain text has its place in the original.

/// A text with what was plain in it and what was made plain.
#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) text: String,
    /// Places in `text`, each with the bytes that the original has more up to there.
    shifts: Vec<(usize, usize)>,
}

impl Plain {
    /// Nothing if the text is plain as it is.
    pub(crate) fn of(text: &str) -> Option<Self> {
        if text.is_ascii() || text.chars().all(|character| kin(character) == character) {
            return None;
        }
        let mut plain = Self { text: String::with_capacity(text.len()), shifts: Vec::new() };
        let mut shift = 0;
        for character in text.chars() {
            let kin = kin(character);
            plain.text.push(kin);
            if kin != character {
                shift += character.len_utf8() - kin.len_utf8();
                plain.shifts.push((plain.text.len(), shift));
            }
        }
        Some(plain)
    }

    /// Where in the original the place `position` is.
    pub(crate) fn original(&self, position: usize) -> usize {
        let earlier = &self.shifts[..self.shifts.partition_point(|&(place, _)| place <= position)];
        position + earlier.last().map_or(0, |&(_, shift)| shift)
    }
}

fn kin(character: char) -> char {
    let from = |base: u32, plain: char| char::from_u32(u32::from(character) - base + u32::from(plain)).unwrap_or(character);
    match character {
        '\u{ff01}'..='\u{ff5e}' => from(0xff01, '!'),
        '\u{660}'..='\u{669}' => from(0x660, '0'),
        '\u{6f0}'..='\u{6f9}' => from(0x6f0, '0'),
        '\u{3000}' => ' ',
        _ => character,
    }
}
