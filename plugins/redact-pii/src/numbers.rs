//! Runs of digits: groups and what separates them, cut out of the text and offered to each kind in turn.
//!
//! **Invariant**: a finding starts where a number starts and ends where it ends: never inside a longer one, a date, an address of a
//! machine or a word.

use crate::find::FEWEST_DIGITS;
use crate::label::{self, Label};
use crate::{Found, Kind, card, phone, ssn};

/// Digits without a separator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// What stands between two groups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sep {
    /// `-`, `.`, `/` or a space; typographic dashes and spaces count as their plain kin.
    kind: u8,
    pub(crate) opens: bool,
    pub(crate) closes: bool,
}

impl Sep {
    /// This separator and no parenthesis.
    pub(crate) fn is(self, kind: u8) -> bool {
        self.kind == kind && !self.opens && !self.closes
    }

    /// Whether another number may start after it.
    fn parts_numbers(self) -> bool {
        (matches!(self.kind, b' ' | b'/') && !self.closes) || self.opens
    }
}

/// Groups of digits with separators that may join them to one number.
#[derive(Debug)]
pub(crate) struct Run<'t> {
    pub(crate) text: &'t str,
    pub(crate) groups: Vec<Group>,
    pub(crate) seps: Vec<Sep>,
    lengths: Vec<usize>,
}

/// Separators as they are written, typography aside.
const SEPARATORS: &[&[u8]] =
    &[b" ", b"-", b".", b"/", b")", b") ", b")-", b").", b")/", b" (", b"(", b")(", b" - ", b"-(", b".(", b"/("];

/// Groups in one run; what is longer is a table, and cut.
const MOST_GROUPS: usize = 64;

/// Between two numbers of one list the label of the first holds for the second.
const CHAIN_BYTES: usize = 8;

pub(crate) fn find(text: &str, found: &mut Vec<Found>) {
    let emails: Vec<Found> = found.clone();
    let (mut position, mut last_phone) = (0, None);
    while let Some(offset) = text[position..].find(|c: char| c.is_ascii_digit()) {
        let start = position + offset;
        // Addresses are in order: the first that does not end before `start` holds it or comes next.
        let email = emails.get(emails.partition_point(|email| email.end <= start));
        if let Some(email) = email.filter(|email| email.start <= start) {
            position = email.end;
            continue;
        }
        let limit = email.map_or(text.len(), |email| email.start);
        let run = Run::read(text, start, limit);
        run.classify(&mut last_phone, found);
        position = run.groups.last().map_or(start + 1, |group| group.end);
    }
}

impl<'t> Run<'t> {
    fn read(text: &'t str, start: usize, limit: usize) -> Self {
        let mut run = Self { text, groups: Vec::new(), seps: Vec::new(), lengths: Vec::new() };
        let mut position = start;
        loop {
            let length = text[position..limit].bytes().take_while(u8::is_ascii_digit).count();
            run.groups.push(Group { start: position, end: position + length });
            run.lengths.push(length);
            position += length;
            match separator(&text[position..limit]) {
                Some((sep, length)) if run.groups.len() < MOST_GROUPS => {
                    run.seps.push(sep);
                    position += length;
                }
                _ => return run,
            }
        }
    }

    pub(crate) fn lengths(&self, first: usize, count: usize) -> &[usize] {
        &self.lengths[first..first + count]
    }

    pub(crate) fn digits(&self, first: usize, count: usize) -> String {
        self.groups[first..first + count].iter().map(|group| &self.text[group.start..group.end]).collect()
    }

    pub(crate) fn group(&self, index: usize) -> &str {
        &self.text[self.groups[index].start..self.groups[index].end]
    }

    /// The separators inside `count` groups.
    pub(crate) fn inner_seps(&self, first: usize, count: usize) -> &[Sep] {
        &self.seps[first..first + count - 1]
    }

    /// Whether the groups are joined by one and the same separator, no parentheses.
    pub(crate) fn is_uniform(&self, first: usize, count: usize) -> bool {
        first + count <= self.groups.len()
            && self.inner_seps(first, count).iter().all(|sep| sep.kind != b'/' && sep.is(self.seps[first].kind))
    }

