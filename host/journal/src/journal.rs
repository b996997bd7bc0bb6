//! Appends: the one place where events get their numbers.
//!
//! **Invariant**: one commit at a time takes numbers, in the order of the metadata log, and a caller that goes away never stops
//! one half way. Waiting for the disk happens outside that order, so that commits share log writes.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
    time::Duration,
};

use lakehouse_storage::{Meta, Record, Submitted, Transaction};
use lakehouse_types::{Clock, Code, Digest};
use serde::{Deserialize, Serialize};

use crate::{
    Draft, Event, EventKind, JournalError, Result, Stamp,
    chain::{self, GENESIS, Hash},
    denials::Denials,
    pseudonym::Pseudonyms,
};

/// How often gathered denials and refusals are looked at; they are journaled when their minute is over.
const DENIALS_EVERY: Duration = Duration::from_secs(5);

/// The end of the log, stored with every commit so that a start reads one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) seq: u64,
    pub(crate) digest: Digest,
    pub(crate) by_kind: BTreeMap<EventKind, u64>,
}

impl Record for Head {
    const COLLECTION: &'static str = "journal_head";
    const FORMAT: u32 = 1;
}

impl Head {
    pub(crate) const KEY: &str = "head";

    pub(crate) fn empty() -> Self {
        Self { seq: 0, digest: Digest::from_bytes(&GENESIS), by_kind: BTreeMap::new() }
    }
}

/// The state of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stats {
    pub total_events_created: u64,
    pub by_kind: BTreeMap<EventKind, u64>,
    /// The digest of the last event.
    pub head: Digest,
}

impl From<Head> for Stats {
    fn from(head: Head) -> Self {
        Self { total_events_created: head.seq, by_kind: head.by_kind, head: head.digest }
    }
}

/// The journal. Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) meta: Meta,
    /// The end as the next commit continues it; `None` after a failure whose outcome is unknown.
    head: tokio::sync::Mutex<Option<Head>>,
    /// The end as far as it is durable.
    stats: RwLock<Stats>,
    denials: Mutex<Denials>,
    pseudonyms: Pseudonyms,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the journal; at first start it makes the key of the pseudonyms. Reads two records, however long the log is. Over metadata
    /// that another host writes nothing is appended, see [`Journal::reload`].
    ///
    /// # Errors
    /// When the metadata store fails.
    pub async fn open(meta: Meta, clock: Arc<dyn Clock>) -> Result<Self> {
        let head = meta.collection::<Head>().get(Head::KEY).await?.unwrap_or_else(Head::empty);
        let pseudonyms = Pseudonyms::open(&meta).await?;
        let shared = Arc::new(Shared {
            meta,
            stats: RwLock::new(head.clone().into()),
            head: tokio::sync::Mutex::new(Some(head)),
            denials: Mutex::new(Denials::default()),
            pseudonyms,
        });
        if !shared.meta.is_reader() {
            shared.meta.runtime().spawn(watch_denials(Arc::downgrade(&shared), clock));
        }
        Ok(Self { shared })
    }

    /// Reads how far another host has come.
    ///
    /// # Errors
    /// When the metadata store fails.
    pub async fn reload(&self) -> Result<()> {
        let head = self.shared.meta.collection::<Head>().get(Head::KEY).await?.unwrap_or_else(Head::empty);
        self.shared.publish(head);
        Ok(())
    }

    /// Commits `transaction` together with its events; durable when it returns. Answers the number of the last event. Once
    /// begun, it runs to its end even when the caller goes away.
    ///
    /// # Errors
    /// [`JournalError::is_conflict`] when another change came first: nothing was written, begin again.
    pub async fn commit(&self, transaction: Transaction, by: &Stamp, drafts: Vec<Draft>) -> Result<u64> {
        let drafts = drafts.into_iter().map(|mut draft| (draft.by.take().unwrap_or_else(|| by.clone()), draft));
        self.append(transaction, drafts.collect()).await
    }

    /// Appends one event that belongs to no change of metadata.
    ///
    /// # Errors
    /// When the metadata store fails.
    pub async fn record(&self, by: &Stamp, draft: Draft) -> Result<u64> {
        let transaction = self.shared.meta.begin().await?;
        self.append(transaction, vec![(by.clone(), draft)]).await
    }

    /// Takes note of a denied call. The first of an actor and minute is journaled at once, the rest as one event when the
    /// minute is over. `what` names the action or route, never a value.
    ///
    /// # Errors
    /// When the metadata store fails.
    pub async fn deny(&self, by: &Stamp, what: &str, code: Code) -> Result<()> {
        if self.shared.meta.is_reader() {
            // Whoever only reads has its own log.
            tracing::warn!(actor = %by.actor, request_id = %by.request_id, code = code.as_str(), what, "denied");
            return Ok(());
        }
        let due = self.shared.lock_denials().note(by, what, code);
        self.append_due(due).await
    }

    /// Takes note of a change that was tried and refused, as [`Self::deny`] does of a denied call: the first of an actor, kind and
    /// minute is journaled at once, the rest as one event. `draft` is what would have been journaled, its details an object of
    /// bounded size.
    ///
    /// # Errors
    /// When the metadata store fails.
    pub async fn refuse(&self, by: &Stamp, draft: Draft) -> Result<()> {
        if self.shared.meta.is_reader() {
            return Ok(());
        }
        let due = self.shared.lock_denials().note_refused(by, draft);
        self.append_due(due).await
    }

    /// Journals denials and refusals that still wait. For shutdown, before the metadata store closes.
    ///
    /// # Errors
    /// When the metadata store fails.
    pub async fn flush(&self) -> Result<()> {
        let due = self.shared.lock_denials().take();
        self.append_due(due).await
    }

    /// The durable state of the log. Costs nothing.
    pub fn stats(&self) -> Stats {
        self.shared.stats.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The keyed hash under which events name a row key: 32 hexadecimal digits, always the same for one value.
    pub fn pseudonym(&self, value: &str) -> String {
        self.shared.pseudonyms.of(value)
    }

    async fn append_due(&self, due: Vec<(Stamp, Draft)>) -> Result<()> {
        if !due.is_empty() {
            let transaction = self.shared.meta.begin().await?;
            self.append(transaction, due).await?;
        }
        Ok(())
    }

    async fn append(&self, transaction: Transaction, drafts: Vec<(Stamp, Draft)>) -> Result<u64> {
        let shared = Arc::clone(&self.shared);
        let append = self.shared.meta.runtime().spawn(async move {
            let (submitted, head) = shared.submit(transaction, drafts).await?;
            submitted.durable().await?;
            let seq = head.seq;
            shared.publish(head);
            Ok(seq)
        });
        append.await.map_err(|_| JournalError::Storage(lakehouse_storage::StorageError::TaskLost))?
    }
}

