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

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(clean(text), expected, "{text}");
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

/// An extension is what is left when it is no number of its own and no part of an address.
#[test]
fn what_follows_a_phone_number_is_redacted_once_and_as_what_it_is() {
    check("Phone: 614-555-0137 Ext: 614-555-0199", "Phone: [phone] Ext: [phone]");
    check("614-555-0137 ext 219-09-9999", "[phone] ext [ssn]");
    check("614-555-0137 # 614-555-0199", "[phone] # [phone]");
    check("614-555-0137 x12@foo.com", "[phone] [email]");
    check("Tel 614-555-0137, x99.smith@example.com", "Tel [phone], [email]");
    check("614-555-0137x614-555-0199", "[phone]x[phone]");
    check("614-555-0137 ext 4111 1111 1111 1111", "[phone] ext [card]");
    check("614-555-0137 ext 555-0199", "[phone] ext [phone]");
    check("614-555-0137 x7 2024-05-01", "[phone] 2024-05-01");
    check("614-555-0137 # 03/14/2024", "[phone] # 03/14/2024");
    check("614-555-0137 ext 12.5", "[phone] ext 12.5");
    check("614-555-0137 ext 5, naïve", "[phone], naïve");
    check("614-555-0137, ext. 12. Ask for Ana", "[phone]. Ask for Ana");
    check("614-555-0137ext5", "[phone]");
    check("614-555-0137 x12/614-555-0138 x13", "[phone]/[phone]");
}

#[test]
fn a_phone_number_ends_where_a_card_or_a_social_security_number_starts() {
    check("tel 614-555-0137 4111 1111 1111 1111", "tel [phone] [card]");
    check("tel 614 555 0137 219-09-9999", "tel [phone] [ssn]");
    check("4242 4242 4242 4242 614-555-0137", "[card] [phone]");
}

#[test]
fn the_second_number_of_a_pair_is_found() {
    check("614-555-0137/614-555-0138", "[phone]/[phone]");
    check("SSN 219-09-9999/220-09-9999", "SSN [ssn]/[ssn]");
    check("4111 1111 1111 1111/5500 0000 0000 0004", "[card]/[card]");
    check("jane@acme.com/614-555-0137", "[email]/[phone]");
    check("614-555-0137 - 614-555-0138", "[phone] - [phone]");
    check("219-09-9999,614-555-0137", "[ssn],[phone]");
    check("1042,614-555-0137,x", "1042,[phone],x");
    check("(cell 614-555-0137) 614-555-0138", "(cell [phone]) [phone]");
    check("called (614-555-0137) 3 times", "called ([phone]) 3 times");
    check("(since 2019) 614-555-0137", "(since 2019) [phone]");
    check("jane@acme.com614-555-0137", "[email][phone]");
    check("Mobil: 0171 / 1234567, 0172 / 7654321", "Mobil: [phone], [phone]");
}

/// Runs of digits are cut after so many groups.
#[test]
fn a_number_at_the_end_of_a_long_table_is_found() {
    for cells in 40..140 {
        let table = "7 ".repeat(cells);
        check(&format!("{table}614-555-0137"), &format!("{table}[phone]"));
    }
}

#[test]
fn a_sign_or_a_word_glued_to_a_number_hides_none_that_it_announces() {
    check("Phone #614-555-0137", "Phone #[phone]");
    check("Cell#614-555-0137", "Cell#[phone]");
    check("SSN: #219-09-9999", "SSN: #[ssn]");
    check("SSN#219-09-9999", "SSN#[ssn]");
    check("CC #4111 1111 1111 1111", "CC #[card]");
    check("SSN219-09-9999", "SSN[ssn]");
    check("SSN219099999", "SSN[ssn]");
    check("Tel614-555-0137", "Tel[phone]");
    check("Tel(614)555-0137", "Tel[phone]");
    check("Tel+16145550137", "Tel[phone]");
    check("visa4111111111111111", "visa[card]");
    check("CC4111 1111 1111 1111", "CC[card]");
    check("employee_ssn_219-09-9999", "employee_ssn_[ssn]");
    check(r"Jane\n614-555-0137\t219-09-9999", r"Jane\n[phone]\t[ssn]");
    check("phone_number_6145550137.txt", "phone_number_[phone].txt");
    check("SSN-219-09-9999, visa/4111111111111111", "SSN-[ssn], visa/[card]");
    for text in [
        "order #614-555-0137",
        "item #219-09-9999",
        "see #6145550137",
        "call AB6145550137",
        "SSN on file, badge KX219099999",
        "x12A219-09-9999",
        "IBAN DE55 0000 0000 0000 0400 00",
        "example.com/posts/4111111111111111",
        "3f4a4111111111111111",
    ] {
        check(text, text);
    }
}

#[test]
fn cards_are_found_as_they_are_written_and_with_what_is_written_after() {
    check("4111  1111  1111  1111", "[card]");
    check("4111-1111-1111-1111-12/27", "[card]-12/27");
    check("4111111111111111-123", "[card]-123");
    check("cc:4111111111111111:12/27:123", "cc:[card]:12/27:123");
    check("102  614-555-0137  33", "102  [phone]  33");
    check("12  4155552671", "12  [phone]");
    check("02  555  0123", "02  555  0123");
}

