//! Keeping a host that wrote before from ending what it began.
//!
//! Such a host cannot write to the metadata any more, and begins nothing without that; but a commit whose intent is durable may be on its
//! way to the log. So the next version of such a table is taken by a commit that changes nothing: the older host finds the place taken, and
//! an application transaction there that its own depends on, and gives up.
//!
//! **Invariant**: after [`Tables::fence`] a write of an earlier host is in the table's log or never will be.

use lakehouse_journal::SystemActor;
use lakehouse_storage::Bucket;
use object_store_13::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, path::Path};
use serde_json::{Value, json};

use crate::folder::LOG;
use crate::log::{Commit, CommitFailure, EPOCH, Operation};
use crate::repair::has_log;
use crate::table::Table;
use crate::{DatasetState, TableError, Tables, WriteMode};

/// How often the place is tried for: each failure means that the older host came first, and it has few commits left.
const TRIES: usize = 8;
const FIRST: &str = "00000000000000000000.json";

/// What a folder is that no dataset has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has a Delta log.
    Table,
    /// Its log says no more than that a writer of this epoch took the first version.
    Fence(u64),
    /// It has no log.
    Litter,
}

pub(crate) async fn standing(bucket: &Bucket, folder: &Path) -> Result<Standing, TableError> {
    if !has_log(bucket, folder).await? {
        return Ok(Standing::Litter);
    }
    let log = folder.clone().join(LOG);
    let listed = bucket.compat().list_with_delimiter(Some(&log)).await?;
    if listed.objects.len() > 1 {
        return Ok(Standing::Table);
    }
    let first = match bucket.compat().get(&log.join(FIRST)).await {
        Ok(first) => first.bytes().await?,
        Err(object_store_13::Error::NotFound { .. }) => return Ok(Standing::Table),
        Err(error) => return Err(error.into()),
    };
    let fence = serde_json::from_slice::<Value>(&first).ok().and_then(|only| only.get("commitInfo")?.get(EPOCH)?.as_u64());
    Ok(fence.map_or(Standing::Table, Standing::Fence))
}

impl Tables {
    /// Takes the next version of a table on which a write was under way. For the holder of its queue.
    pub(crate) async fn fence(&self, table: &Table) -> Result<(), TableError> {
        if !self.fenced.lock().insert(table.folder.id().to_owned()) {
            return Ok(());
        }
        let fenced = match table.state() {
            Some(state) => self.fence_next(table, &state).await,
            None => self.fence_first(table).await,
        };
        if fenced.is_err() {
            self.fenced.lock().remove(table.folder.id());
        }
        fenced
    }

    async fn fence_next(&self, table: &Table, state: &DatasetState) -> Result<(), TableError> {
        let by = SystemActor::Host.stamp(self.clock.now());
        let mut snapshot = state.snapshot.clone();
        for _ in 0..TRIES {
            let commit = Commit {
                snapshot: Some(&snapshot),
                actions: Vec::new(),
                writes: &[],
                epoch: self.meta.epoch(),
                operation: Operation::Write(WriteMode::Append),
                erasure: None,
                by: &[&by],
                rows: 0,
            };
            match table.log.commit(commit).await {
                Ok(snapshot) => {
                    let (tombstones, hidden) = (state.tombstones.clone(), state.hidden);
                    let next = table.state_of(snapshot, tombstones, hidden)?;
                    table.set_state(Some(next.into()));
                    return Ok(());
                }
                Err(CommitFailure::Conflict(_) | CommitFailure::Unclear(_)) => snapshot = table.log.load().await?,
                Err(failure) => return Err(failure.into_error(table.name.clone())),
            }
        }
        Err(TableError::OutcomeUnknown { dataset: table.name.clone() })
    }

    /// The same of a table that has no version yet.
    async fn fence_first(&self, table: &Table) -> Result<(), TableError> {
        let bucket = table.folder.bucket();
        let info = json!({ "commitInfo": { "timestamp": self.clock.now().timestamp_millis(), EPOCH: self.meta.epoch() } });
        let options = PutOptions::from(PutMode::Create);
        let place = table.folder.path().join(LOG).join(FIRST);
        match bucket.compat().put_opts(&place, format!("{info}\n").into_bytes().into(), options).await {
            // It came first.
            Ok(_) | Err(object_store_13::Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
