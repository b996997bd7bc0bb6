//! Appends that wait for one table share a commit.
//!
//! What is left to do for each takes a few syncs, one after the other, however many rows it is for. Whoever gets the queue does it for
//! all that are ready by then, and puts the rows of the small ones into one file, which has the name of the first of them.
//!
//! **Invariant**: each append of a group has its own intent, outcome and journal event, and ends as if it had been alone: what one of
//! them cannot do stops none of the others.

use std::sync::Arc;

use deltalake_core::kernel::{Action, Add};
use lakehouse_catalog::{CatalogError, DatasetRecord};
use lakehouse_journal::Stamp;
use lakehouse_types::DatasetId;
use tokio::sync::oneshot;

use crate::encode::Held;
use crate::log::{Commit, CommitFailure, Operation};
use crate::records::{Counters, Intent, Outcome, Pending, Stage};
use crate::schema::widen;
use crate::snapshot::Snapshot;
use crate::table::{Queue, Table};
use crate::writer::Work;
use crate::{CommitReport, DatasetState, Rejected, TableError, Tables, WriteMode};

/// Appends of one commit.
const MAX_GROUP: usize = 64;

/// An append whose files are written, and who waits for its report.
#[derive(Debug)]
pub(crate) struct Ready {
    work: Work,
    rejected: Vec<Rejected>,
    rejected_rows: u64,
    answer: oneshot::Sender<Result<CommitReport, TableError>>,
}

/// One of a group, prepared.
struct Member {
    ready: Ready,
    actions: Vec<Action>,
    pending: Pending,
}

impl Work {
    /// Waits for the queue, and commits what is ready by then; or finds that an earlier holder has committed this, too.
    pub(crate) async fn commit_in_group(self, rejected: Vec<Rejected>, rejected_rows: u64) -> Result<CommitReport, TableError> {
        let (tables, table, id) = (Arc::clone(&self.tables), Arc::clone(&self.table), self.id.clone());
        let (answer, answered) = oneshot::channel();
        table.ready.lock().push_back(Ready { work: self, rejected, rejected_rows, answer });
        let outcome = tables.wait_in_group(&table, &id, answered).await;
        if outcome.is_err() {
            tables.forget_unborn(&table);
        }
        outcome
    }
}

const LOST: TableError = TableError::Internal { what: "a commit ended without an answer" };

impl Ready {
    fn tell(self, outcome: Result<CommitReport, TableError>) {
        // Who asked may be gone; what was done stays done.
        let _ = self.answer.send(outcome);
    }

    async fn alone(self, queue: &mut Queue) {
        let Self { work, rejected, rejected_rows, answer } = self;
        let outcome = work.commit_alone(queue, rejected, rejected_rows).await;
        let _ = answer.send(outcome);
    }
}

impl Tables {
    async fn wait_in_group(
        &self,
        table: &Arc<Table>,
        id: &str,
        mut answered: oneshot::Receiver<Result<CommitReport, TableError>>,
    ) -> Result<CommitReport, TableError> {
        loop {
            let queue = tokio::select! {
                biased;
                outcome = &mut answered => return outcome.unwrap_or(Err(LOST)),
                queue = table.queue() => queue,
            };
            match queue {
                Ok(mut queue) => {
                    let group: Vec<Ready> = {
                        let mut ready = table.ready.lock();
                        let count = ready.len().min(MAX_GROUP);
                        ready.drain(..count).collect()
                    };
                    self.commit_group(table, &mut queue, group).await;
                }
                Err(gone) => {
                    let own = {
                        let mut ready = table.ready.lock();
                        let place = ready.iter().position(|ready| ready.work.id == id);
                        place.and_then(|place| ready.remove(place))
                    };
                    let Some(own) = own else { return answered.await.unwrap_or(Err(LOST)) };
                    own.work.discard().await;
                    return Err(gone);
                }
            }
        }
    }

