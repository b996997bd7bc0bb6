//! One text as a typed value, and which types a text could have.
//!
//! Inference is conservative: what would not read the same when written back stays text: `007`, `+49 30`, `1e5` (an id as often as
//! a number), integers beyond 64 bits.
//!
//! **Invariant**: a text that [`Kinds::of`] admits to a type parses as that type.

use arrow::datatypes::{DataType, TimeUnit};
use chrono::{NaiveDate, NaiveTime};

/// Set of types that a text could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kinds(u8);

impl Kinds {
    const BOOLEAN: u8 = 1;
    const INTEGER: u8 = 2;
    const FLOAT: u8 = 4;
    const DATE: u8 = 8;
    const LOCAL: u8 = 16;
    const INSTANT: u8 = 32;

    /// Any type: nothing was seen.
    pub(crate) const ANY: Self = Self(u8::MAX);
    /// Text alone.
    pub(crate) const TEXT: Self = Self(0);

    /// The types that `text` could have, beside text.
    pub(crate) fn of(text: &[u8]) -> Self {
        let bits = match text.first() {
            Some(b't' | b'T' | b'f' | b'F') if boolean(text).is_some() => Self::BOOLEAN,
            Some(b'N' | b'I' | b'i') if special_float(text).is_some() => Self::FLOAT,
            Some(b'-' | b'.' | b'0'..=b'9') => number_or_moment(text),
            _ => 0,
        };
        Self(bits)
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The narrowest type of the set; `Null` if nothing was seen.
    pub(crate) fn data_type(self) -> DataType {
        let has = |kind| self.0 & kind != 0;
        match self {
            Self::ANY => DataType::Null,
            _ if has(Self::BOOLEAN) => DataType::Boolean,
            _ if has(Self::INTEGER) => DataType::Int64,
            _ if has(Self::FLOAT) => DataType::Float64,
            _ if has(Self::DATE) => DataType::Date32,
            _ if has(Self::LOCAL) => DataType::Timestamp(TimeUnit::Microsecond, None),
            _ if has(Self::INSTANT) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            _ => DataType::Utf8,
        }
    }
}

fn number_or_moment(text: &[u8]) -> u8 {
    if text.len() >= 10 && text[4] == b'-' {
        return if date(text).is_some() {
            Kinds::DATE | Kinds::LOCAL
        } else {
            match moment(text) {
                Some(Moment { has_zone: false, .. }) => Kinds::LOCAL,
                Some(Moment { has_zone: true, .. }) => Kinds::INSTANT,
                None => 0,
            }
        };
    }
    number(text)
}

/// Digits that a 64-bit float holds for sure when they come from one.
const FLOAT_DIGITS: usize = 17;
/// What numbers are called.
pub(crate) const INTEGER: &str = "an integer";
pub(crate) const FRACTION: &str = "a fraction";
/// What integers beyond 64 bits are called.
pub(crate) const TOO_LARGE: &str = "an integer too large for 64 bits";
/// Integers up to this are exact as floats.
pub(crate) const FLOAT_INTEGERS: u64 = 1 << 53;

fn number(text: &[u8]) -> u8 {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if whole > 1 && digits[0] == b'0' {
        return 0;
    }
    if whole == digits.len() {
        if digits == b"0" && text.len() == 2 {
            return Kinds::FLOAT;
        }
        return match integer(text) {
            Some(value) if value.unsigned_abs() <= FLOAT_INTEGERS => Kinds::INTEGER | Kinds::FLOAT,
            Some(_) => Kinds::INTEGER,
            None => 0,
        };
    }
    let Some(fraction) = digits[whole..].strip_prefix(b".") else { return 0 };
    let places = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if whole + places == 0 || whole + places > FLOAT_DIGITS + 1 {
        return 0;
    }
    match &fraction[places..] {
        [] => Kinds::FLOAT,
        [b'e' | b'E', exponent @ ..] => {
            let exponent = exponent.strip_prefix(b"-").or_else(|| exponent.strip_prefix(b"+")).unwrap_or(exponent);
            let fits = (1..=3).contains(&exponent.len()) && exponent.iter().all(u8::is_ascii_digit);
            if fits && float(text).is_some_and(f64::is_finite) { Kinds::FLOAT } else { 0 }
        }
        _ => 0,
    }
}

/// What kind of value the text is, for people.
pub(crate) fn kind(text: &[u8]) -> &'static str {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if boolean(text).is_some() {
        "a boolean"
    } else if integer(text).is_some() {
        INTEGER
    } else if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
        if digits.len() > 1 && digits[0] == b'0' { "digits after a leading zero" } else { TOO_LARGE }
    } else if let Some(value) = float(text) {
        if value.is_finite() { FRACTION } else { "a number that is not finite" }
    } else if date(text).is_some() {
        "a date"
    } else {
        match moment(text) {
            Some(Moment { has_zone: false, .. }) => "a timestamp without zone",
            Some(Moment { has_zone: true, .. }) => "a timestamp",
            None => "text",
        }
    }
}

