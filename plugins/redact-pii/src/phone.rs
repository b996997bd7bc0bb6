//! Phone numbers: international ones by their country code, national ones by their shape, anything phone-like by its label.
//!
//! **Invariant**: without a plus sign or a label only shapes that hardly anything else has are taken; a label that announces
//! something else (an order, a part) beats every national shape.

use crate::label::Label;
use crate::numbers::{Lead, Run};
use crate::{card, ssn};

/// Country codes with the digits that a number has in all, the code included (ITU-T E.164 and the national plans). Others have
/// between 9 and 15.
const COUNTRIES: &[(&str, usize, usize)] = &[
    ("1", 11, 11),
    ("7", 11, 11),
    ("20", 11, 12),
    ("27", 11, 11),
    ("30", 12, 12),
    ("31", 11, 11),
    ("32", 10, 11),
    ("33", 11, 11),
    ("34", 11, 11),
    ("36", 10, 11),
    ("39", 9, 13),
    ("40", 11, 11),
    ("41", 11, 11),
    ("43", 8, 14),
    ("44", 11, 12),
    ("45", 10, 10),
    ("46", 9, 12),
    ("47", 10, 10),
    ("48", 11, 11),
    ("49", 8, 14),
    ("51", 10, 11),
    ("52", 12, 13),
    ("54", 11, 13),
    ("55", 12, 13),
    ("56", 11, 11),
    ("57", 12, 12),
    ("60", 10, 12),
    ("61", 11, 11),
    ("62", 10, 14),
    ("63", 11, 12),
    ("64", 10, 12),
    ("65", 10, 10),
    ("66", 10, 11),
    ("81", 11, 12),
    ("82", 10, 12),
    ("84", 11, 12),
    ("86", 11, 13),
    ("90", 12, 12),
    ("91", 12, 12),
    ("92", 11, 12),
    ("94", 11, 11),
    ("98", 12, 12),
    ("212", 12, 12),
    ("234", 11, 13),
    ("254", 12, 12),
    ("351", 12, 12),
    ("352", 9, 12),
    ("353", 10, 12),
    ("358", 9, 13),
    ("380", 12, 12),
    ("420", 12, 12),
    ("421", 12, 12),
    ("852", 11, 11),
    ("886", 11, 12),
    ("966", 11, 12),
    ("971", 11, 12),
    ("972", 11, 12),
];

const MOST_GROUPS: usize = 8;

/// How many groups from `first` on are a phone number.
pub(crate) fn groups(run: &Run<'_>, first: usize, lead: &Lead, label: Label) -> Option<usize> {
    let most = (run.groups.len() - first).min(MOST_GROUPS);
    let most = (1..most).find(|&count| is_another(run, first + count)).unwrap_or(most);
    let fits = |count: &usize| {
        run.may_end(first, *count)
            && if lead.plus { is_international(run, first, *count) } else { is_national(run, first, *count, lead, label) }
    };
    (1..=most).rev().find(fits)
}

/// Whether a number that is no phone starts there beyond doubt.
fn is_another(run: &Run<'_>, first: usize) -> bool {
    run.seps[first - 1].parts_numbers && (card::groups(run, first).is_some() || ssn::groups(run, first, "").is_some())
}

/// After a plus sign.
fn is_international(run: &Run<'_>, first: usize, count: usize) -> bool {
    let digits = run.digits(first, count);
    // `+44 (0)20`: the zero is not dialled from abroad.
    let trunk = count > 2 && run.group(first + 1) == "0" && run.seps[first].opens && run.seps[first + 1].closes;
    let total = digits.len() - usize::from(trunk);
    // `+40.712776` is a coordinate, `+1.4155552671` is not.
    let decimal = count == 2 && run.seps[first].is(b'.') && run.lengths(first, 2)[1] < 8;
    let (least, most) = country(&digits).unwrap_or((9, 15));
    !digits.starts_with('0') && !decimal && (least..=most).contains(&total) && has_whole_end(run, first, count)
}

fn country(digits: &str) -> Option<(usize, usize)> {
    COUNTRIES.iter().rev().find(|(code, ..)| digits.starts_with(code)).map(|&(_, least, most)| (least, most))
}

/// Whether the last group has two digits or more, or is the `-0` of a switchboard.
fn has_whole_end(run: &Run<'_>, first: usize, count: usize) -> bool {
    let last = first + count - 1;
    run.group(last).len() > 1 || (count > 1 && run.is_dashed(last - 1) && run.group(last) == "0")
}

