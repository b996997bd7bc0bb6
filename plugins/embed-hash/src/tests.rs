//! The laws of the vectors, and what "lexical" means in a few sentences.

use lakehouse_sdk::testing;
use proptest::prelude::*;

use super::*;

fn vectors(texts: &[&str]) -> Vec<Vec<f32>> {
    testing::embed(&EmbedHash {}, texts.iter().copied()).unwrap()
}

fn cosine(a: &str, b: &str) -> f32 {
    let both = vectors(&[a, b]);
    both[0].iter().zip(&both[1]).map(|(a, b)| a * b).sum()
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|number| number * number).sum::<f32>().sqrt()
}

#[test]
fn shared_words_and_shared_pieces_make_texts_similar() {
    let job = "night-shift forklift operator";
    assert!(cosine(job, "Forklift operator, nights") > 0.5);
    assert!(cosine(job, "operators of forklifts on the night shift") > 0.4);
    assert!(cosine(job, "pediatric nurse in a day clinic") < 0.2);
    assert!(cosine("forklift", "forklifts") > 0.4 && cosine("weld", "welding") > 0.2);
    assert!(cosine("Straße", "STRASSE") < 1.0 && cosine("ÉCOLE", "école") > 0.999, "case is folded, spelling is not");
    assert!(cosine("physician", "doctor") < 0.2, "it is lexical: meaning plays no part");
}

#[test]
fn among_several_texts_the_one_with_the_words_is_the_nearest() {
    let texts = [
        "Warehouse associate with five years of reach truck and forklift driving, mostly nights.",
        "Registered nurse, intensive care, day shifts, bilingual.",
        "Accountant for payroll and taxes in a mid-sized firm.",
        "Welder with certificates for MIG and TIG, ready to travel.",
    ];
    for (question, nearest) in
        [("forklift nights", 0), ("intensive care nurse", 1), ("payroll accountant", 2), ("TIG welding", 3)]
    {
        let best = (0..texts.len()).max_by(|&a, &b| cosine(question, texts[a]).total_cmp(&cosine(question, texts[b])));
        assert_eq!(best, Some(nearest), "{question}");
    }
}

#[test]
fn order_and_punctuation_say_nothing_and_repetition_a_little() {
    assert!(cosine("alpha, beta!", "beta alpha") > 0.999);
    let (once, often) = (cosine("alpha beta", "alpha"), cosine("alpha alpha alpha beta", "alpha"));
    assert!(once < often && often < 0.999, "{once} {often}");
}

#[test]
fn a_text_without_letters_or_digits_is_the_zero_vector() {
    for text in ["", "   ", "—…!?", "\u{1F600}"] {
        assert!(vectors(&[text])[0].iter().all(|&number| number == 0.0), "{text:?}");
    }
}

#[test]
fn vectors_never_change() {
    // Indexes hold old vectors: whoever changes these numbers makes another embedder.
    let vector = &vectors(&["night-shift forklift operator"])[0];
    let largest: Vec<(usize, f32)> = {
        let mut places: Vec<(usize, f32)> = vector.iter().copied().enumerate().collect();
        places.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
        places.truncate(4);
        places.into_iter().map(|(place, number)| (place, (number * 1e4).round() / 1e4)).collect()
    };
    assert_eq!(largest, [(110, -0.4006), (215, 0.4006), (52, -0.3082), (316, -0.3082)]);
}

#[test]
fn there_is_nothing_to_configure() {
    assert!(EmbedHash::open("{}").is_ok());
    assert!(testing::config_error::<EmbedHash>(r#"{"dimensions": 64}"#).contains(r#"unknown key "dimensions""#));
}

proptest! {
    #[test]
    fn vectors_are_finite_and_of_length_one_or_zero(texts in prop::collection::vec("\\PC{0,60}", 0..6)) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        for (text, vector) in texts.iter().zip(vectors(&texts)) {
            prop_assert_eq!(vector.len(), DIMENSIONS as usize);
            prop_assert!(vector.iter().all(|number| number.is_finite()));
            if text.chars().any(char::is_alphanumeric) {
                // Features may cancel each other out, if there are very few.
                let length = length(&vector);
                prop_assert!((length - 1.0).abs() < 1e-5 || length == 0.0, "{length}");
            } else {
                prop_assert_eq!(length(&vector), 0.0);
            }
        }
    }

    #[test]
    fn words_in_another_order_or_case_are_the_same_text(words in prop::collection::vec("[a-z0-9é]{1,9}", 1..12)) {
        let (plain, mut turned) = (words.join(" "), words);
        turned.reverse();
        let similarity = cosine(&plain, &turned.join(", ").to_uppercase());
        prop_assert!(similarity > 0.9999 || similarity == 0.0, "{similarity}");
    }
}