/// `true` or `false` in any case.
pub(crate) fn boolean(text: &[u8]) -> Option<bool> {
    if text.eq_ignore_ascii_case(b"true") {
        Some(true)
    } else if text.eq_ignore_ascii_case(b"false") {
        Some(false)
    } else {
        None
    }
}

/// Decimal digits without leading zeros, with `-` or nothing before them.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_plain = digits.iter().all(u8::is_ascii_digit) && (digits.first() != Some(&b'0') || digits.len() == 1);
    if digits.is_empty() || !is_plain {
        return None;
    }
    if digits.len() <= 18 {
        let value = digits.iter().fold(0_i64, |value, digit| value * 10 + i64::from(digit - b'0'));
        return Some(if digits.len() < text.len() { -value } else { value });
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn special_float(text: &[u8]) -> Option<f64> {
    match text {
        b"NaN" => Some(f64::NAN),
        b"inf" | b"Infinity" => Some(f64::INFINITY),
        _ => None,
    }
}

/// A decimal number, also with an exponent; `NaN`, `inf`, `Infinity`.
pub(crate) fn float(text: &[u8]) -> Option<f64> {
    let plain = text.strip_prefix(b"-").unwrap_or(text);
    match plain.first()? {
        b'0'..=b'9' | b'.' => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => special_float(plain).map(|value| if plain.len() < text.len() { -value } else { value }),
    }
}

fn digits(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + u32::from(digit - b'0')))
}

/// `YYYY-MM-DD` as days since 1970.
pub(crate) fn date(text: &[u8]) -> Option<i32> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *text else { return None };
    let year = i32::try_from(digits(&[y1, y2, y3, y4])?).ok()?;
    let day = NaiveDate::from_ymd_opt(year, digits(&[m1, m2])?, digits(&[d1, d2])?)?;
    Some(day.signed_duration_since(NaiveDate::default()).num_days() as i32)
}

/// A point in time, in microseconds: local time, or UTC where a zone was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) micros: i64,
    pub(crate) has_zone: bool,
}

