//! The texts of a segment's chunks: offsets, then the text of all chunks.
//!
//! **Invariant**: bytes become texts only after their offsets have been checked; a chunk's text is then read without another look.

use bytes::Bytes;

/// Bytes of one offset.
const WIDTH: usize = 8;

/// Texts by ordinal.
#[derive(Debug)]
pub(crate) struct Texts {
    count: usize,
    bytes: Bytes,
}

/// Texts on their way.
#[derive(Debug, Default)]
pub(crate) struct TextsDraft {
    ends: Vec<u64>,
    text: Vec<u8>,
}

impl TextsDraft {
    pub(crate) fn push(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
        self.ends.push(self.text.len() as u64);
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len() + WIDTH * self.ends.len()
    }

    /// One more offset than texts, each eight bytes, the lowest first; then the texts.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len() + WIDTH);
        bytes.extend_from_slice(&0u64.to_le_bytes());
        self.ends.iter().for_each(|end| bytes.extend_from_slice(&end.to_le_bytes()));
        bytes.extend_from_slice(&self.text);
        bytes
    }
}

impl Texts {
    /// Reads the texts of `count` chunks; nothing when the bytes are something else.
    pub(crate) fn read(count: usize, bytes: Bytes) -> Option<Self> {
        let texts = Self { count, bytes };
        let text = std::str::from_utf8(texts.bytes.get(texts.begin()..)?).ok()?;
        let mut before = 0;
        for at in 0..=count {
            let offset = texts.offset(at)?;
            if offset < before || !text.is_char_boundary(offset) || (at == 0 && offset != 0) {
                return None;
            }
            before = offset;
        }
        (before == text.len()).then_some(texts)
    }

    /// The text of a chunk.
    pub(crate) fn get(&self, ordinal: u32) -> Option<&str> {
        let (at, begin) = (ordinal as usize, self.begin());
        if at >= self.count {
            return None;
        }
        let (from, to) = (begin + self.offset(at)?, begin + self.offset(at + 1)?);
        std::str::from_utf8(self.bytes.get(from..to)?).ok()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn begin(&self) -> usize {
        WIDTH * (self.count + 1)
    }

    fn offset(&self, at: usize) -> Option<usize> {
        let bytes = self.bytes.get(WIDTH * at..WIDTH * (at + 1))?;
        usize::try_from(u64::from_le_bytes(bytes.try_into().ok()?)).ok()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::{Texts, TextsDraft};

    fn written(texts: &[&str]) -> Vec<u8> {
        let mut draft = TextsDraft::default();
        texts.iter().for_each(|text| draft.push(text));
        draft.into_bytes()
    }

    proptest! {
        #[test]
        fn texts_are_read_as_they_were_written(texts in prop::collection::vec(".{0,12}", 0..20)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let read = Texts::read(texts.len(), Bytes::from(written(&texts))).unwrap();
            for (ordinal, text) in texts.iter().enumerate() {
                prop_assert_eq!(read.get(ordinal as u32), Some(*text));
            }
            prop_assert_eq!(read.get(texts.len() as u32), None);
        }

        #[test]
        fn damaged_bytes_never_panic(at in 0usize..200, value in any::<u8>(), cut in 0usize..200) {
            let mut bytes = written(&["one", "zwei", "três", ""]);
            let at = at % bytes.len();
            bytes[at] = value;
            bytes.truncate(bytes.len() - cut % bytes.len());
            if let Some(texts) = Texts::read(4, Bytes::from(bytes)) {
                let read = (0..5).filter_map(|ordinal| texts.get(ordinal)).count();
                prop_assert_eq!(read, 4);
            }
        }
    }
}