#[test]
fn local_parts_may_be_quoted_or_end_with_a_dot() {
    check("jane.@acme.com", "[email]");
    check(r#"cc "jane doe"@acme.com."#, "cc [email].");
    check("Thanks...@jay.smith", "Thanks...@jay.smith");
    check(r#"{"handle":"@jay.smith"}"#, r#"{"handle":"@jay.smith"}"#);
}

#[test]
fn full_width_forms_are_read_as_their_plain_kin() {
    check("電話：０９０－５５５０－１２３４。", "電話：[phone]。");
    check("ＳＳＮ　２１９-０９-９９９９, ４１１１１１１１１１１１１１１１", "ＳＳＮ　[ssn], [card]");
    check("é jane＠acme.com、ｊａｎｅ＠ａｃｍｅ．ｃｏｍ é", "é [email]、[email] é");
    check("هاتف +٩٧١ ٥٠ ٥٥٥ ٠١٢٢", "هاتف [phone]");
}

fn assert_apart(found: &[Found]) {
    for pair in found.windows(2) {
        assert!(pair[0].end <= pair[1].start, "{pair:?}");
    }
}

/// A megabyte each: what looks at all of the text again for each number or sign takes minutes.
#[test]
fn long_and_odd_inputs_end_soon() {
    let pieces = [
        ("", "1 "),
        ("", "@"),
        ("", "("),
        ("", "a@b."),
        ("", "a@b.com "),
        ("", "a)@b.com"),
        ("", "a@b.com 614-555-0137 "),
        ("", " at "),
        ("", " dot "),
        ("", "+1-"),
        ("", "x-at-"),
        ("", "//"),
        ("", "tel "),
        ("", "tel: ssn #"),
        ("", "tel6145550137 "),
        ("", "ssn_"),
        ("", "x"),
        ("", "x1"),
        ("", "614-555-0137 x"),
        ("", "614-555-0137 x1 "),
        ("614-555-0137 ext ", "1 "),
        ("614-555-0137 x", " "),
        ("614-555-0137 x", "1"),
        ("", "614-555-0137/"),
        ("", "219-09-9999#"),
        ("", "4111 1111 1111 1111-"),
        ("4111", "  1111"),
        ("", "\"@b.com"),
        ("\"", "a @b.com"),
        ("x://", ":a@b.com"),
        ("x://", "a(dot):a@b.com"),
        ("", "a(dot)"),
        ("", "１＠ａ．"),
    ];
    for (head, piece) in pieces {
        let text = head.to_owned() + &piece.repeat(1_000_000 / piece.len());
        let start = std::time::Instant::now();
        assert_apart(&find(&text));
        assert!(start.elapsed() < std::time::Duration::from_secs(10), "{head}{piece}");
    }
}

#[test]
fn of_two_findings_that_overlap_one_is_left_that_covers_both() {
    let found = |kind, start, end| Found { kind, start, end };
    let overlapping = vec![
        found(Kind::Ssn, 20, 25),
        found(Kind::Phone, 0, 12),
        found(Kind::Email, 10, 30),
        found(Kind::Card, 30, 40),
        found(Kind::Phone, 30, 31),
    ];
    assert_eq!(find::apart(overlapping), [found(Kind::Email, 0, 30), found(Kind::Card, 30, 40)]);
}

const NUMBERS: &[&str] =
    &["614-555-0137", "(614) 555-0138", "+1 614 555 0139", "219-09-9999", "4111 1111 1111 1111", "5500-0000-0000-0004"];

const JOINTS: &[&str] = &[
    " ext ", " ext. ", "ext", " x", "x", "# ", " #", " # ", "/", " / ", " ", ", ", ",", "; ", "\n", " - ", " or ", " cell ", ": ",
];

fn texts() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        "[a-z]{1,8}",
        "[0-9]{1,12}",
        "\\PC{0,4}",
        proptest::sample::select(JOINTS).prop_map(str::to_owned),
        proptest::sample::select(NUMBERS).prop_map(str::to_owned),
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
            "  ",
            "_",
            "\"",
            "tel ",
            "ssn",
            "visa",
            "jane@acme.com",
            "x12@foo.com",
            "@foo.com",
            "jane.",
            "é",
            "電話",
            "１２",
            "＠",
            "\n",
            ":",
            "%40",
            "//",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(pieces, 0..16).prop_map(|pieces| pieces.concat())
}

/// `text` with its findings replaced by hand.
fn replaced(text: &str, found: &[Found]) -> String {
    let (mut clean, mut from) = (String::new(), 0);
    for found in found {
        clean.push_str(&text[from..found.start]);
        clean.push_str(found.kind.replacement());
        from = found.end;
    }
    clean + &text[from..]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]

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
        let found = find(&text);
        prop_assert_eq!(clean(&text), replaced(&text, &found));
        let phones = Pii { kinds: vec![Kind::Phone] };
        let found: Vec<Found> = found.into_iter().filter(|found| found.kind == Kind::Phone).collect();
        prop_assert_eq!(phones.redact_value(&text), replaced(&text, &found));
    }

    #[test]
    fn of_numbers_that_follow_one_another_none_is_visible(
        first in proptest::sample::select(NUMBERS),
        rest in proptest::collection::vec((proptest::sample::select(JOINTS), proptest::sample::select(NUMBERS)), 0..6),
    ) {
        let text = rest.iter().fold(first.to_owned(), |text, (joint, number)| text + joint + number);
        let clean = clean(&text);
        prop_assert!(!clean.contains(|c: char| c.is_ascii_digit()), "{} became {}", text, clean);
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
