//! The mask as a rule: its configuration, its text forms, its laws through the harness.

use lakehouse_sdk::{Column, Values, testing};
use proptest::prelude::*;

use super::*;

fn masked(prefix: u32, suffix: u32, value: &str) -> String {
    let mask = Mask { keep_prefix: prefix, keep_suffix: suffix };
    testing::redact(&mask, [value]).unwrap().remove(0).unwrap()
}

#[test]
fn the_example_of_the_documentation() {
    let mask = Mask::open(r#"{"keep_prefix": 3, "keep_suffix": 2}"#).unwrap();
    let rows = [Some("CAND-000001"), None, Some("CAND-"), Some("")];
    let expected = [Some("CAN******01".to_owned()), None, Some("*****".to_owned()), Some(String::new())];
    assert_eq!(testing::redact(&mask, rows).unwrap(), expected);
}

#[test]
fn without_a_configuration_nothing_is_shown() {
    let mask = Mask::open("{}").unwrap();
    assert_eq!(testing::redact(&mask, ["abc"]).unwrap(), [Some("***".to_owned())]);
}

#[test]
fn mistakes_are_named() {
    let check = |config: &str, expected: &str| assert_eq!(testing::config_error::<Mask>(config), expected);
    check(r#"{"keep_prefx": 3}"#, r#"unknown key "keep_prefx"; known keys: "keep_prefix", "keep_suffix""#);
    check(r#"{"keep_prefix": -1}"#, r#""keep_prefix" must be a whole number from 0 to 4294967295, not this number"#);
}

#[test]
fn numbers_and_dates_are_masked_in_their_text_form() {
    let mask = Mask { keep_prefix: 1, keep_suffix: 1 };
    let check = |values: Values, expected: &str| {
        let column = testing::redact_column(&mask, &Column::of(values)).unwrap();
        assert_eq!(column.get_text(0), Some(expected));
    };
    check(Values::Int64(vec![-1234]), "-***4");
    check(Values::Float64(vec![12.5]), "1**5");
    check(Values::Boolean(vec![1]), "t**e");
    check(Values::Date32(vec![0]), "1********1");
}

proptest! {
    #[test]
    fn the_length_in_characters_stays_and_only_the_ends_are_shown(value in "\\PC{0,30}", prefix in 0_u32..6, suffix in 0_u32..6) {
        let masked: Vec<char> = masked(prefix, suffix, &value).chars().collect();
        let value: Vec<char> = value.chars().collect();
        let (prefix, suffix) = (prefix as usize, suffix as usize);
        prop_assert_eq!(masked.len(), value.len());
        if value.len() <= prefix + suffix {
            prop_assert!(masked.iter().all(|&c| c == '*'));
        } else {
            let tail = value.len() - suffix;
            prop_assert_eq!(&masked[..prefix], &value[..prefix]);
            prop_assert_eq!(&masked[tail..], &value[tail..]);
            prop_assert!(masked[prefix..tail].iter().all(|&c| c == '*'));
        }
    }
}

/// Not a test of anything but time: `cargo test --release -p redact-mask -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn nanoseconds_a_row() {
    let mask = Mask { keep_prefix: 3, keep_suffix: 2 };
    let measure = |name: &str, value: &dyn Fn(usize) -> String| {
        let texts: Vec<String> = (0..8192).map(value).collect();
        let column = Column::text(texts.iter().map(String::as_str)).unwrap();
        let mut times: Vec<f64> = (0..200)
            .map(|_| {
                let input = column.clone();
                let start = std::time::Instant::now();
                let output = mask.redact_column(input).unwrap();
                let elapsed = start.elapsed();
                assert_eq!(output.rows(), 8192);
                elapsed.as_secs_f64() * 1e9 / 8192.0
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("{name}: {:.2} ns/row (median), {:.2} (best)", times[100], times[0]);
    };
    measure("ids", &|row| format!("CAND-{row:06}"));
    measure("mixed lengths", &|row| "x".repeat(row * 7 % 40));
    measure("one accent in 100 rows", &|row| format!("CAND{}-{row:06}", if row % 100 == 0 { "é" } else { "e" }));
    measure("all accented", &|row| format!("ÇÄÑD-{row:06}"));
}
