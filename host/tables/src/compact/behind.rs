//! Compactions that stop half way, as after a kill, and looks at what they would decide.

use std::sync::Arc;
use std::time::Instant;

use lakehouse_journal::Stamp;
use lakehouse_types::{DatasetName, Unwatched};

use super::swap::swap_actions;
use super::{Attempt, Order, Scope};
use crate::log::{Commit, Operation};
use crate::records::Stage;
use crate::{DatasetState, Tables};

impl Tables {
    /// Does what a compaction does up to its publication, and no more.
    pub(crate) async fn compact_behind(&self, name: &DatasetName, by: &Stamp, committed: bool) {
        let (table, state) = self.existing(name).expect("the dataset exists");
        let order = order(by, Scope::Whole);
        let attempt = Attempt::new(self, &table, &order);
        let choice = attempt.choose(&state).await.expect("files are found");
        let written = attempt.rewrite(&state, &choice).await.expect("files are written");
        let pending = attempt.pending(&state, &choice, &written);
        let actions = swap_actions(&state, &choice, written, self.clock.now()).expect("the log is read");
        let stage = Stage::Compacting(Box::new(pending));
        self.put_intent(&table, &attempt.write, by, stage).await.expect("an intent is kept");
        if committed {
            let commit = Commit {
                snapshot: Some(&state.snapshot),
                actions,
                writes: &[&attempt.write],
                epoch: self.meta.epoch(),
                operation: Operation::Compact { drops_rows: true },
                erasure: None,
                by: &[by],
                rows: 0,
            };
            table.log.commit(commit).await.expect("the log takes the commit");
        }
    }

    /// Whether a compaction that read `pinned` could take its place now.
    pub(crate) async fn could_swap(&self, by: &Stamp, pinned: &Arc<DatasetState>, scope: Scope) -> bool {
        let (table, present) = self.existing(&pinned.name).expect("the dataset exists");
        let order = order(by, scope);
        let attempt = Attempt::new(self, &table, &order);
        let choice = attempt.choose(pinned).await.expect("files are found");
        attempt.goes_with(pinned, &present, &choice).await.expect("files are read")
    }
}

fn order(by: &Stamp, scope: Scope) -> Order {
    Order { by: by.clone(), scope, started: Instant::now(), progress: Arc::new(Unwatched) }
}
