//! Replaces e-mail addresses, phone numbers, card numbers and US social-security numbers inside free text by `[email]`, `[phone]`,
//! `[card]` and `[ssn]`.
//!
//! **Invariant**: what is found does not depend on which kinds are replaced: a card number is never taken for a phone number
//! because cards may stay. Text without a finding comes back untouched.
//!
//! The scanners are written by hand, without regular expressions: one pass for addresses, one for runs of digits, each finding
//! decided by its own shape and by the words before it. `corpus.txt` says how well that works.
//!
//! Not found: numbers spelled out in words or letters (`1-800-555-FILL`); numbers glued to a word that does not announce them
//! (`at614-555-0137`, `614-555-0137-cell`) or to a slash behind other digits (`34/614-555-0137`); phone numbers behind a bare `#`
//! or without a shape, plus sign or label that says so; social-security numbers without dashes that nothing announces; cards whose
//! check digit is wrong, and their expiry dates; digits of scripts other than Latin and Arabic; anything that characters without a
//! width take apart.

mod card;
mod edge;
mod email;
mod extension;
mod find;
mod label;
mod numbers;
mod phone;
mod plain;
mod separator;
mod ssn;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use lakehouse_sdk::{Config, Error, Redactor, export_redactor};

pub use find::{Found, find};

/// Replaces e-mail addresses, phone numbers, card numbers and US social-security numbers inside free text.
#[derive(Clone, Debug, Config)]
pub struct Pii {
    /// What to replace; everything unless given.
    #[config(default = vec![Kind::Email, Kind::Phone, Kind::Card, Kind::Ssn])]
    pub kinds: Vec<Kind>,
}

/// What identifies a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Config)]
pub enum Kind {
    /// An e-mail address, spelled out or not.
    Email,
    /// A phone or fax number, with its extension.
    Phone,
    /// A payment card number with a valid check digit.
    Card,
    /// A US social-security number.
    Ssn,
}

impl Kind {
    /// What stands in its place.
    pub fn replacement(self) -> &'static str {
        match self {
            Self::Email => "[email]",
            Self::Phone => "[phone]",
            Self::Card => "[card]",
            Self::Ssn => "[ssn]",
        }
    }
}

impl Redactor for Pii {
    fn redact_value<'v>(&self, value: &'v str) -> Cow<'v, str> {
        let mut found = find(value);
        found.retain(|found| self.kinds.contains(&found.kind));
        if found.is_empty() {
            return Cow::Borrowed(value);
        }
        let (mut clean, mut from) = (String::with_capacity(value.len()), 0);
        for Found { kind, start, end } in found {
            clean.push_str(&value[from..start]);
            clean.push_str(kind.replacement());
            from = end;
        }
        clean.push_str(&value[from..]);
        Cow::Owned(clean)
    }

    fn prepare(&mut self) -> Result<(), Error> {
        if self.kinds.is_empty() {
            return Err(Error::InvalidConfig("\"kinds\" must name at least one kind, or be left out for all".into()));
        }
        Ok(())
    }
}

export_redactor!(Pii);
