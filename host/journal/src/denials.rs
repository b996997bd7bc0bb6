//! Denied calls, gathered per actor and minute.
//!
//! **Invariant**: an actor's first denial of a minute is journaled at once, the rest of the minute as one event; however many
//! calls are denied, a minute costs at most two events an actor, for at most [`MAX_ACTORS`] actors and one crowd.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use lakehouse_types::{Actor, Code};
use serde_json::json;

use crate::{Draft, EventKind, Stamp};

/// Actors told apart within a minute. Those beyond share one event.
const MAX_ACTORS: usize = 1024;
/// Kinds of denial told apart within one actor's minute. Those beyond are only counted.
const MAX_KINDS: usize = 16;
/// Longest text of what was denied, in bytes.
const MAX_WHAT_BYTES: usize = 200;

const CROWD: &str = "many";

/// Denials of the present minute that are not in the log yet.
#[derive(Debug, Default)]
pub(crate) struct Denials {
    minute: i64,
    actors: HashMap<Actor, Tally>,
    crowd: Option<Tally>,
}

#[derive(Debug)]
struct Tally {
    /// Of the first denial that waits, or of the one that was journaled at once.
    by: Stamp,
    kinds: BTreeMap<(String, &'static str), u64>,
    others: u64,
}

impl Denials {
    /// Takes note of a denial; returns what must be journaled now.
    pub(crate) fn note(&mut self, by: &Stamp, what: &str, code: Code) -> Vec<(Stamp, Draft)> {
        let minute = minute(by.at);
        // A clock that steps back counts on in the minute it left.
        let mut due = if minute > self.minute { self.take() } else { Vec::new() };
        self.minute = self.minute.max(minute);
        let what = shorten(what);
        if let Some(tally) = self.actors.get_mut(&by.actor) {
            tally.add(by, what, code);
        } else if self.actors.len() < MAX_ACTORS {
            self.actors.insert(by.actor.clone(), Tally::new(by));
            let mut first = Tally::new(by);
            first.add(by, what, code);
            due.extend(first.into_event(by.actor.as_str()));
        } else {
            self.crowd.get_or_insert_with(|| Tally::new(by)).add(by, what, code);
        }
        due
    }

    /// What waits, if the minute it belongs to is over.
    pub(crate) fn expire(&mut self, now: DateTime<Utc>) -> Vec<(Stamp, Draft)> {
        if minute(now) > self.minute { self.take() } else { Vec::new() }
    }

    /// All that waits.
    pub(crate) fn take(&mut self) -> Vec<(Stamp, Draft)> {
        let mut due: Vec<_> =
            std::mem::take(&mut self.actors).into_iter().filter_map(|(actor, tally)| tally.into_event(actor.as_str())).collect();
        due.sort_by(|(a, _), (b, _)| (a.at, &a.actor).cmp(&(b.at, &b.actor)));
        due.extend(self.crowd.take().and_then(|tally| tally.into_event(CROWD)));
        due
    }
}

impl Tally {
    fn new(by: &Stamp) -> Self {
        Self { by: by.clone(), kinds: BTreeMap::new(), others: 0 }
    }

    fn add(&mut self, by: &Stamp, what: String, code: Code) {
        if self.kinds.is_empty() {
            self.by = by.clone();
        }
        let kind = (what, code.as_str());
        if let Some(count) = self.kinds.get_mut(&kind) {
            *count += 1;
        } else if self.kinds.len() < MAX_KINDS {
            self.kinds.insert(kind, 1);
        } else {
            self.others += 1;
        }
    }

    fn into_event(self, subject: &str) -> Option<(Stamp, Draft)> {
        if self.kinds.is_empty() {
            return None;
        }
        let count = self.kinds.values().sum::<u64>() + self.others;
        let denials: Vec<_> =
            self.kinds.into_iter().map(|((what, code), count)| json!({"what": what, "code": code, "count": count})).collect();
        let mut details = json!({"count": count, "denials": denials});
        if self.others > 0 {
            details["others"] = self.others.into();
        }
        Some((self.by, Draft::new(EventKind::Denied, subject).details(details)))
    }
}

fn minute(at: DateTime<Utc>) -> i64 {
    at.timestamp().div_euclid(60)
}

fn shorten(what: &str) -> String {
    let end = (0..=MAX_WHAT_BYTES.min(what.len())).rev().find(|&end| what.is_char_boundary(end)).unwrap_or_default();
    what[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use lakehouse_types::{Actor, Code, RequestId};

    use super::{Denials, MAX_ACTORS, MAX_KINDS};
    use crate::{Draft, Stamp};

    fn by(actor: &str, second: i64) -> Stamp {
        Stamp {
            actor: Actor::new(actor).unwrap(),
            role: "reader".into(),
            profile: None,
            request_id: RequestId::new("r").unwrap(),
            at: DateTime::<Utc>::from_timestamp(1_800_000_000 / 60 * 60 + second, 0).unwrap(),
        }
    }

    fn counts(events: &[(Stamp, Draft)]) -> Vec<(String, u64)> {
        events.iter().map(|(_, draft)| (draft.subject.clone(), draft.details["count"].as_u64().unwrap())).collect()
    }

    #[test]
    fn a_flood_costs_two_events_a_minute() {
        let mut denials = Denials::default();
        assert_eq!(counts(&denials.note(&by("ada", 0), "GET /x", Code::Forbidden)), [("ada".into(), 1)]);
        for _ in 0..9_999 {
            assert!(denials.note(&by("ada", 59), "GET /x", Code::Forbidden).is_empty());
        }
        let due = denials.note(&by("ada", 60), "GET /x", Code::Forbidden);
        assert_eq!(counts(&due), [("ada".into(), 9_999), ("ada".into(), 1)]);
        assert!(denials.take().is_empty());
    }

    #[test]
    fn what_waits_leaves_when_its_minute_is_over() {
        let mut denials = Denials::default();
        denials.note(&by("ada", 0), "a", Code::Forbidden);
        denials.note(&by("ada", 1), "b", Code::Forbidden);
        assert!(denials.expire(by("ada", 59).at).is_empty());
        assert_eq!(counts(&denials.expire(by("ada", 60).at)), [("ada".into(), 1)]);
    }

    #[test]
    fn many_actors_and_many_kinds_are_bounded() {
        let mut denials = Denials::default();
        for n in 0..MAX_ACTORS + 500 {
            denials.note(&by(&format!("a{n}"), 0), "x", Code::Forbidden);
        }
        assert_eq!(counts(&denials.take()), [("many".into(), 500)]);
        for n in 0..100 {
            denials.note(&by("ada", 0), &format!("{n}\u{1b}{}", "é".repeat(400)), Code::Forbidden);
        }
        let due = denials.take();
        let details = &due[0].1.details;
        assert_eq!((details["count"].as_u64(), details["others"].as_u64()), (Some(99), Some(99 - MAX_KINDS as u64)));
        assert!(details.to_string().len() < 10_000);
        assert!(!details.to_string().contains("\\u001b"));
    }
}