/// `YYYY-MM-DD[T ]HH:MM[:SS[.f…]]`, then nothing, `Z` or an offset. Digits beyond microseconds are cut.
pub(crate) fn moment(text: &[u8]) -> Option<Moment> {
    const DAY_MICROS: i64 = 86_400_000_000;
    if text.len() < 16 || !matches!(text[10], b'T' | b't' | b' ') || text[13] != b':' {
        return None;
    }
    let days = date(&text[..10])?;
    let (hour, minute) = (digits(&text[11..13])?, digits(&text[14..16])?);
    let mut rest = &text[16..];
    let (mut second, mut micros) = (0, 0);
    if let [b':', tens, ones, after @ ..] = rest {
        second = digits(&[*tens, *ones])?;
        rest = after;
        if let [b'.' | b',', after @ ..] = rest {
            let places = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if !(1..=9).contains(&places) {
                return None;
            }
            let kept = places.min(6);
            micros = digits(&after[..kept])? * 10_u32.pow(6 - kept as u32);
            rest = &after[places..];
        }
    }
    let time = NaiveTime::from_hms_micro_opt(hour, minute, second, micros)?;
    let since_midnight = time.signed_duration_since(NaiveTime::MIN).num_microseconds()?;
    let local = i64::from(days) * DAY_MICROS + since_midnight;
    let offset_minutes = match rest {
        [] => return Some(Moment { micros: local, has_zone: false }),
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, after @ ..] => {
            let minutes = match after {
                [] => 0,
                [b':', m1, m2] | [m1, m2] => digits(&[*m1, *m2])?,
                _ => return None,
            };
            let hours = digits(&[*h1, *h2])?;
            if hours > 14 || minutes > 59 {
                return None;
            }
            let offset = i64::from(hours * 60 + minutes);
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    Some(Moment { micros: local - offset_minutes * 60_000_000, has_zone: true })
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use proptest::prelude::*;

    use super::{Kinds, Moment, date, float, integer, kind, moment};

    fn inferred(texts: &[&str]) -> String {
        let kinds = texts.iter().fold(Kinds::ANY, |kinds, text| kinds.and(Kinds::of(text.as_bytes())));
        lakehouse_tables::friendly(&kinds.data_type())
    }

    #[test]
    fn types_are_inferred_conservatively() {
        let cases: [(&[&str], &str); 28] = [
            (&[], "nothing"),
            (&["1", "-2", "9223372036854775807"], "integer"),
            (&["0", "10"], "integer"),
            (&["-0"], "float"),
            (&["9223372036854775808"], "text"),
            (&["01234"], "text"),
            (&["12345", "01234"], "text"),
            (&["+49"], "text"),
            (&["1", "2.5"], "float"),
            (&["0.5", ".5", "5.", "-1.5e-3"], "float"),
            (&["9007199254740993", "0.5"], "text"),
            (&["00.5"], "text"),
            (&["1e5"], "text"),
            (&["NaN", "1.5", "inf"], "float"),
            (&["nan"], "text"),
            (&["0.12345678901234567890"], "text"),
            (&["1,5"], "text"),
            (&["-", "."], "text"),
            (&["true", "FALSE"], "boolean"),
            (&["true", "yes"], "text"),
            (&["1", "true"], "text"),
            (&["2024-02-29"], "date"),
            (&["2023-02-29"], "text"),
            (&["2024-02-29", "2024-02-29T10:00"], "timestamp without zone"),
            (&["2024-02-29 10:00:00.123Z", "2024-02-29T10:00:00+02:00"], "timestamp"),
            (&["2024-02-29T10:00", "2024-02-29T10:00Z"], "text"),
            (&["24:00"], "text"),
            (&["2024-01-01T25:00"], "text"),
        ];
        for (texts, expected) in cases {
            assert_eq!(inferred(texts), expected, "{texts:?}");
        }
    }

    #[test]
    fn kinds_have_names_for_people() {
        let cases = [
            ("TRUE", "a boolean"),
            ("-12", "an integer"),
            ("9223372036854775808", "an integer too large for 64 bits"),
            ("007", "digits after a leading zero"),
            ("1.5", "a fraction"),
            ("-inf", "a number that is not finite"),
            ("2024-02-29", "a date"),
            ("2024-02-29 10:00", "a timestamp without zone"),
            ("2024-02-29 10:00Z", "a timestamp"),
            ("-", "text"),
            ("1,5", "text"),
        ];
        for (text, expected) in cases {
            assert_eq!(kind(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn moments_are_microseconds_in_utc() {
        assert_eq!(date(b"1969-12-31"), Some(-1));
        assert_eq!(moment(b"1970-01-01T00:00:01.5"), Some(Moment { micros: 1_500_000, has_zone: false }));
        assert_eq!(moment(b"1970-01-01T02:00:00+02:00"), Some(Moment { micros: 0, has_zone: true }));
        assert_eq!(moment(b"1970-01-01 00:00:00.123456789Z").unwrap().micros, 123_456);
        for bad in ["1970-01-01T00:00:00.", "1970-01-01T00:00Zx", "1970-01-01T00:00:00+15:00", "1970-01-01T00:60"] {
            assert_eq!(moment(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn integers_read_as_they_are_written(value: i64) {
            let text = value.to_string();
            prop_assert_eq!(integer(text.as_bytes()), Some(value));
            prop_assert_eq!(Kinds::of(text.as_bytes()).data_type(), DataType::Int64);
        }

        #[test]
        fn floats_read_as_they_are_written(value: f64) {
            let text = format!("{value:?}");
            if let Some(read) = float(text.as_bytes()) {
                prop_assert!(read == value || read.is_nan() && value.is_nan());
            }
        }

        #[test]
        fn what_is_admitted_to_a_type_parses_as_it(text in "[-+0-9.eETZ: trufalsNInity]{0,24}") {
            let bytes = text.as_bytes();
            match Kinds::of(bytes).data_type() {
                DataType::Int64 => prop_assert_eq!(integer(bytes).map(|value| value.to_string()), Some(text)),
                DataType::Float64 => prop_assert!(float(bytes).is_some()),
                DataType::Date32 => prop_assert!(date(bytes).is_some()),
                DataType::Timestamp(_, zone) => prop_assert_eq!(moment(bytes).map(|moment| moment.has_zone), Some(zone.is_some())),
                _ => {}
            }
        }
    }
}
