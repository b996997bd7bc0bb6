//! Staffing candidates that nobody ever was, as many as wanted, always the same.
//!
//! **Invariant**: row `n` depends on `n` alone, so that any part of the data can be made anywhere and checked against anything;
//! addresses are of example domains, telephone numbers of the block that is reserved for fiction.

use std::{collections::BTreeMap, io::Write};

use bytes::Bytes;

mod words;

use words::{DOMAINS, FIRST, LAST, PLACES, SHIFTS, STATUSES, TRAITS, VERTICALS};

/// One candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// From 1.
    pub number: u64,
    pub first_name: &'static str,
    pub last_name: &'static str,
    pub email: String,
    pub phone: String,
    pub city: &'static str,
    pub state: &'static str,
    pub zip: String,
    pub vertical: &'static str,
    pub skills: String,
    pub years_experience: u32,
    pub rate_cents: u32,
    pub status: &'static str,
    /// `None` for those who are placed.
    pub available_from: Option<String>,
    pub resume_text: String,
}

impl Candidate {
    /// The columns, in order.
    pub const COLUMNS: [&'static str; 15] = [
        "candidate_id",
        "first_name",
        "last_name",
        "email",
        "phone",
        "city",
        "state",
        "zip",
        "vertical",
        "skills",
        "years_experience",
        "hourly_rate",
        "status",
        "available_from",
        "resume_text",
    ];

    /// Candidate `number`, from 1.
    pub fn number(number: u64) -> Self {
        let mut dice = Dice(number);
        let first_name = dice.pick(&FIRST);
        let last_name = dice.pick(&LAST);
        let (city, state, area, postal) = dice.pick(&PLACES);
        let (vertical, usual_rate, titles, abilities) = dice.pick(&VERTICALS);
        let title = dice.pick(&titles);
        let status = dice.weighted(&STATUSES);
        let years_experience = u32::try_from(dice.below(18) + dice.below(18)).unwrap_or(0);
        let rate_cents = usual_rate + years_experience * 45 + u32::try_from(dice.below(400)).unwrap_or(0);
        let skip = usize::try_from(dice.below(6)).unwrap_or(0);
        let mine: Vec<&str> = (0..3).map(|at| abilities[(skip + at * 5) % 6]).collect();
        let email = format!(
            "{}.{}{}@{}",
            first_name.to_ascii_lowercase(),
            last_name.to_ascii_lowercase().replace('\'', ""),
            number,
            dice.pick(&DOMAINS)
        );
        let line = dice.below(100);
        let phone = match dice.below(3) {
            0 => format!("({area}) 555-01{line:02}"),
            1 => format!("{area}-555-01{line:02}"),
            _ => format!("{area}.555.01{line:02}"),
        };
        let available_from = (status != "placed").then(|| format!("2026-{:02}-{:02}", dice.below(12) + 1, dice.below(28) + 1));
        let resume_text = resume(&mut dice, first_name, title, years_experience, (city, state), &mine, &email, &phone);
        Self {
            number,
            first_name,
            last_name,
            zip: format!("{postal}{:02}", dice.below(100)),
            email,
            phone,
            city,
            state,
            vertical,
            skills: mine.join("; "),
            years_experience,
            rate_cents,
            status,
            available_from,
            resume_text,
        }
    }

    /// `CAND-000001`
    pub fn id(&self) -> String {
        format!("CAND-{:06}", self.number)
    }

    /// One CSV record, its line end included.
    fn write_csv(&self, out: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        let _ = write!(
            out,
            "CAND-{:06},{},{},{},{},{},{},{},{},{},{},{}.{:02},{},{},",
            self.number,
            self.first_name,
            self.last_name,
            self.email,
            self.phone,
            self.city,
            self.state,
            self.zip,
            self.vertical,
            self.skills,
            self.years_experience,
            self.rate_cents / 100,
            self.rate_cents % 100,
            self.status,
            self.available_from.as_deref().unwrap_or(""),
        );
        out.push(b'"');
        for byte in self.resume_text.bytes() {
            if byte == b'"' {
                out.push(b'"');
            }
            out.push(byte);
        }
        out.extend_from_slice(b"\"\n");
    }
}

#[expect(clippy::too_many_arguments, reason = "a paragraph says many things")]
fn resume(
    dice: &mut Dice,
    name: &str,
    title: &str,
    years: u32,
    (city, state): (&str, &str),
    skills: &[&str],
    email: &str,
    phone: &str,
) -> String {
    let (shift, habit) = (dice.pick(&SHIFTS), dice.pick(&TRAITS));
    let listed = skills.join(", ");
    match dice.below(3) {
        0 => format!(
            "{name} is a {title} from {city}, {state}, with {years} years of experience in {listed}. Prefers {shift}; {habit}. Reach {name} at \
             {email} or {phone} after 5 pm."
        ),
        1 => format!(
            "Experienced {title}, {years} years, {listed}. Former supervisor: \"{habit}\". Open to {shift} around {city}, {state}. Call {phone}, or \
             write to {email}."
        ),
        _ => format!(
            "Summary: {title} with {years} years behind them, strong in {listed}; {habit}. Available for {shift}. Contact: {phone} / {email} \
             ({city}, {state})."
        ),
    }
}