    /// Whether a number may end with this group.
    pub(crate) fn may_end(&self, last: usize) -> bool {
        match self.seps.get(last) {
            Some(sep) => sep.parts_numbers(),
            None => ends_well(self.text, self.groups[last].end, self.lengths[last]),
        }
    }

    fn classify(&self, last_phone: &mut Option<usize>, found: &mut Vec<Found>) {
        if self.is_bank_account() {
            return;
        }
        let (mut first, mut fresh) = (0, true);
        while first < self.groups.len() {
            let may_start = fresh || self.seps[first - 1].parts_numbers();
            fresh = false;
            let number = if may_start { self.number(first, *last_phone) } else { None };
            if let Some((found_here, count)) = number {
                if found_here.kind == Kind::Phone {
                    *last_phone = Some(found_here.end);
                }
                found.push(found_here);
                first += count;
                fresh = true;
            } else {
                first += self.date_or_address(first).unwrap_or(1);
            }
        }
    }

    /// What starts with the group `first`, and how many groups it takes.
    fn number(&self, first: usize, last_phone: Option<usize>) -> Option<(Found, usize)> {
        // Most numbers in a text are too short to be anything here.
        if self.lengths[first..].iter().sum::<usize>() < FEWEST_DIGITS {
            return None;
        }
        let lead = Lead::of(self, first);
        if !starts_well(self.text, lead.start, self.lengths[first]) || self.date_or_address(first).is_some() {
            return None;
        }
        let plain = self.groups[first].start;
        let at = |kind, start, count: usize| Found { kind, start, end: self.groups[first + count - 1].end };
        if let Some(count) = card::groups(self, first).filter(|count| self.may_end(first + count - 1)) {
            return Some((at(Kind::Card, plain, count), count));
        }
        if let Some(count) = ssn::groups(self, first).filter(|count| self.may_end(first + count - 1)) {
            return Some((at(Kind::Ssn, plain, count), count));
        }
        let count = phone::groups(self, first, &lead, self.label(lead.start, last_phone))?;
        let start = if lead.plus || lead.closes_within(self, first, count) { lead.start } else { plain };
        let mut phone = at(Kind::Phone, start, count);
        phone.end = phone::with_extension(self.text, phone.end);
        Some((phone, count))
    }

    fn label(&self, start: usize, last_phone: Option<usize>) -> Label {
        let chained = last_phone.and_then(|end| self.text.get(end..start)).is_some_and(|gap| {
            gap.len() <= CHAIN_BYTES && !gap.contains(['\n', ';']) && !gap.bytes().any(|b| b.is_ascii_digit())
        });
        match label::before(self.text, start) {
            Label::Silent if chained => Label::Phone,
            label => label,
        }
    }

    /// A date, a range of years or an address of a machine, which takes so many groups.
    fn date_or_address(&self, first: usize) -> Option<usize> {
        let same = |count| first + count <= self.groups.len() && self.is_uniform_or_slashes(first, count);
        let value = |offset: usize| self.group(first + offset).parse::<u32>().unwrap_or(u32::MAX);
        let (year, month, day) =
            (|n| matches!(value(n), 1900..=2099), |n| matches!(value(n), 1..=12), |n| matches!(value(n), 1..=31));
        let goes_on = |count: usize| {
            self.seps.get(first + count - 1).is_some_and(|sep| sep.kind == self.seps[first].kind && sep.kind != b' ')
        };
        let lengths = &self.lengths[first..];
        match lengths {
            [1..=3, 1..=3, 1..=3, 1..=3, ..]
                if same(4) && self.seps[first].is(b'.') && !goes_on(4) && (0..4).all(|n| value(n) < 256) =>
            {
                Some(4)
            }
            [4, 1..=2, 1..=2, ..] if same(3) && !self.seps[first].is(b' ') && year(0) && month(1) && day(2) => Some(3),
            [1..=2, 1..=2, 4, ..] if same(3) && !self.seps[first].is(b' ') && day(0) && day(1) && year(2) => Some(3),
            [1..=2, 1..=2, 2, ..] if same(3) && !self.seps[first].is(b' ') && !goes_on(3) && day(0) && day(1) => Some(3),
            [4, 4, ..] if same(2) && year(0) && year(1) => Some(2),
            _ => None,
        }
    }

    fn is_uniform_or_slashes(&self, first: usize, count: usize) -> bool {
        self.inner_seps(first, count).iter().all(|sep| sep.is(self.seps[first].kind))
    }

