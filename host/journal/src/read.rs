//! Reading the log, and checking it.
//!
//! **Invariant**: an event is shown only after its payload was checked against its link; one call examines a bounded number of
//! events.

use chrono::{DateTime, Utc};
use lakehouse_storage::Collection;
use lakehouse_types::{Actor, DatasetName, Digest};
use serde::Serialize;

use crate::{
    Event, EventKind, Journal, JournalError, Result,
    chain::{self, GENESIS, Link, Payload},
    journal::Head,
};

/// Events fetched at once.
const BATCH: usize = 512;
/// Events examined for one page; a rare filter answers a shorter page and a cursor.
const EXAMINED_PER_PAGE: usize = 16_384;

/// Which events are wanted. Empty means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before this time.
    pub since: Option<DateTime<Utc>>,
    /// Before this time.
    pub until: Option<DateTime<Utc>>,
    pub actor: Option<Actor>,
    pub dataset: Option<DatasetName>,
    pub kind: Option<EventKind>,
}

impl Filter {
    fn wants(&self, event: &Event) -> bool {
        self.since.is_none_or(|since| event.at >= since)
            && self.until.is_none_or(|until| event.at < until)
            && self.actor.as_ref().is_none_or(|actor| event.actor == *actor)
            && self.dataset.as_ref().is_none_or(|dataset| event.dataset.as_ref() == Some(dataset))
            && self.kind.is_none_or(|kind| event.kind == kind)
    }
}

/// Events in the order of their numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    pub events: Vec<Event>,
    /// Where the next page begins, when there may be more.
    pub next: Option<u64>,
}

/// What a full check of the log found to be in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    pub events: u64,
    /// Events whose payload is gone. Their links still hold.
    pub erased: u64,
    /// The digest of the last event.
    pub head: Digest,
}

/// A link with its payload, unless that was erased.
struct Entry {
    seq: u64,
    link: Link,
    payload: Option<Payload>,
}

impl Journal {
    /// The first `limit` events after number `after` that the filter wants.
    ///
    /// # Errors
    /// When the metadata store fails, or an event does not match its link.
    pub async fn events(&self, filter: &Filter, after: Option<u64>, limit: usize) -> Result<Page> {
        let mut events = Vec::new();
        let mut cursor = after.unwrap_or(0);
        let mut examined = 0;
        while limit > 0 && examined < EXAMINED_PER_PAGE {
            let entries = self.entries(cursor).await?;
            let last_batch = entries.len() < BATCH;
            examined += entries.len();
            for Entry { seq, link, payload } in entries {
                if events.len() == limit {
                    return Ok(Page { events, next: Some(cursor) });
                }
                cursor = seq;
                let Some(payload) = payload else { continue };
                let event = payload.open(seq, &link)?;
                if filter.wants(&event) {
                    events.push(event);
                }
            }
            if last_batch {
                return Ok(Page { events, next: None });
            }
        }
        Ok(Page { events, next: Some(cursor) })
    }

    /// Checks every event there was when it began: numbers without gaps, links that follow each other, payloads that are what
    /// was sealed, and totals that agree.
    ///
    /// # Errors
    /// [`JournalError::Broken`] names the first event that is not in order.
    pub async fn verify(&self) -> Result<Verification> {
        let head = self.shared.meta.collection::<Head>().get(Head::KEY).await?.unwrap_or_else(Head::empty);
        let mut seen = Head::empty();
        let (mut end, mut erased) = (GENESIS, 0);
        while seen.seq < head.seq {
            let entries = self.entries(seen.seq).await?;
            if entries.is_empty() {
                return Err(JournalError::Broken { seq: seen.seq + 1, what: "the event is missing" });
            }
            for Entry { seq, link, payload } in entries {
                if seen.seq == head.seq {
                    break;
                }
                if seq != seen.seq + 1 {
                    return Err(JournalError::Broken { seq: seen.seq + 1, what: "the event is missing" });
                }
                end = link.follow(&end, seq)?;
                match payload {
                    Some(payload) => *seen.by_kind.entry(payload.open(seq, &link)?.kind).or_default() += 1,
                    None => erased += 1,
                }
                seen.seq = seq;
            }
        }
        seen.digest = Digest::from_bytes(&end);
        if seen.digest != head.digest {
            return Err(JournalError::Broken { seq: head.seq, what: "the chain ends elsewhere" });
        }
        if erased == 0 && seen.by_kind != head.by_kind {
            return Err(JournalError::Broken { seq: head.seq, what: "the totals do not agree" });
        }
        Ok(Verification { events: seen.seq, erased, head: seen.digest })
    }

    /// The next batch of entries after number `after`.
    async fn entries(&self, after: u64) -> Result<Vec<Entry>> {
        let after = chain::key(after);
        let links: Collection<Link> = self.shared.meta.collection();
        let links = links.scan("", Some(&after), BATCH).await?;
        let payloads: Collection<Payload> = self.shared.meta.collection();
        let mut payloads = payloads.scan("", Some(&after), links.len()).await?.into_iter().peekable();
        links
            .into_iter()
            .map(|(key, link)| {
                let seq = chain::seq(&key).ok_or(JournalError::Broken { seq: 0, what: "a key is no number" })?;
                // A payload is written with its link or not at all, so one without a link is damage.
                if payloads.peek().is_some_and(|(next, _)| *next < key) {
                    return Err(JournalError::Broken { seq, what: "the link before it is missing" });
                }
                let payload = payloads.next_if(|(next, _)| *next == key).map(|(_, payload)| payload);
                Ok(Entry { seq, link, payload })
            })
            .collect()
    }
}