fn is_national(run: &Run<'_>, first: usize, count: usize, lead: &Lead, label: Label) -> bool {
    let (digits, lengths) = (run.digits(first, count), run.lengths(first, count));
    if label == Label::Other || !has_whole_end(run, first, count) {
        return false;
    }
    let labelled = label == Label::Phone;
    // Columns of a table.
    if !labelled && run.inner_seps(first, count).iter().any(|sep| sep.wide) {
        return false;
    }
    is_north_american(&digits, lengths, lead, labelled)
        || is_with_trunk_zero(run, first, count, &digits, labelled)
        || is_from_abroad(&digits, lengths, labelled)
        || is_with_area_in_parens(&digits, lengths, lead)
        || is_of_known_shape(&digits, lengths)
        || (labelled && is_phone_like(run, first, count, &digits))
}

/// Area code and exchange start with 2 to 9 (North American Numbering Plan); a label lets `123-456-7890` pass as well.
fn is_north_american(digits: &str, lengths: &[usize], lead: &Lead, labelled: bool) -> bool {
    let local = match lengths {
        [3, 3, 4] | [3, 7] | [10] => digits,
        [1, 3, 3, 4] | [1, 3, 7] if digits.starts_with('1') => &digits[1..],
        [11] if digits.starts_with('1') && labelled => &digits[1..],
        _ => return false,
    };
    let valid = |code: &str| !code.starts_with(['0', '1']) && !code.ends_with("11");
    labelled || lead.paren || (valid(&local[..3]) && !local[3..].starts_with(['0', '1']))
}

/// Most of the world: a zero, an area or network, a subscriber.
fn is_with_trunk_zero(run: &Run<'_>, first: usize, count: usize, digits: &str, labelled: bool) -> bool {
    let lengths = run.lengths(first, count);
    if !digits.starts_with('0') || digits.starts_with("00") || !(9..=12).contains(&digits.len()) {
        return false;
    }
    let pairs = lengths == [2; 5];
    let next = digits.as_bytes()[1];
    match (count, digits.len()) {
        (1, 11) => labelled || matches!(next, b'1' | b'2' | b'3' | b'7'),
        (1, 10) => labelled || matches!(next, b'6' | b'7'),
        (1, _) => labelled || (digits.len() == 12 && next == b'1'),
        _ => {
            let dotted = run.inner_seps(first, count).iter().any(|sep| sep.is(b'.'));
            (2..=5).contains(&lengths[0])
                && lengths.iter().all(|&length| length >= 2)
                && (!dotted || pairs || count > 2 || labelled)
        }
    }
}

/// `00` and a country code.
fn is_from_abroad(digits: &str, lengths: &[usize], labelled: bool) -> bool {
    let Some(international) = digits.strip_prefix("00") else { return false };
    let range = country(international).unwrap_or((9, 15));
    let in_range = (range.0..=range.1).contains(&international.len());
    !international.starts_with('0') && in_range && (lengths.len() > 1 || labelled)
}

/// `(11) 95550-1234`.
fn is_with_area_in_parens(digits: &str, lengths: &[usize], lead: &Lead) -> bool {
    let a_year = lengths[0] == 4 && (digits.starts_with("19") || digits.starts_with("20"));
    let subscriber: usize = lengths[1..].iter().sum();
    lead.paren && !a_year && (2..=5).contains(&lengths[0]) && (6..=9).contains(&subscriber) && lengths.len() <= 4
}

/// Russia, China, Australia's 1300 and 1800.
fn is_of_known_shape(digits: &str, lengths: &[usize]) -> bool {
    let starts = |prefix: &str| digits.starts_with(prefix);
    match lengths {
        [1, 3, 3, 2, 2] => starts("8") || starts("7"),
        [3, 4, 4] => starts("1") && !starts("10") && !starts("11") && !starts("12"),
        [4, 3, 3] => starts("1300") || starts("1800"),
        _ => false,
    }
}

/// Anything of a phone number's length that is no decimal number and no ZIP+4.
fn is_phone_like(run: &Run<'_>, first: usize, count: usize, digits: &str) -> bool {
    let lengths = run.lengths(first, count);
    let decimal = count == 2 && run.seps[first].is(b'.') && lengths[1] != 4 && lengths[1] < 6;
    (7..=15).contains(&digits.len()) && !decimal && lengths != [5, 4] && lengths != [1, 3, 3]
}