    /// Commits those that go together, then the others one by one.
    async fn commit_group(&self, table: &Arc<Table>, queue: &mut Queue, mut group: Vec<Ready>) {
        let mut others = Vec::new();
        if group.len() > 1 && self.settle(table, queue).await.is_ok() {
            let (members, alone) = self.sort_out(table, group).await;
            group = alone;
            if members.len() > 1 {
                others = self.commit_members(table, queue, members).await;
            } else {
                others.extend(members.into_iter().map(Member::undone));
            }
        }
        for ready in group.into_iter().chain(others) {
            ready.alone(queue).await;
        }
    }

    /// Prepares each: those that change neither schema nor key column and were not answered before go together.
    async fn sort_out(&self, table: &Arc<Table>, group: Vec<Ready>) -> (Vec<Member>, Vec<Ready>) {
        let (mut members, mut alone) = (Vec::with_capacity(group.len()), Vec::new());
        let Some(state) = table.state() else { return (members, group) };
        for mut ready in group {
            match self.prepare(&state, &mut ready).await {
                Some((actions, pending)) => members.push(Member { ready, actions, pending }),
                None => alone.push(ready),
            }
        }
        (members, alone)
    }

    /// The part of one append in a common commit; `None` where it has to go alone, which then tells why.
    async fn prepare(&self, state: &Arc<DatasetState>, ready: &mut Ready) -> Option<(Vec<Action>, Pending)> {
        let work = &mut ready.work;
        if let Some(idempotency) = &work.idempotency {
            let before = self.outcome(idempotency, &work.by.actor).await;
            if !matches!(before, Ok(None)) {
                return None;
            }
        }
        let given = work.schema.clone()?;
        let wide = widen(Some(&state.schema), &given, 1).ok()?;
        if *wide != *state.schema {
            return None;
        }
        work.recount(Some(state)).await.ok()?;
        work.tombstones = Some(Arc::clone(&state.tombstones));
        let pending = work.pending(Some(state), &state.schema, ready.rejected.clone(), ready.rejected_rows).ok()?;
        if pending.key_column != state.tombstones.column {
            return None;
        }
        let (actions, _) = work.actions(Some(state)).ok()?;
        Some((actions, pending))
    }

    /// One commit for all; answers those that have to be done alone.
    async fn commit_members(&self, table: &Arc<Table>, queue: &mut Queue, mut members: Vec<Member>) -> Vec<Ready> {
        let Some(state) = table.state() else { return undone(members) };
        // Whose fault it is shows when they are alone.
        let Ok(shared) = self.encode_together(&state, &members).await else { return undone(members) };
        if self.put_intents(table, &mut members).await.is_err() {
            return undone(members);
        }
        let bucket = table.folder.bucket();
        if let Some((file, _)) = &shared
            && file.put(bucket).await.is_err()
        {
            file.forget(bucket).await;
            return undone(members);
        }
        let committed = {
            let writes: Vec<&str> = members.iter().map(|member| member.ready.work.id.as_str()).collect();
            let own = members.iter().flat_map(|member| member.actions.iter().cloned());
            let actions = own.chain(shared.iter().map(|(_, add)| Action::Add(add.clone())));
            let by: Vec<&Stamp> = members.iter().map(|member| &member.ready.work.by).collect();
            let commit = Commit {
                snapshot: Some(&state.snapshot),
                actions: actions.collect(),
                writes: &writes,
                epoch: self.meta.epoch(),
                operation: Operation::Write(WriteMode::Append),
                erasure: None,
                by: &by,
                rows: members.iter().map(|member| member.ready.work.rows).sum(),
            };
            match table.log.commit(commit).await {
                Ok(snapshot) => Ok(Some(snapshot)),
                Err(CommitFailure::Refused(_)) => {
                    if let Some((file, _)) = &shared {
                        file.forget(bucket).await;
                    }
                    Ok(None)
                }
                Err(CommitFailure::Conflict(_) | CommitFailure::Unclear(_)) => {
                    table.log.after_failure(writes[0], Some(state.version)).await
                }
            }
        };
        let snapshot = match committed {
            Ok(Some(snapshot)) => snapshot,
            // The file stays: should the commit come all the same, it names it. A purge deletes what nothing names.
            Ok(None) => return undone(members),
            Err(error) => {
                tracing::warn!(dataset = %table.name, error = %error, "the outcome of a commit is not known yet");
                doubt_all(table, queue, members);
                return Vec::new();
            }
        };
        members.iter_mut().for_each(|member| member.pending.report.version = snapshot.version());
        match self.publish_members(table, &state, &members, snapshot).await {
            Ok(()) => members.into_iter().for_each(|member| {
                let Member { ready, pending, .. } = member;
                ready.tell(Ok(pending.report));
            }),
            Err(error) => {
                tracing::warn!(dataset = %table.name, error = %error, "a commit is in the log, its outcome is not");
                doubt_all(table, queue, members);
            }
        }
        Vec::new()
    }

