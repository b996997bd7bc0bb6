//! Runs of digits: groups and what separates them, cut out of the text and offered to each kind in turn.
//!
//! **Invariant**: a finding starts where a number starts and ends where it ends: never inside a longer one, a date, an address of a
//! machine or a name with digits.

use crate::edge::{self, Footing, Start};
use crate::find::FEWEST_DIGITS;
use crate::label::{self, Label};
use crate::separator::Sep;
use crate::{Found, Kind, card, extension, phone, ssn};

/// Digits without a separator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Groups of digits with separators that may join them to one number.
#[derive(Debug)]
pub(crate) struct Run<'t> {
    pub(crate) text: &'t str,
    pub(crate) groups: Vec<Group>,
    pub(crate) seps: Vec<Sep>,
    lengths: Vec<usize>,
    /// Where the next e-mail address starts, or the text ends.
    limit: usize,
}

/// Groups in one run; what is longer is a table, and cut.
const MOST_GROUPS: usize = 64;

/// Groups at the end of a run that was cut which the next run reads again: a number may lie across.
const GROUPS_AGAIN: usize = 8;

/// Between two numbers of one list the label of the first holds for the second.
const CHAIN_BYTES: usize = 8;

/// The numbers of a text with these e-mail addresses, in order.
pub(crate) fn find(text: &str, emails: &[Found]) -> Vec<Found> {
    let (mut found, mut position) = (Vec::new(), 0);
    while let Some(offset) = text[position..].find(|c: char| c.is_ascii_digit()) {
        let start = position + offset;
        // Addresses are in order: the first that does not end before `start` holds it or comes next.
        let (before, after) = emails.split_at(emails.partition_point(|email| email.end <= start));
        if let Some(email) = after.first().filter(|email| email.start <= start) {
            position = email.end;
            continue;
        }
        let run = Run::read(text, start, after.first().map_or(text.len(), |email| email.start));
        position = run.classify(before.last().copied(), &mut found);
    }
    found
}

