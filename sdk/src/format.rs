//! The text form of values that are not text.
//!
//! **Invariant**: equal to what `CAST(x AS VARCHAR)` prints in the host's SQL for integers, floats, booleans and dates, so that
//! what a rule hashes can be recomputed; the tests pin the forms. Timestamps differ on purpose: they say that they are UTC.

use std::fmt::Write as _;

use crate::{Bitmap, Error, TextMut, Values, Varlen};

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Null rows become empty text under the same bitmap.
pub(crate) fn to_text(values: &Values, validity: Option<Bitmap>) -> Result<TextMut, Error> {
    let rows = values.rows();
    let mut out = String::with_capacity(rows * 12);
    let mut offsets = Vec::with_capacity(rows + 1);
    offsets.push(0);
    for row in 0..rows {
        if validity.as_ref().is_none_or(|bits| bits.get(row)) {
            match values {
                Values::Text(v) => out.push_str(std::str::from_utf8(v.get(row).unwrap_or_default()).unwrap_or_default()),
                Values::Binary(v) => {
                    hex(v.get(row).ok_or_else(|| Error::at_row(row, "offsets do not describe the buffer"))?, &mut out);
                }
                Values::Int64(v) => integer(v[row], &mut out),
                Values::Float64(v) => float(v[row], &mut out),
                Values::Boolean(v) => out.push_str(if v[row] == 0 { "false" } else { "true" }),
                Values::Date32(v) => date(i64::from(v[row]), &mut out),
                Values::TimestampMicros(v) => timestamp(v[row], &mut out),
            }
        }
        offsets.push(i32::try_from(out.len()).map_err(|_| Error::at_row(row, "more than 2 GiB of text in one column"))?);
    }
    TextMut::new(Varlen { offsets, data: out.into_bytes() }, validity)
}

/// Lower-case hexadecimal.
fn hex(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

fn integer(value: i64, out: &mut String) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push('-');
    }
    out.extend(digits[at..].iter().copied().map(char::from));
}

/// The shortest digits that read back as the same number, as SQL casts and JSON print them: plain between 1e-5 and 1e16, with an
/// exponent beyond; whole numbers keep their `.0`.
fn float(value: f64, out: &mut String) {
    if value.is_finite() {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value);
        // JSON libraries differ on the plus sign of an exponent; SQL casts print none.
        let (digits, exponent) = text.split_once("e+").map_or((text, None), |(digits, exponent)| (digits, Some(exponent)));
        out.push_str(digits);
        if let Some(exponent) = exponent {
            out.push('e');
            out.push_str(exponent);
        }
    } else if value.is_nan() {
        out.push_str("NaN");
    } else {
        out.push_str(if value > 0.0 { "inf" } else { "-inf" });
    }
}

/// ISO 8601; years outside 0 to 9999 are signed and have at least six digits.
fn date(days: i64, out: &mut String) {
    let (year, month, day) = civil(days);
    let _ = if (0..=9999).contains(&year) {
        write!(out, "{year:04}-{month:02}-{day:02}")
    } else {
        write!(out, "{year:+07}-{month:02}-{day:02}")
    };
}

/// RFC 3339 in UTC, with a fraction (three or six digits) only where there is one.
fn timestamp(micros: i64, out: &mut String) {
    date(micros.div_euclid(MICROS_PER_DAY), out);
    let of_day = micros.rem_euclid(MICROS_PER_DAY);
    let (seconds, fraction) = (of_day / 1_000_000, of_day % 1_000_000);
    let _ = write!(out, "T{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let _ = match (fraction, fraction % 1000) {
        (0, _) => Ok(()),
        (_, 0) => write!(out, ".{:03}", fraction / 1000),
        _ => write!(out, ".{fraction:06}"),
    };
    out.push('Z');
}

/// Days since 1970-01-01 as year, month, day of the proleptic Gregorian calendar: `civil_from_days` of Howard Hinnant's
/// "chrono-Compatible Low-Level Date Algorithms".
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &Values, expected: &[&str]) {
        let text = to_text(values, None).unwrap();
        assert_eq!(text.iter().map(Option::unwrap).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn numbers() {
        check(
            &Values::Int64(vec![7, 0, -12, i64::MAX, i64::MIN]),
            &["7", "0", "-12", "9223372036854775807", "-9223372036854775808"],
        );
        check(
            &Values::Float64(vec![7.0, 0.1, -0.0, 1e15, 1e16, 1.5e300, 1e-5, 1.25e-6, f64::NAN, f64::NEG_INFINITY]),
            &["7.0", "0.1", "-0.0", "1000000000000000.0", "1e16", "1.5e300", "0.00001", "1.25e-6", "NaN", "-inf"],
        );
        check(&Values::Boolean(vec![0, 1]), &["false", "true"]);
    }

    #[test]
    fn dates_and_times() {
        check(
            &Values::Date32(vec![0, -1, 19_782, -719_528, 2_932_897]),
            &["1970-01-01", "1969-12-31", "2024-02-29", "0000-01-01", "+010000-01-01"],
        );
        check(
            &Values::TimestampMicros(vec![0, 1_709_209_800_000_000, -1, 1_500]),
            &["1970-01-01T00:00:00Z", "2024-02-29T12:30:00Z", "1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00.001500Z"],
        );
        check(&Values::TimestampMicros(vec![250_000]), &["1970-01-01T00:00:00.250Z"]);
    }

    #[test]
    fn every_date_is_the_day_after_the_one_before() {
        let mut before = civil(-800_000);
        for days in -799_999..800_000 {
            let (year, month, day) = civil(days);
            let leap = before.0 % 4 == 0 && (before.0 % 100 != 0 || before.0 % 400 == 0);
            let length =
                [31, 28 + i64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][usize::try_from(before.1 - 1).unwrap()];
            let expected = match before {
                (y, 12, 31) => (y + 1, 1, 1),
                (y, m, d) if d == length => (y, m + 1, 1),
                (y, m, d) => (y, m, d + 1),
            };
            assert_eq!((year, month, day), expected);
            before = expected;
        }
    }

    #[test]
    fn bytes_are_hexadecimal_and_nulls_are_empty() {
        check(&Values::Binary(Varlen { offsets: vec![0, 2, 2], data: vec![0x0f, 0xa0] }), &["0fa0", ""]);
        let text = to_text(&Values::Int64(vec![1, 2]), Some([false, true].into_iter().collect())).unwrap();
        assert_eq!(text.iter().collect::<Vec<_>>(), [None, Some("2")]);
    }
}