    /// An IBAN: two letters glued to two check digits, then eleven digits or more.
    fn is_bank_account(&self) -> bool {
        let before = &self.text.as_bytes()[..self.groups[0].start];
        let letters = before.len() >= 2 && before[before.len() - 2..].iter().all(u8::is_ascii_uppercase);
        let alone = before.len() < 3 || !before[before.len() - 3].is_ascii_alphanumeric();
        letters && alone && self.lengths[0] >= 2 && self.lengths.iter().sum::<usize>() >= 13
    }
}

/// What stands right before a number and belongs to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lead {
    pub(crate) start: usize,
    pub(crate) plus: bool,
    pub(crate) paren: bool,
}

impl Lead {
    fn of(run: &Run<'_>, first: usize) -> Self {
        let start = run.groups[first].start;
        let before = &run.text[..start];
        if before.ends_with("(+") && run.seps.get(first).is_some_and(|sep| sep.closes) {
            Self { start: start - 2, plus: true, paren: true }
        } else if before.ends_with('+') {
            Self { start: start - 1, plus: true, paren: false }
        } else if before.ends_with('(') && run.seps.get(first).is_some_and(|sep| sep.closes) {
            Self { start: start - 1, plus: false, paren: true }
        } else {
            Self { start, plus: false, paren: false }
        }
    }

    /// Whether the parenthesis before the number is closed inside it.
    fn closes_within(self, run: &Run<'_>, first: usize, count: usize) -> bool {
        self.paren && count > 1 && run.seps[first].closes
    }
}

/// A separator that is followed by a digit, and its length.
fn separator(text: &str) -> Option<(Sep, usize)> {
    let (mut plain, mut length) = ([0_u8; 3], 0);
    let mut count = 0;
    for character in text.chars() {
        let kin = match character {
            ' ' | '\u{a0}' | '\u{2009}' | '\u{202f}' => b' ',
            '-' | '\u{2010}'..='\u{2015}' => b'-',
            '.' => b'.',
            '/' => b'/',
            '(' => b'(',
            ')' => b')',
            '0'..='9' => break,
            _ => return None,
        };
        *plain.get_mut(count)? = kin;
        count += 1;
        length += character.len_utf8();
    }
    let written = &plain[..count];
    if length == text.len() || !SEPARATORS.contains(&written) {
        return None;
    }
    let kind = written.iter().copied().find(|byte| matches!(byte, b'-' | b'.' | b'/')).unwrap_or(b' ');
    Some((Sep { kind, opens: written.contains(&b'('), closes: written.contains(&b')') }, length))
}

/// Whether a number may start at `start`, given what is glued to it.
fn starts_well(text: &str, start: usize, first_length: usize) -> bool {
    let mut before = text[..start].chars().rev();
    let Some(last) = before.next() else { return true };
    let earlier = before.next();
    let digit_earlier = earlier.is_some_and(|c| c.is_ascii_digit());
    let apart = |c: Option<char>| c.is_none_or(|c| c.is_whitespace() || c == '(');
    match last {
        ',' => !digit_earlier || first_length != 3,
        ':' | '.' => !digit_earlier,
        '-' | '\u{2010}'..='\u{2015}' | '/' => {
            apart(earlier) || (!digit_earlier && label::before(text, start) == Label::Phone && !text[..start].ends_with("/-"))
        }
        '#' | '_' | '$' | '€' | '£' | '¥' | '@' | '\\' | '%' | '&' | '^' | '+' | '№' => false,
        c if c.is_alphanumeric() => c >= '\u{2e80}',
        _ => true,
    }
}

/// Whether a number may end at `end`, given what is glued to it.
fn ends_well(text: &str, end: usize, last_length: usize) -> bool {
    let mut after = text[end..].chars();
    let Some(next) = after.next() else { return true };
    let later = after.next();
    let digit_later = later.is_some_and(|c| c.is_ascii_digit());
    match next {
        ',' => !digit_later || last_length > 3,
        ':' => !digit_later,
        '-' | '_' => !later.is_some_and(char::is_alphanumeric),
        '%' | '°' | '€' | '$' | '£' | '@' => false,
        'x' | 'X' => digit_later,
        c if c.is_alphanumeric() => c >= '\u{2e80}',
        _ => true,
    }
}
