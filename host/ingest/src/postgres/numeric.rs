//! The binary form of `numeric`: base-10000 digits with a weight, a sign and a scale.

use super::column::{BROKEN, fixed};

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITE: u16 = 0xd000;
const MINUS_INFINITE: u16 = 0xf000;
/// Decimal digits of one digit.
const DIGIT_PLACES: i32 = 4;

/// The value times 10^`scale`, if that is a whole number below 10^`precision`.
pub(super) fn unscaled(raw: &[u8], precision: u8, scale: u8) -> Result<i128, &'static str> {
    let (header, digits) = raw.split_at_checked(8).ok_or(BROKEN)?;
    let word = |at: usize| fixed(&header[at..at + 2]).map(u16::from_be_bytes);
    let (count, weight, sign) = (word(0)?, word(2)?.cast_signed(), word(4)?);
    if matches!(sign, NAN | INFINITE | MINUS_INFINITE) {
        return Err("a number that is not finite");
    }
    if digits.len() != 2 * usize::from(count) || !matches!(sign, 0 | NEGATIVE) {
        return Err(BROKEN);
    }
    let mut value = 0_i128;
    for (index, digit) in (0..).zip(digits.chunks_exact(2)) {
        let digit = i128::from(fixed(digit).map(u16::from_be_bytes)?);
        if digit == 0 {
            continue;
        }
        let places = DIGIT_PLACES * (i32::from(weight) - index) + i32::from(scale);
        let part = if places >= 0 {
            10_i128.checked_pow(places.unsigned_abs()).and_then(|factor| digit.checked_mul(factor))
        } else {
            let divisor = 10_i128.checked_pow(places.unsigned_abs()).ok_or(TOO_MANY)?;
            (digit % divisor == 0).then(|| digit / divisor)
        };
        value = part.and_then(|part| value.checked_add(part)).ok_or(TOO_MANY)?;
    }
    let fits = value < 10_i128.checked_pow(u32::from(precision)).ok_or(TOO_MANY)?;
    match (fits, sign) {
        (false, _) => Err(TOO_MANY),
        (true, NEGATIVE) => Ok(-value),
        (true, _) => Ok(value),
    }
}

const TOO_MANY: &str = "a number with too many digits";

#[cfg(test)]
mod tests {
    use super::unscaled;

    fn binary(weight: i16, sign: u16, digits: &[u16]) -> Vec<u8> {
        let count = u16::try_from(digits.len()).unwrap();
        let words = [count, weight.cast_unsigned(), sign, 0].into_iter().chain(digits.iter().copied());
        words.flat_map(u16::to_be_bytes).collect()
    }

    #[test]
    fn digits_are_kept_or_refused() {
        for (raw, precision, scale, expected) in [
            (binary(0, 0, &[]), 5, 2, Some(0)),
            (binary(0, 0, &[123, 4500]), 5, 2, Some(12_345)),
            (binary(0, 0x4000, &[123, 4500]), 5, 2, Some(-12_345)),
            (binary(0, 0, &[123, 4500]), 5, 1, None),
            (binary(0, 0, &[123, 4500]), 4, 2, None),
            (binary(-1, 0, &[1]), 4, 4, Some(1)),
            (binary(-2, 0, &[1]), 4, 4, None),
            (binary(1, 0, &[1]), 5, 0, Some(10_000)),
            (binary(9, 0, &[9999; 10]), 38, 0, None),
            (binary(9, 0, &[99, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9999]), 38, 0, Some(10_i128.pow(38) - 1)),
            (binary(0, 0xc000, &[]), 5, 2, None),
            (binary(0, 0xd000, &[]), 5, 2, None),
            (binary(i16::MAX, 0, &[1]), 38, 0, None),
            (binary(i16::MIN, 0, &[1]), 38, 38, None),
            (vec![0; 7], 5, 2, None),
            (vec![0, 9, 0, 0, 0, 0, 0, 0], 5, 2, None),
        ] {
            assert_eq!(unscaled(&raw, precision, scale).ok(), expected, "{raw:?}");
        }
    }
}
