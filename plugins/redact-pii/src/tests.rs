//! Recall and precision on `corpus.txt`, the traps one by one, and laws.

use lakehouse_sdk::testing;
use proptest::prelude::*;

use super::*;

const CORPUS: &str = include_str!("../corpus.txt");
const RECALL: f64 = 0.98;
const PRECISION: f64 = 0.95;

/// A line without its marks, and what they say is to be found.
fn unmarked(line: &str) -> (String, Vec<Found>) {
    let (mut text, mut expected) = (String::new(), Vec::new());
    let mut parts = line.split('⟦');
    text.push_str(parts.next().unwrap());
    for part in parts {
        let (marked, after) = part.split_once('⟧').expect("a mark ends");
        let (kind, marked) = marked.split_once(':').expect("a mark names its kind");
        let kind = match kind {
            "email" => Kind::Email,
            "phone" => Kind::Phone,
            "card" => Kind::Card,
            "ssn" => Kind::Ssn,
            other => panic!("unknown kind {other}"),
        };
        let start = text.len();
        text.push_str(marked);
        expected.push(Found { kind, start, end: text.len() });
        text.push_str(after);
    }
    (text, expected)
}

fn lines() -> impl Iterator<Item = (String, Vec<Found>)> {
    CORPUS.lines().filter(|line| !line.starts_with("##")).map(unmarked)
}

fn clean(text: &str) -> String {
    let pii = Pii::open("{}").unwrap();
    testing::redact(&pii, [text]).unwrap().remove(0).unwrap()
}

/// A finding counts only with the right kind and exactly the marked span.
#[test]
fn recall_and_precision_on_the_corpus() {
    let (mut hits, mut misses, mut extras, mut count) = (0_u32, 0_u32, 0_u32, 0_u32);
    for (text, expected) in lines() {
        count += 1;
        let found = find(&text);
        let show = |found: &Found| format!("{:?} {:?}", found.kind, &text[found.start..found.end]);
        for missed in expected.iter().filter(|e| !found.contains(e)) {
            println!("missed {} in {text}", show(missed));
            misses += 1;
        }
        for extra in found.iter().filter(|f| !expected.contains(f)) {
            println!("extra  {} in {text}", show(extra));
            extras += 1;
        }
        hits += u32::try_from(found.iter().filter(|f| expected.contains(f)).count()).unwrap();
    }
    let (recall, precision) = (f64::from(hits) / f64::from(hits + misses), f64::from(hits) / f64::from(hits + extras));
    println!("{count} lines, {} spans: recall {recall:.4}, precision {precision:.4}", hits + misses);
    assert!(count >= 300, "the corpus has {count} lines");
    assert!(recall >= RECALL && precision >= PRECISION, "recall {recall:.4}, precision {precision:.4}");
}

#[test]
fn findings_are_replaced_and_the_rest_stays() {
    assert_eq!(
        clean("Äsa: asa@x.se, 070-555 01 23; card 4242 4242 4242 4242, SSN 219-09-9999. Ünd?"),
        "Äsa: [email], [phone]; card [card], SSN [ssn]. Ünd?"
    );
    assert_eq!(clean("nothing here"), "nothing here");
    assert_eq!(clean(""), "");
}

#[test]
fn kinds_can_be_chosen_and_do_not_change_what_is_found() {
    let phones = Pii::open(r#"{"kinds": ["phone"]}"#).unwrap();
    let text = "a@b.com 4242 4242 4242 4242 tel 614-555-0137";
    assert_eq!(phones.redact_value(text), "a@b.com 4242 4242 4242 4242 tel [phone]");
    assert!(Pii::open(r#"{"kinds": []}"#).unwrap_err().to_string().contains("at least one kind"));
    assert!(Pii::open(r#"{"kinds": ["iban"]}"#).unwrap_err().to_string().contains("must be one of"));
}

#[test]
fn the_check_digit_counts() {
    assert!(card::luhn("4111111111111111") && !card::luhn("4111111111111112"));
    assert_eq!(clean("4111 1111 1111 1111"), "[card]");
    assert_eq!(clean("4111 1111 1111 1112"), "4111 1111 1111 1112");
}

#[test]
fn long_and_odd_inputs_end_soon() {
    let pieces = ["1 ", "@", "(", "a@b.", "a@b.com ", "a)@b.com", "a@b.com 614-555-0137 ", " at ", " dot ", "+1-", "x-at-", "//"];
    for piece in pieces {
        let text = piece.repeat(100_000);
        let start = std::time::Instant::now();
        find(&text);
        assert!(start.elapsed() < std::time::Duration::from_secs(2), "{piece}");
    }
}

fn texts() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        "[a-z]{1,8}",
        "[0-9]{1,12}",
        "\\PC{0,4}",
        proptest::sample::select(vec![
            "@",
            ".",
            " at ",
            " dot ",
            "(at)",
            "-",
            "+",
            "(",
            ")",
            " ",
            "tel ",
            "ext. ",
            "4111 1111 1111 1111",
            "614-555-0137",
            "jane@acme.com",
            "219-09-9999",
            "é",
            "電話",
            "\n",
            ":",
            "x",
            "#",
            "%40",
            "//",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(pieces, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn findings_are_in_order_apart_and_on_character_boundaries(text in texts()) {
        let mut end = 0;
        for found in find(&text) {
            prop_assert!(end <= found.start && found.start < found.end && found.end <= text.len());
            prop_assert!(text.is_char_boundary(found.start) && text.is_char_boundary(found.end));
            end = found.end;
        }
    }

    #[test]
    fn what_was_found_is_gone_and_the_rest_is_left(text in texts()) {
        let mut expected = String::new();
        let mut from = 0;
        for found in find(&text) {
            expected.push_str(&text[from..found.start]);
            expected.push_str(found.kind.replacement());
            from = found.end;
        }
        expected.push_str(&text[from..]);
        prop_assert_eq!(clean(&text), expected);
    }
}

/// Not a test of anything but time: `cargo test --release -p redact-pii -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn nanoseconds_a_byte() {
    let texts: Vec<String> = lines().map(|(text, _)| text).collect();
    let bytes: usize = texts.iter().map(String::len).sum();
    let start = std::time::Instant::now();
    let rounds = 200_u32;
    let found: usize = (0..rounds).map(|_| texts.iter().map(|text| find(text).len()).sum::<usize>()).sum();
    let nanoseconds = start.elapsed().as_secs_f64() * 1e9 / f64::from(rounds) / bytes as f64;
    println!("{nanoseconds:.2} ns a byte, {} ns a line, {found} found", nanoseconds * bytes as f64 / texts.len() as f64);
}