/// How the rows are spread, counted by the generator itself: what SQL must find again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    pub rows: u64,
    pub by_status: BTreeMap<&'static str, u64>,
    /// Vertical → how many, and the sum of their rates in cents.
    pub by_vertical: BTreeMap<&'static str, (u64, u64)>,
}

/// The first `rows` candidates.
#[derive(Debug, Clone, Copy)]
pub struct Candidates {
    pub rows: u64,
}

impl Candidates {
    /// About this much is made at once.
    const CHUNK_ROWS: u64 = 1_000;

    pub fn iter(self) -> impl Iterator<Item = Candidate> {
        (1..=self.rows).map(Candidate::number)
    }

    /// The CSV file in pieces, header first, made as it is read.
    pub fn csv_chunks(self) -> impl Iterator<Item = Bytes> + Send + 'static {
        let header = Bytes::from(Candidate::COLUMNS.join(",") + "\n");
        let chunks = (0..self.rows.div_ceil(Self::CHUNK_ROWS)).map(move |chunk| {
            let mut out = Vec::with_capacity(512 * 1024);
            let first = chunk * Self::CHUNK_ROWS + 1;
            for number in first..=self.rows.min(first + Self::CHUNK_ROWS - 1) {
                Candidate::number(number).write_csv(&mut out);
            }
            Bytes::from(out)
        });
        std::iter::once(header).chain(chunks)
    }

    /// The whole CSV file.
    pub fn csv(self) -> Vec<u8> {
        self.csv_chunks().fold(Vec::new(), |mut all, chunk| {
            all.extend_from_slice(&chunk);
            all
        })
    }

    pub fn tally(self) -> Tally {
        let mut tally = Tally::default();
        for candidate in self.iter() {
            tally.rows += 1;
            *tally.by_status.entry(candidate.status).or_default() += 1;
            let vertical = tally.by_vertical.entry(candidate.vertical).or_default();
            vertical.0 += 1;
            vertical.1 += u64::from(candidate.rate_cents);
        }
        tally
    }
}

/// SplitMix64 from a row's number: the same dice for the same row, whatever was thrown before.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0.wrapping_mul(0xd134_2543_de82_ef95);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = self.below(from.len() as u64);
        from[usize::try_from(at).unwrap_or(0)]
    }

    fn weighted(&mut self, from: &[(&'static str, u64)]) -> &'static str {
        let mut left = self.below(from.iter().map(|(_, weight)| weight).sum());
        for (name, weight) in from {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return name,
            }
        }
        from[0].0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Candidate, Candidates};

    #[test]
    fn the_same_rows_come_out_every_time_and_in_pieces() {
        let whole = Candidates { rows: 2_500 }.csv();
        assert_eq!(whole, Candidates { rows: 2_500 }.csv());
        let text = String::from_utf8(whole).unwrap();
        assert_eq!(text.lines().count(), 2_501);
        assert!(text.starts_with("candidate_id,first_name,"));
        assert!(text.lines().nth(2_500).unwrap().starts_with("CAND-002500,"));
    }

    #[test]
    fn a_resume_holds_the_contact_data_that_a_rule_must_find() {
        for candidate in (Candidates { rows: 500 }).iter() {
            assert!(candidate.resume_text.contains(&candidate.email), "{candidate:?}");
            assert!(candidate.resume_text.contains(&candidate.phone), "{candidate:?}");
            assert!(!candidate.resume_text.contains('\n'));
        }
    }

    #[test]
    fn rows_are_spread_and_unlike_each_other() {
        let tally = Candidates { rows: 10_000 }.tally();
        assert_eq!(tally.rows, 10_000);
        assert_eq!((tally.by_vertical.len(), tally.by_status.len()), (6, 5));
        assert!(tally.by_vertical.values().all(|(rows, _)| (1_300..2_100).contains(rows)), "{tally:?}");
        let emails: HashSet<String> = (Candidates { rows: 10_000 }).iter().map(|candidate| candidate.email).collect();
        assert_eq!(emails.len(), 10_000);
    }

    #[test]
    fn quotes_inside_a_resume_are_doubled() {
        let quoted = (Candidates { rows: 100 }).iter().find(|candidate| candidate.resume_text.contains('"')).unwrap();
        let mut line = Vec::new();
        quoted.write_csv(&mut line);
        assert!(String::from_utf8(line).unwrap().contains("\"\""));
        assert_eq!(Candidate::COLUMNS.len(), 15);
    }
}
