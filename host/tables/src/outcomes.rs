//! Answers of idempotent requests.
//!
//! **Invariant**: an answer is repeated for as long as it is true and no longer: its dataset is there, with the rows that it speaks
//! of, and it is not older than [`DAYS`].

use std::sync::Weak;
use std::time::Duration;

use chrono::TimeDelta;
use lakehouse_types::Actor;

use crate::records::Outcome;
use crate::table::Absence;
use crate::{CommitReport, Idempotency, TableError, Tables};

/// How long an idempotent request is remembered.
pub(crate) const DAYS: i64 = 7;
/// How often old answers are looked for.
pub(crate) const FORGET_EVERY: Duration = Duration::from_hours(24);
/// Answers that are read, and forgotten, at once.
const BATCH: usize = 1000;

impl Tables {
    /// The answer of an earlier request with this key.
    ///
    /// # Errors
    /// When that was another request.
    pub(crate) async fn outcome(&self, of: &Idempotency, actor: &Actor) -> Result<Option<CommitReport>, TableError> {
        match self.meta.collection::<Outcome>().get(&of.record_key(actor)).await? {
            Some(outcome) if !self.holds(&outcome) => Ok(None),
            Some(outcome) if outcome.fingerprint != of.fingerprint => Err(TableError::IdempotencyMismatch),
            found => Ok(found.map(|outcome| CommitReport { is_repeat: true, ..outcome.report })),
        }
    }

    fn holds(&self, outcome: &Outcome) -> bool {
        let is_there = self.table(&outcome.report.dataset).is_some_and(|table| {
            let is_same = outcome.dataset_id.as_ref().is_none_or(|id| id.as_str() == table.folder.id());
            is_same && !matches!(table.absence(), Some(Absence::Lost(_)))
        });
        is_there && outcome.at >= self.clock.now() - TimeDelta::days(DAYS)
    }

    /// Forgets the answers that hold no more.
    pub(crate) async fn forget_outcomes(&self) -> Result<(), TableError> {
        let mut after = None;
        loop {
            let found = self.meta.collection::<Outcome>().scan("", after.as_deref(), BATCH).await?;
            let Some((last, _)) = found.last() else { return Ok(()) };
            after = Some(last.clone());
            let is_last = found.len() < BATCH;
            let old: Vec<String> = found.into_iter().filter(|(_, outcome)| !self.holds(outcome)).map(|(key, _)| key).collect();
            if !old.is_empty() {
                let mut transaction = self.meta.begin().await?;
                for key in old {
                    // A new answer may have come under the key.
                    if transaction.get::<Outcome>(&key).await?.is_some_and(|outcome| !self.holds(&outcome)) {
                        transaction.delete::<Outcome>(&key);
                    }
                }
                match transaction.commit().await {
                    Err(error) if error.is_conflict() => tracing::debug!("answers came under keys that were to be forgotten"),
                    committed => committed?,
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }
}

/// Forgets old answers now and then, for as long as the tables are open.
pub(crate) async fn forget_every(pause: Duration, tables: Weak<Tables>) {
    loop {
        tokio::time::sleep(pause).await;
        let Some(tables) = tables.upgrade() else { return };
        if let Err(error) = tables.forget_outcomes().await {
            tracing::warn!(error = %error, "old answers of idempotent requests stay for now");
        }
    }
}
