//! Calls that were denied and changes that were refused, gathered per actor and minute.
//!
//! **Invariant**: an actor's first denial of a minute is journaled at once, the rest of the minute as one event, and so are its
//! refused changes of each kind; however many calls there are, a minute costs at most two events an actor and kind, for at most
//! [`MAX_ACTORS`] actors and kinds, and one crowd a kind.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use lakehouse_types::{Actor, Code};
use serde_json::{Map, Value, json};

use crate::{Draft, EventKind, Stamp};

/// Actors, with the kind of what they tried, told apart within a minute. Those beyond share one event a kind.
const MAX_ACTORS: usize = 1024;
/// Different denials told apart within one actor's minute. Those beyond are only counted.
const MAX_KINDS: usize = 16;
/// Longest text of what was denied, in bytes.
const MAX_WHAT_BYTES: usize = 200;

const CROWD: &str = "many";

/// Denials and refusals of the present minute that are not in the log yet.
#[derive(Debug, Default)]
pub(crate) struct Denials {
    minute: i64,
    actors: HashMap<(Actor, EventKind), Tally>,
    crowds: BTreeMap<EventKind, Tally>,
}

#[derive(Debug)]
struct Tally {
    kind: EventKind,
    /// Of the first denial that waits, or of the one that was journaled at once.
    by: Stamp,
    /// What was refused, if it was the same thing each time.
    subject: Option<String>,
    /// By what is told of each, as text, so that equal ones meet.
    entries: BTreeMap<String, (Map<String, Value>, u64)>,
    others: u64,
}

/// One denial or refusal.
struct Entry {
    subject: String,
    told: Map<String, Value>,
}

impl Denials {
    /// Takes note of a denied call; returns what must be journaled now.
    pub(crate) fn note(&mut self, by: &Stamp, what: &str, code: Code) -> Vec<(Stamp, Draft)> {
        let told = members(json!({ "what": shorten(what), "code": code.as_str() }));
        self.gather(by, EventKind::Denied, &Entry { subject: by.actor.as_str().to_owned(), told })
    }

    /// Takes note of a change that was refused; returns what must be journaled now.
    pub(crate) fn note_refused(&mut self, by: &Stamp, draft: Draft) -> Vec<(Stamp, Draft)> {
        let Draft { kind, subject, details, .. } = draft;
        let mut told = members(json!({ "subject": subject }));
        told.extend(members(details));
        self.gather(by, kind, &Entry { subject, told })
    }

    fn gather(&mut self, by: &Stamp, kind: EventKind, entry: &Entry) -> Vec<(Stamp, Draft)> {
        let minute = minute(by.at);
        // A clock that steps back counts on in the minute it left.
        let mut due = if minute > self.minute { self.take() } else { Vec::new() };
        self.minute = self.minute.max(minute);
        let key = (by.actor.clone(), kind);
        if let Some(tally) = self.actors.get_mut(&key) {
            tally.add(by, entry);
        } else if self.actors.len() < MAX_ACTORS {
            self.actors.insert(key, Tally::new(by, kind));
            let mut first = Tally::new(by, kind);
            first.add(by, entry);
            due.extend(first.into_event(false));
        } else {
            self.crowds.entry(kind).or_insert_with(|| Tally::new(by, kind)).add(by, entry);
        }
        due
    }

    /// What waits, if the minute it belongs to is over.
    pub(crate) fn expire(&mut self, now: DateTime<Utc>) -> Vec<(Stamp, Draft)> {
        if minute(now) > self.minute { self.take() } else { Vec::new() }
    }

    /// All that waits.
    pub(crate) fn take(&mut self) -> Vec<(Stamp, Draft)> {
        let waiting = std::mem::take(&mut self.actors).into_values();
        let mut due: Vec<_> = waiting.filter_map(|tally| tally.into_event(false)).collect();
        due.sort_by(|(a, left), (b, right)| (a.at, &a.actor, left.kind).cmp(&(b.at, &b.actor, right.kind)));
        due.extend(std::mem::take(&mut self.crowds).into_values().filter_map(|tally| tally.into_event(true)));
        due
    }
}

impl Tally {
    fn new(by: &Stamp, kind: EventKind) -> Self {
        Self { kind, by: by.clone(), subject: None, entries: BTreeMap::new(), others: 0 }
    }

    fn add(&mut self, by: &Stamp, entry: &Entry) {
        let Entry { subject, told } = entry;
        if self.entries.is_empty() {
            self.by = by.clone();
            self.subject = Some(subject.clone());
        } else if self.subject.as_ref() != Some(subject) {
            self.subject = None;
        }
        let key = Value::Object(told.clone()).to_string();
        if let Some((_, count)) = self.entries.get_mut(&key) {
            *count += 1;
        } else if self.entries.len() < MAX_KINDS {
            self.entries.insert(key, (told.clone(), 1));
        } else {
            self.others += 1;
        }
    }

    fn into_event(self, is_crowd: bool) -> Option<(Stamp, Draft)> {
        if self.entries.is_empty() {
            return None;
        }
        let count = self.entries.values().map(|(_, count)| count).sum::<u64>() + self.others;
        let told: Vec<_> = self
            .entries
            .into_values()
            .map(|(mut told, count)| {
                told.insert("count".to_owned(), count.into());
                told
            })
            .collect();
        let is_denial = self.kind == EventKind::Denied;
        let mut details = json!({ "count": count });
        details[if is_denial { "denials" } else { "refusals" }] = json!(told);
        if self.others > 0 {
            details["others"] = self.others.into();
        }
        let subject = self.subject.filter(|_| !is_crowd).unwrap_or_else(|| CROWD.to_owned());
        let draft = Draft::new(self.kind, subject).details(details);
        Some((self.by, if is_denial { draft } else { draft.refused() }))
    }
}

fn members(value: Value) -> Map<String, Value> {
    if let Value::Object(members) = value { members } else { Map::new() }
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

    use serde_json::json;

    use super::{Denials, MAX_ACTORS, MAX_KINDS};
    use crate::{Draft, EventKind, Outcome, Stamp};

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

    #[test]
    fn refused_changes_are_gathered_apart_from_denials() {
        let mut denials = Denials::default();
        let push = |plugin: &str, failed: &str| Draft::new(EventKind::PluginPush, plugin).details(json!({ "failed": [failed] }));
        let first = denials.note_refused(&by("ada", 0), push("mask", "size"));
        let (_, draft) = &first[0];
        assert_eq!((draft.kind, draft.outcome, draft.subject.as_str()), (EventKind::PluginPush, Outcome::Refused, "mask"));
        assert_eq!(draft.details, json!({ "count": 1, "refusals": [{ "subject": "mask", "failed": ["size"], "count": 1 }] }));
        assert_eq!(counts(&denials.note(&by("ada", 0), "x", Code::Forbidden)), [("ada".into(), 1)], "a denial is another thing");
        for n in 0..10_000 {
            assert!(denials.note_refused(&by("ada", 1), push("mask", if n % 2 == 0 { "size" } else { "imports" })).is_empty());
        }
        let due = denials.take();
        assert_eq!(counts(&due), [("mask".into(), 10_000)]);
        assert_eq!(due[0].1.details["refusals"][0]["count"], 5_000);

        for n in 0..100 {
            denials.note_refused(&by("ada", 2), push(&format!("p{n}"), "size"));
        }
        let due = denials.take();
        assert_eq!(counts(&due), [("many".into(), 99)], "of the 100 the first is journaled at once");
        assert_eq!(due[0].1.details["others"], 99 - MAX_KINDS);
    }
}
