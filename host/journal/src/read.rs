//! Reading the log, and checking it.
//!
//! **Invariant**: an event is shown only after its payload was checked against its link, and its link against the one before; one
//! call examines a bounded number of events.

use chrono::{DateTime, Utc};
use lakehouse_storage::Collection;
use lakehouse_types::{Actor, DatasetName};

use crate::{
    Event, EventKind, Journal, JournalError, Result,
    chain::{self, GENESIS, Hash, Link, Payload},
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

/// A link with its payload, unless that was erased.
struct Entry {
    seq: u64,
    link: Link,
    payload: Option<Payload>,
}

/// How far the chain was followed: the last event, and the digest that its link must have.
#[derive(Clone, Copy)]
struct Place {
    seq: u64,
    digest: Hash,
}

impl Place {
    /// The place after the event `seq`, which must be the next one, with a link that continues from here.
    fn follow(self, seq: u64, link: &Link) -> Result<Self> {
        let next = self.seq + 1;
        if seq != next {
            return Err(JournalError::Broken { seq: next, what: MISSING });
        }
        Ok(Self { seq, digest: link.follow(&self.digest, seq)? })
    }
}

const MISSING: &str = "the event is missing";

impl Journal {
    /// The first `limit` events after number `after` that the filter wants.
    ///
    /// Whatever is examined on the way is checked: numbers have no gaps, each link follows from the one before it, each payload is
    /// what was sealed, and the log ends where it ended when this began. Who reads all pages has checked the whole log.
    ///
    /// # Errors
    /// When the metadata store fails, or [`JournalError::Broken`], which names the first event that is not in order.
    pub async fn events(&self, filter: &Filter, after: Option<u64>, limit: usize) -> Result<Page> {
        let end = self.stats();
        let mut events = Vec::new();
        let Some(mut place) = self.place(after.unwrap_or(0), end.total_events_created).await? else {
            return Ok(Page { events, next: None });
        };
        let mut examined = 0;
        while limit > 0 && examined < EXAMINED_PER_PAGE {
            let entries = self.entries(place.seq).await?;
            let is_last_batch = entries.len() < BATCH;
            examined += entries.len();
            for Entry { seq, link, payload } in entries {
                if events.len() == limit {
                    return Ok(Page { events, next: Some(place.seq) });
                }
                let before = place;
                place = place.follow(seq, &link)?;
                if seq == end.total_events_created && link.digest != end.head {
                    return Err(JournalError::Broken { seq, what: "the chain ends elsewhere" });
                }
                let Some(payload) = payload else { continue };
                let event = payload.open(seq, &link)?;
                if filter.wants(&event) {
                    events.push(Event { proof: Some(payload.into_proof(&before.digest, &link)), ..event });
                }
            }
            if is_last_batch && place.seq < end.total_events_created {
                return Err(JournalError::Broken { seq: place.seq + 1, what: MISSING });
            }
            if is_last_batch {
                return Ok(Page { events, next: None });
            }
        }
        Ok(Page { events, next: Some(place.seq) })
    }

    /// The place of event number `seq`, from which the chain goes on; `None` beyond the end of the log.
    async fn place(&self, seq: u64, end: u64) -> Result<Option<Place>> {
        if seq == 0 {
            return Ok(Some(Place { seq, digest: GENESIS }));
        }
        match self.shared.meta.collection::<Link>().get(&chain::key(seq)).await? {
            Some(link) => {
                let digest = chain::bytes(&link.digest).ok_or(JournalError::Broken { seq, what: "the digest is none" })?;
                Ok(Some(Place { seq, digest }))
            }
            None if seq <= end => Err(JournalError::Broken { seq, what: MISSING }),
            None => Ok(None),
        }
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