    /// One file of the rows that are in memory; `None` where there are none.
    async fn encode_together(&self, state: &DatasetState, members: &[Member]) -> Result<Option<(Held, Add)>, TableError> {
        let waiting = || members.iter().map(|member| &member.ready.work).filter(|work| !work.waiting.is_empty());
        let Some(first) = waiting().next() else { return Ok(None) };
        let batches = waiting().flat_map(|work| work.waiting.iter().cloned()).collect();
        // Should they have to go alone after all, the first file of each is its own.
        self.encode(Arc::clone(&state.schema), batches, first.target(1)).await.map(Some)
    }

    async fn put_intents(&self, table: &Table, members: &mut [Member]) -> Result<(), TableError> {
        let mut transaction = self.meta.begin().await?;
        for Member { ready, pending, .. } in members {
            ready.work.intended = true;
            let stage = Stage::Committing(Box::new(pending.clone()));
            transaction.put(&ready.work.id, &Intent::new(table, &ready.work.by, stage))?;
        }
        Ok(transaction.commit().await?)
    }

    /// The one metadata transaction of a group, then the state.
    async fn publish_members(
        &self,
        table: &Arc<Table>,
        state: &DatasetState,
        members: &[Member],
        snapshot: Snapshot,
    ) -> Result<(), TableError> {
        let hidden = state.hidden + members.iter().map(|member| member.pending.report.tombstoned_keys).sum::<u64>();
        let first = &members[0].ready.work.by;
        self.catalog
            .edit(first, |present, edit| {
                let mut record: DatasetRecord = present.dataset(&table.name)?.as_ref().clone();
                record.mark_stale(first.at);
                edit.put_dataset(record)?;
                for Member { ready, pending, .. } in members {
                    let by = &ready.work.by;
                    edit.event(pending.event(&table.name).by(by.clone()));
                    if let Some(idempotency) = &pending.idempotency {
                        let outcome = Outcome {
                            fingerprint: idempotency.fingerprint.clone(),
                            report: pending.report.clone(),
                            at: by.at,
                            dataset_id: DatasetId::new(table.folder.id()).ok(),
                        };
                        edit.txn().put(&idempotency.record_key(&by.actor), &outcome).map_err(CatalogError::from)?;
                    }
                    edit.txn().delete::<Intent>(&ready.work.id);
                }
                edit.txn().put(table.folder.id(), &Counters::new(hidden)).map_err(CatalogError::from)?;
                Ok::<_, TableError>(())
            })
            .await?;
        let tombstones = Arc::clone(&state.tombstones);
        let next = table.state_of(snapshot, tombstones, hidden)?;
        table.set_state(Some(Arc::new(next)));
        Ok(())
    }
}

impl Member {
    /// The append as it was before it was prepared.
    fn undone(self) -> Ready {
        let Self { mut ready, actions, .. } = self;
        ready.work.adds.extend(actions.into_iter().filter_map(|action| match action {
            Action::Add(add) => Some(add),
            _ => None,
        }));
        ready
    }
}

fn undone(members: Vec<Member>) -> Vec<Ready> {
    members.into_iter().map(Member::undone).collect()
}

/// Leaves all to whoever holds the queue next.
fn doubt_all(table: &Table, queue: &mut Queue, members: Vec<Member>) {
    for Member { ready, .. } in members {
        queue.doubt(&ready.work.id);
        ready.tell(Err(TableError::OutcomeUnknown { dataset: table.name.clone() }));
    }
}
