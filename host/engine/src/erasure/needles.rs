//! What is searched for after an erasure: the texts that only the erased rows said.
//!
//! **Invariant**: a needle is found wherever pieces of a stream are cut; memory is a few bytes for each byte of a needle.

use std::collections::HashSet;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use crate::EngineError;

/// Texts.
pub(super) struct Needles {
    texts: Vec<String>,
    automaton: AhoCorasick,
    /// The text that each pattern of the automaton stands for.
    of: Vec<usize>,
    longest: usize,
}

impl std::fmt::Debug for Needles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Needles").field("count", &self.texts.len()).finish_non_exhaustive()
    }
}

impl Needles {
    /// How many texts.
    pub(super) fn len(&self) -> u64 {
        self.texts.len() as u64
    }

    /// Each text as it is, and as JSON writes it; without those that stand in one of the `names`, which stay.
    pub(super) fn new(texts: impl Iterator<Item = String>, names: &[String]) -> Result<Self, EngineError> {
        let texts: Vec<String> = texts.filter(|text| !names.iter().any(|name| name.contains(text))).collect();
        let (mut patterns, mut of) = (Vec::new(), Vec::new());
        for (place, text) in texts.iter().enumerate() {
            let quoted = serde_json::to_string(text).unwrap_or_default();
            let escaped = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned();
            for pattern in [Some(text.clone()), Some(escaped).filter(|escaped| escaped != text)].into_iter().flatten() {
                patterns.push(pattern);
                of.push(place);
            }
        }
        let longest = patterns.iter().map(String::len).max().unwrap_or(0);
        // The kind that takes a few bytes for each byte of a text; others take a thousand.
        let build = || AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).build(patterns);
        let automaton = tokio::task::block_in_place(build).map_err(|_| EngineError::Lost("too much was to be searched for"))?;
        Ok(Self { texts, automaton, of, longest })
    }

    pub(super) fn are_in(&self, bytes: &[u8]) -> bool {
        !self.texts.is_empty() && self.automaton.is_match(bytes)
    }

    /// The texts that stand in there, by their places.
    pub(super) fn all_in(&self, bytes: &[u8], found: &mut HashSet<usize>) {
        if !self.texts.is_empty() {
            found.extend(self.automaton.find_overlapping_iter(bytes).map(|hit| self.of[hit.pattern().as_usize()]));
        }
    }

    pub(super) fn without(self, places: &HashSet<usize>) -> Result<Self, EngineError> {
        let kept = self.texts.into_iter().enumerate().filter(|(place, _)| !places.contains(place)).map(|(_, text)| text);
        Self::new(kept, &[])
    }
}

/// Searches a stream of bytes, piece by piece.
pub(super) struct Search<'n> {
    needles: &'n Needles,
    /// The end of what came before, where a needle may begin.
    tail: Vec<u8>,
    pub(super) found: bool,
}

impl<'n> Search<'n> {
    pub(super) fn new(needles: &'n Needles) -> Self {
        Self { needles, tail: Vec::new(), found: false }
    }

    pub(super) fn feed(&mut self, piece: &[u8]) {
        if self.found {
            return;
        }
        let reach = self.needles.longest.saturating_sub(1);
        let joint = piece.len().min(reach);
        self.tail.extend_from_slice(&piece[..joint]);
        self.found = self.needles.are_in(&self.tail) || self.needles.are_in(piece);
        if piece.len() >= reach {
            self.tail.clear();
            self.tail.extend_from_slice(&piece[piece.len() - reach..]);
        } else {
            let excess = self.tail.len().saturating_sub(reach);
            self.tail.drain(..excess);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Needles, Search};

    #[tokio::test(flavor = "multi_thread")]
    async fn needles_are_found_across_pieces_and_as_json_writes_them() {
        let texts = ["needle-one", "with \"quotes\"", "column"].map(str::to_owned);
        let needles = Needles::new(texts.into_iter(), &["the_column".to_owned()]).unwrap();
        assert_eq!(needles.texts.len(), 2, "what stands in a name is not searched for");
        let text = b"hay hay needle-one hay";
        for cut in 0..text.len() {
            let mut search = Search::new(&needles);
            search.feed(&text[..cut]);
            search.feed(&text[cut..]);
            assert!(search.found, "{cut}");
        }
        let mut bytewise = Search::new(&needles);
        text.iter().for_each(|byte| bytewise.feed(&[*byte]));
        assert!(bytewise.found);
        assert!(needles.are_in(br#"{"name":"with \"quotes\""}"#));
        let mut clean = Search::new(&needles);
        b"needle-on and needle-two".chunks(3).for_each(|piece| clean.feed(piece));
        assert!(!clean.found);
        let mut common = std::collections::HashSet::new();
        needles.all_in(b"code with needle-one in it", &mut common);
        let left = needles.without(&common).unwrap();
        assert!(!left.are_in(b"needle-one") && left.are_in(b"with \"quotes\""));
    }
}
