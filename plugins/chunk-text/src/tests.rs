//! The promises of the cutter: everything is covered, nothing is too long, cuts fall where readers would make them.

use lakehouse_sdk::testing;
use proptest::prelude::*;

use super::*;

fn chunks(chunk_size: u32, overlap: u32, text: &str) -> Vec<&str> {
    testing::chunk(&ChunkText { chunk_size, overlap }, text).unwrap()
}

#[test]
fn a_short_text_is_one_chunk_and_a_blank_one_none() {
    assert_eq!(chunks(800, 100, "  One sentence. And another.\n"), ["One sentence. And another."]);
    assert_eq!(chunks(800, 100, ""), [""; 0]);
    assert_eq!(chunks(3, 1, " \n\t\u{3000} "), [""; 0]);
}

#[test]
fn cuts_fall_behind_sentences_then_between_words_then_anywhere() {
    assert_eq!(chunks(24, 0, "He came late. She did not come at all."), ["He came late.", "She did not come at all."]);
    assert_eq!(chunks(10, 0, "one two three four"), ["one two", "three four"]);
    assert_eq!(chunks(4, 0, "abcdefghij"), ["abcd", "efgh", "ij"]);
    assert_eq!(chunks(16, 0, "He said \"No.\" Then he went."), ["He said \"No.\"", "Then he went."]);
    assert_eq!(chunks(8, 0, "猫が来た。犬も来た。"), ["猫が来た。", "犬も来た。"]);
    assert_eq!(chunks(12, 0, "Forklift\nNight shift"), ["Forklift", "Night shift"]);
    assert_eq!(chunks(14, 0, "version 1.2.3 is out now"), ["version 1.2.3", "is out now"], "a dot inside a word ends nothing");
}

#[test]
fn a_sentence_that_would_make_a_small_chunk_is_no_reason_to_cut() {
    assert_eq!(chunks(20, 0, "Yes. But that is only one of many"), ["Yes. But that is", "only one of many"]);
}

#[test]
fn the_overlap_begins_with_a_word() {
    assert_eq!(chunks(12, 5, "alpha beta gamma delta"), ["alpha beta", "beta gamma", "gamma delta"]);
    assert_eq!(chunks(4, 2, "abcdefgh"), ["abcd", "cdef", "efgh"]);
    assert_eq!(chunks(5, 3, "éééééééé"), ["ééééé", "ééééé", "éééé"]);
}

#[test]
fn a_long_blank_makes_no_chunk_of_its_own() {
    let text = format!("one two{}three", " ".repeat(50));
    assert_eq!(chunks(10, 4, &text), ["one two", "three"]);
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let error = |config: &str| ChunkText::open(config).map(drop).unwrap_err().to_string();
    assert!(error(r#"{"chunk_size": 100}"#).contains("\"overlap\" (100) must be smaller than \"chunk_size\" (100)"));
    assert!(error(r#"{"chunk_size": 0, "overlap": 0}"#).contains("at least 1"));
    assert!(error(r#"{"size": 5}"#).contains(r#"known keys: "chunk_size", "overlap""#));
    assert!(ChunkText::open("{}").is_ok());
}

/// Texts with sentences, long words, wide characters and much white space.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z]{1,9}",
        3 => Just(" ".to_owned()),
        2 => Just(". ".to_owned()),
        1 => "[ \n\t\u{3000}]{1,12}",
        1 => "[é日本𝄞。！]{1,6}",
        1 => "[a-zé]{10,30}",
        1 => "[\"')\\].!?]{1,3}",
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn everything_that_is_not_blank_is_covered_and_nothing_is_too_long(text in text(), size in 1_u32..40, overlap in 0_u32..39) {
        let overlap = overlap.min(size - 1);
        let chunks = chunks(size, overlap, &text);
        let place = |chunk: &str| chunk.as_ptr() as usize - text.as_ptr() as usize;
        let mut covered = 0;
        for chunk in &chunks {
            let (start, end) = (place(chunk), place(chunk) + chunk.len());
            prop_assert!(text[covered.min(start)..start].trim().is_empty(), "a gap before {start}");
            prop_assert!(end > covered, "nothing new in {start}..{end}");
            prop_assert!(!chunk.is_empty() && chunk.trim() == *chunk);
            prop_assert!(chunk.chars().count() <= size as usize);
            let repeated = text[start..covered.max(start)].chars().count();
            prop_assert!(repeated <= overlap as usize, "{repeated} characters again");
            covered = end;
        }
        prop_assert!(text[covered..].trim().is_empty(), "the rest is not covered");
    }

    #[test]
    fn without_overlap_the_chunks_and_the_blanks_between_are_the_text(text in text(), size in 1_u32..40) {
        let joined: String = chunks(size, 0, &text).concat();
        let without_blanks = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        prop_assert_eq!(without_blanks(&joined), without_blanks(&text));
    }
}
