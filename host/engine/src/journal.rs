//! Reading the journal.

use std::collections::BTreeMap;

use lakehouse_access::{Action, Caller};
use lakehouse_journal::{EventKind, Filter, Page, Stats};
use lakehouse_types::Digest;

use crate::{Engine, EngineError};

/// Events of everybody that are looked through for the caller's own: what one request may cost.
pub const OWN_EVENTS_BACK: u64 = 16_384;

/// Own events held at once while they are counted.
const COUNTED_AT_ONCE: usize = 1_000;

/// Counts of the events that the caller may read.
#[derive(Debug, Default)]
pub struct JournalStats {
    pub total_events_created: u64,
    pub by_kind: BTreeMap<EventKind, u64>,
    /// The digest of the last event; of the whole journal, so only for those who may read it.
    pub head: Option<Digest>,
    /// Events older than the newest [`OWN_EVENTS_BACK`] were left out.
    pub is_recent_only: bool,
}

impl Engine {
    /// Events in order. Who may not read the whole journal sees its own events.
    ///
    /// # Errors
    /// When the caller may not, or the journal cannot be read.
    pub async fn events(
        &self,
        caller: &Caller,
        mut filter: Filter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Page, EngineError> {
        self.require(caller, Action::ReadOwnJournal).await?;
        if !caller.principal.may(Action::ReadJournal) {
            let own = &caller.principal.name;
            if filter.actor.as_ref().is_some_and(|actor| actor != own) {
                return Ok(Page { events: Vec::new(), next: None });
            }
            filter.actor = Some(own.clone());
        }
        Ok(self.journal.events(&filter, after, limit).await?)
    }

    /// How many events there are. Who may not read the whole journal has its own events counted, as far back as
    /// [`OWN_EVENTS_BACK`].
    ///
    /// # Errors
    /// When the caller may not, or the journal cannot be read.
    pub async fn journal_stats(&self, caller: &Caller) -> Result<JournalStats, EngineError> {
        self.require(caller, Action::ReadOwnJournal).await?;
        let Stats { total_events_created, by_kind, head } = self.journal.stats();
        if caller.principal.may(Action::ReadJournal) {
            return Ok(JournalStats { total_events_created, by_kind, head: Some(head), is_recent_only: false });
        }
        let filter = Filter { actor: Some(caller.principal.name.clone()), ..Filter::default() };
        let mut after = total_events_created.saturating_sub(OWN_EVENTS_BACK);
        let mut own = JournalStats { is_recent_only: after > 0, ..JournalStats::default() };
        loop {
            let page = self.journal.events(&filter, Some(after), COUNTED_AT_ONCE).await?;
            for event in page.events {
                own.total_events_created += 1;
                *own.by_kind.entry(event.kind).or_default() += 1;
            }
            match page.next {
                Some(next) if next < total_events_created => after = next,
                _ => return Ok(own),
            }
        }
    }
}
