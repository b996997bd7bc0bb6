//! Dates and times as text, without a formatter in between.
//!
//! Civil dates by the algorithm of H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.

const DAY_SECONDS: i64 = 86_400;

/// `13` as `13`, `7` as `07`.
fn two(out: &mut Vec<u8>, n: i64) {
    out.push(b'0' + u8::try_from(n / 10).unwrap_or(0));
    out.push(b'0' + u8::try_from(n % 10).unwrap_or(0));
}

/// Days since 1970-01-01 as `2026-01-31`.
pub(super) fn date(out: &mut Vec<u8>, days: i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if (0..=9999).contains(&year) {
        two(out, year / 100);
        two(out, year % 100);
    } else {
        // Beyond four digits ISO 8601 wants a sign.
        out.extend_from_slice(format!("{year:+05}").as_bytes());
    }
    out.push(b'-');
    two(out, month);
    out.push(b'-');
    two(out, day);
}

/// Nanoseconds since midnight as `13:05:00`, with as many digits of a second as are not zero.
pub(super) fn time(out: &mut Vec<u8>, nanos: i64) {
    let seconds = nanos / 1_000_000_000;
    two(out, seconds / 3_600);
    out.push(b':');
    two(out, seconds / 60 % 60);
    out.push(b':');
    two(out, seconds % 60);
    let fraction = nanos % 1_000_000_000;
    if fraction != 0 {
        let digits = format!("{fraction:09}");
        out.push(b'.');
        out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
    }
}

/// A count of `1 / per_second` seconds since the epoch as `2026-01-31T13:05:00`.
pub(super) fn timestamp(out: &mut Vec<u8>, count: i64, per_second: i64) {
    let seconds = count.div_euclid(per_second);
    let fraction = count.rem_euclid(per_second) * (1_000_000_000 / per_second);
    date(out, seconds.div_euclid(DAY_SECONDS));
    out.push(b'T');
    time(out, seconds.rem_euclid(DAY_SECONDS) * 1_000_000_000 + fraction);
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, SecondsFormat};
    use proptest::prelude::*;

    use super::timestamp;

    fn text(count: i64, per_second: i64) -> String {
        let mut out = Vec::new();
        timestamp(&mut out, count, per_second);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_moments() {
        assert_eq!(text(0, 1), "1970-01-01T00:00:00");
        assert_eq!(text(-1, 1_000), "1969-12-31T23:59:59.999");
        assert_eq!(text(951_782_400, 1), "2000-02-29T00:00:00");
        assert_eq!(text(253_402_300_800, 1), "+10000-01-01T00:00:00");
    }

    proptest! {
        #[test]
        fn agrees_with_chrono(micros in -62_135_596_800_000_000i64..253_402_300_799_999_999) {
            let ours = text(micros, 1_000_000);
            let parsed = DateTime::parse_from_rfc3339(&format!("{ours}Z")).unwrap();
            prop_assert_eq!(parsed.timestamp_micros(), micros);
            let theirs = DateTime::from_timestamp_micros(micros).unwrap().to_rfc3339_opts(SecondsFormat::Secs, true);
            prop_assert_eq!(&ours[..19], &theirs[..19]);
        }
    }
}
