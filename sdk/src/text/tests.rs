//! Laws of text editing, against naive references.

use proptest::prelude::*;

use super::*;

fn text_mut(rows: &[Option<String>]) -> TextMut {
    Column::text(rows.iter().map(Option::as_deref)).unwrap().into_text().unwrap()
}

fn strings(text: &TextMut) -> Vec<Option<String>> {
    text.iter().map(|row| row.map(str::to_owned)).collect()
}

/// What the documentation says, said naively.
fn starred(value: &str, prefix: u32, suffix: u32) -> String {
    let (length, prefix, suffix) = (value.chars().count(), prefix as usize, suffix as usize);
    let hidden = |at: usize| length <= prefix.saturating_add(suffix) || (at >= prefix && at < length - suffix);
    value.chars().enumerate().map(|(at, character)| if hidden(at) { '*' } else { character }).collect()
}

fn check_stars(value: &str, prefix: u32, suffix: u32, expected: &str) {
    let mut text = text_mut(&[Some(value.to_owned())]);
    text.star_between(prefix, suffix);
    assert_eq!(text.get(0), Some(expected));
}

#[test]
fn stars_count_characters() {
    check_stars("CAND-000001", 3, 2, "CAN******01");
    check_stars("CAND-", 3, 2, "*****");
    check_stars("CAND-0", 3, 2, "CAN*-0");
    check_stars("", 3, 2, "");
    check_stars("abc", 0, 0, "***");
    check_stars("abc", u32::MAX, u32::MAX, "***");
    check_stars("日本語テキスト", 1, 2, "日****スト");
    check_stars("é", 0, 1, "*");
    check_stars("zażółć gęślą", 2, 0, "za**********");
    check_stars(&"x".repeat(100), 1, 1, &format!("x{}x", "*".repeat(98)));
}

#[test]
fn buffers_that_lie_are_refused() {
    let refused = |offsets: &[i32], data: &[u8]| {
        let varlen = Varlen { offsets: offsets.to_vec(), data: data.to_vec() };
        TextMut::new(varlen, None).is_err()
    };
    assert!(refused(&[], b""));
    assert!(refused(&[1, 2], b"ab"));
    assert!(refused(&[0, 1], b"ab"));
    assert!(refused(&[0, 3], b"ab"));
    assert!(refused(&[0, 2, 1, 2], b"ab"));
    assert!(refused(&[0, -1, 2], b"ab"));
    assert!(refused(&[0, 2], &[b'a', 0xff]));
    assert!(refused(&[0, 1, 2], "é".as_bytes()));
    assert!(!refused(&[0], b""));
    assert!(!refused(&[0, 0, 2], "é".as_bytes()));
}

#[test]
fn what_lies_under_a_null_is_blanked() {
    let varlen = Varlen { offsets: vec![0, 6, 7], data: b"secretx".to_vec() };
    let mut text = TextMut::new(varlen, Some([false, true].into_iter().collect())).unwrap();
    text.star_between(3, 3);
    let Values::Text(varlen) = text.into_column().values else { panic!() };
    assert!(!varlen.data.windows(3).any(|window| window == b"sec"));
}

#[test]
fn a_value_can_be_made_null_and_leaves_nothing() {
    let mut text = text_mut(&[Some("secret".into()), Some("b".into())]);
    text.set_null(0);
    assert_eq!(strings(&text), [None, Some("b".into())]);
    let Values::Text(varlen) = text.into_column().values else { panic!() };
    assert_eq!(varlen.data, b"      b");
}

#[test]
fn map_leaves_the_buffers_alone_when_nothing_changes() {
    let mut text = text_mut(&[Some("a".into()), None, Some("é".into())]);
    let before = text.data.as_ptr();
    text.map(|value| Cow::Borrowed(value)).unwrap();
    assert_eq!(text.data.as_ptr(), before);
    text.map(|value| Cow::Borrowed(&value[..0])).unwrap();
    assert_eq!(strings(&text), [Some(String::new()), None, Some(String::new())]);
}

fn rows() -> impl Strategy<Value = Vec<Option<String>>> {
    let value = prop_oneof![3 => "[ -~]{0,40}", 1 => "\\PC{0,12}", 1 => "[a-zé日𝄞]{0,40}"];
    proptest::collection::vec(proptest::option::weighted(0.85, value), 0..40)
}

proptest! {
    #[test]
    fn stars_are_what_the_naive_reference_says(rows in rows(), prefix in 0_u32..8, suffix in 0_u32..8) {
        let mut text = text_mut(&rows);
        text.star_between(prefix, suffix);
        let expected: Vec<_> = rows.iter().map(|row| row.as_deref().map(|value| starred(value, prefix, suffix))).collect();
        prop_assert_eq!(strings(&text), expected);
    }

    #[test]
    fn starring_again_changes_nothing(rows in rows(), prefix in 0_u32..8, suffix in 0_u32..8) {
        let mut once = text_mut(&rows);
        once.star_between(prefix, suffix);
        let mut twice = once.clone();
        twice.star_between(prefix, suffix);
        prop_assert_eq!(strings(&twice), strings(&once));
    }

    #[test]
    fn map_and_rewrite_are_the_plain_loop(rows in rows(), salt in 0_usize..5) {
        // Some values stay, some shrink, some grow, some become other text of the same length.
        let change = |value: &str| match (value.len() + salt) % 5 {
            0 | 1 => value.to_owned(),
            2 => String::new(),
            3 => format!("<{value}é>"),
            _ => value.to_lowercase(),
        };
        let expected: Vec<_> = rows.iter().map(|row| row.as_deref().map(change)).collect();
        let (mut mapped, mut rewritten) = (text_mut(&rows), text_mut(&rows));
        mapped.map(|value| {
            let new = change(value);
            if new == value { Cow::Borrowed(value) } else { Cow::Owned(new) }
        }).unwrap();
        rewritten.rewrite(|value, out| out.push_str(&change(value))).unwrap();
        prop_assert_eq!(strings(&mapped), expected.clone());
        prop_assert_eq!(strings(&rewritten), expected);
    }

    #[test]
    fn every_edit_leaves_what_the_next_reader_accepts(rows in rows(), prefix in 0_u32..4) {
        let mut text = text_mut(&rows);
        text.star_between(prefix, 1);
        text.map(|value| if value.len() % 2 == 0 { Cow::Borrowed(value) } else { Cow::Borrowed("ü") }).unwrap();
        text.rewrite(|value, out| out.push_str(value.trim())).unwrap();
        let ascii = text.ascii;
        let Column { values: Values::Text(varlen), validity } = text.into_column() else { panic!() };
        let again = TextMut::new(varlen, validity).unwrap();
        prop_assert_eq!(again.rows(), rows.len());
        prop_assert_eq!(again.ascii, ascii);
        prop_assert!((0..rows.len()).all(|row| again.is_null(row) == rows[row].is_none()));
    }
}