impl<'t> Run<'t> {
    fn read(text: &'t str, start: usize, limit: usize) -> Self {
        let mut run = Self { text, groups: Vec::new(), seps: Vec::new(), lengths: Vec::new(), limit };
        let mut position = start;
        loop {
            let length = text[position..limit].bytes().take_while(u8::is_ascii_digit).count();
            run.groups.push(Group { start: position, end: position + length });
            run.lengths.push(length);
            position += length;
            match Sep::read(&text[position..limit]) {
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

    /// Whether plain dashes follow the group `first`.
    pub(crate) fn is_dashed(&self, first: usize) -> bool {
        self.seps.get(first).is_some_and(|sep| sep.is(b'-'))
    }

    /// Whether a number may end after these groups.
    pub(crate) fn may_end(&self, first: usize, count: usize) -> bool {
        let last = first + count - 1;
        let ends = match self.seps.get(last) {
            Some(sep) => sep.parts_numbers,
            None => edge::ends_well(self.text, self.groups[last].end, self.lengths[last]),
        };
        ends && self.is_balanced(first, count)
    }

    /// Whether parentheses are closed that open inside, and none that open before, but for those of an area.
    fn is_balanced(&self, first: usize, count: usize) -> bool {
        let seps = self.inner_seps(first, count);
        let mut open = usize::from(seps.first().is_some_and(|sep| sep.closes));
        for sep in seps {
            if sep.closes && open == 0 {
                return false;
            }
            open = open - usize::from(sep.closes) + usize::from(sep.opens);
        }
        open == 0
    }

    /// Adds the numbers of the run, before which an e-mail address ends; where to read on.
    fn classify(&self, email: Option<Found>, found: &mut Vec<Found>) -> usize {
        let cut = self.groups.len() == MOST_GROUPS;
        let most = if cut { MOST_GROUPS - GROUPS_AGAIN } else { self.groups.len() };
        let (mut first, mut fresh) = (if self.is_bank_account() { self.groups.len() } else { 0 }, true);
        let mut last = found.last().copied().into_iter().chain(email).max_by_key(|found| found.end);
        while first < most {
            let may_start = fresh || self.seps[first - 1].parts_numbers;
            let number = if may_start { self.number(first, last) } else { None };
            fresh = number.is_some();
            if let Some((mut number, count)) = number {
                if number.kind == Kind::Phone {
                    number.end = self.with_extension(number);
                }
                found.push(number);
                last = Some(number);
                first += count;
            } else {
                first += self.date_or_address(first).unwrap_or(1);
            }
        }
        let next = self.groups.get(first).map_or(self.groups[self.groups.len() - 1].end, |group| group.start);
        next.max(last.map_or(0, |last| last.end))
    }

    /// What starts with the group `first` after the finding `last`, and how many groups it takes.
    fn number(&self, first: usize, last: Option<Found>) -> Option<(Found, usize)> {
        // Most numbers in a text are too short to be anything here.
        if self.lengths[first..].iter().sum::<usize>() < FEWEST_DIGITS {
            return None;
        }
        let lead = Lead::of(self, first);
        let start = edge::start(self, first, &lead, last)?;
        if self.date_or_address(first).is_some() {
            return None;
        }
        let plain = self.groups[first].start;
        let at = |kind, start, count: usize| Found { kind, start, end: self.groups[first + count - 1].end };
        if let Some(count) = card::groups(self, first) {
            return Some((at(Kind::Card, plain, count), count));
        }
        if let Some(count) = ssn::groups(self, first, start.words) {
            return Some((at(Kind::Ssn, plain, count), count));
        }
        let label = label(self.text, lead.start, start, last);
        if start.footing != Footing::Free && label != Label::Phone {
            return None;
        }
        let count = phone::groups(self, first, &lead, label)?;
        let start = if lead.plus || lead.closes_within(self, first, count) { lead.start } else { plain };
        Some((at(Kind::Phone, start, count), count))
    }

    /// The end of a phone number with the extension that follows it, if one does.
    fn with_extension(&self, phone: Found) -> usize {
        let Some(start) = extension::digits(self.text, phone.end).filter(|&start| start < self.limit) else { return phone.end };
        let run = Run::read(self.text, start, self.limit);
        if run.is_extension(phone) { run.groups[0].end } else { phone.end }
    }

    /// Whether the first group is the extension of a phone number, and neither a number nor a part of something else.
    fn is_extension(&self, phone: Found) -> bool {
        let end = self.groups[0].end;
        let ends = match self.seps.first() {
            Some(sep) if sep.kind == b'/' => true,
            Some(sep) => sep.parts_numbers && (self.date_or_address(1).is_some() || self.number(0, Some(phone)).is_none()),
            None => {
                let mut after = self.text[end..].chars();
                let (next, later) = (after.next(), after.next());
                let goes_on = next.is_some_and(|c| "_@+:".contains(c)) && later.is_some_and(char::is_alphanumeric);
                !goes_on && !next.is_some_and(char::is_alphanumeric)
            }
        };
        ends && self.lengths[0] <= extension::MOST_DIGITS && self.date_or_address(0).is_none()
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

    /// An IBAN: two letters glued to two check digits, then eleven digits or more. `CC` and `MC` also announce cards.
    fn is_bank_account(&self) -> bool {
        let before = &self.text.as_bytes()[..self.groups[0].start];
        let letters = before.len() >= 2 && before[before.len() - 2..].iter().all(u8::is_ascii_uppercase);
        let is_card = (before.ends_with(b"CC") || before.ends_with(b"MC")) && card::groups(self, 0).is_some();
        let alone = before.len() < 3 || !before[before.len() - 3].is_ascii_alphanumeric();
        letters && alone && !is_card && self.lengths[0] >= 2 && self.lengths.iter().sum::<usize>() >= 13
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

/// What a number is announced as by the words before it or by the phone number before those.
fn label(text: &str, position: usize, start: Start<'_>, last: Option<Found>) -> Label {
    let phone = last.filter(|last| last.kind == Kind::Phone && start.footing != Footing::Glued);
    let chained = phone
        .and_then(|phone| text.get(phone.end..position))
        .is_some_and(|gap| gap.len() <= CHAIN_BYTES && !gap.contains(['\n', ';']) && !gap.bytes().any(|b| b.is_ascii_digit()));
    match label::before(start.words) {
        Label::Silent if chained => Label::Phone,
        label => label,
    }
}