impl Shared {
    /// Numbers the events and orders the commit.
    async fn submit(&self, mut transaction: Transaction, drafts: Vec<(Stamp, Draft)>) -> Result<(Submitted, Head)> {
        let mut end = self.head.lock().await;
        let mut head = match end.take() {
            Some(head) => head,
            // Read past what is durable: the commit whose outcome was unknown may have taken numbers.
            None => self.meta.latest(Head::KEY).await?.unwrap_or_else(Head::empty),
        };
        let before = head.clone();
        if let Err(error) = stage(&mut transaction, &mut head, drafts) {
            *end = Some(before);
            return Err(error);
        }
        match transaction.submit().await {
            Ok(submitted) => {
                *end = Some(head.clone());
                Ok((submitted, head))
            }
            Err(error) => {
                if error.is_conflict() {
                    *end = Some(before);
                }
                Err(error.into())
            }
        }
    }

    /// Commits become durable in order, but their tasks may wake out of order.
    fn publish(&self, head: Head) {
        let mut stats = self.stats.write().unwrap_or_else(PoisonError::into_inner);
        if head.seq > stats.total_events_created {
            *stats = head.into();
        }
    }

    fn lock_denials(&self) -> std::sync::MutexGuard<'_, Denials> {
        self.denials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts the events after `head` into the transaction and moves `head` to the last of them.
fn stage(transaction: &mut Transaction, head: &mut Head, drafts: Vec<(Stamp, Draft)>) -> Result<()> {
    if drafts.is_empty() {
        return Ok(());
    }
    let mut end: Hash =
        chain::bytes(&head.digest).ok_or(JournalError::Broken { seq: head.seq, what: "the end of the chain is no digest" })?;
    for (by, draft) in drafts {
        head.seq += 1;
        let event = Event::new(head.seq, &by, draft);
        let (link, payload, digest) = chain::seal(&end, &event)?;
        end = digest;
        head.digest = link.digest.clone();
        *head.by_kind.entry(event.kind).or_default() += 1;
        transaction.put(&chain::key(head.seq), &link)?;
        transaction.put(&chain::key(head.seq), &payload)?;
    }
    // The lock around this call orders the writers of the head.
    transaction.put_ordered(Head::KEY, head)?;
    Ok(())
}

async fn watch_denials(shared: Weak<Shared>, clock: Arc<dyn Clock>) {
    loop {
        tokio::time::sleep(DENIALS_EVERY).await;
        let Some(shared) = shared.upgrade() else { return };
        let due = shared.lock_denials().expire(clock.now());
        if let Err(error) = (Journal { shared }).append_due(due).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "denials were not journaled");
        }
    }
}

#[cfg(test)]
mod tests;
