//! What runs in the background, and how it ends.
//!
//! **Invariant**: after [`Tasks::stop`] nothing of it runs any more; a task that panics says so in the log and takes nothing with
//! it.

use std::{future::Future, panic::AssertUnwindSafe, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use croner::Cron;
use futures::FutureExt;
use lakehouse_access::{AccessWatch, Keys};
use lakehouse_journal::{Draft, EventKind, Journal, SystemActor};
use lakehouse_plugins::Registry;
use lakehouse_query::QueryEngine;
use lakehouse_truth::{Status, Truth};
use lakehouse_types::Clock;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Engine, pace::Pace};

/// How often a schedule looks at the clock: what is due is late by no more.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(1);
/// How often quiet keys are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// How often it is written down which keys were used.
const KEEP_USES_EVERY: Duration = Duration::from_mins(1);

/// Keys that an event names at most.
const MAX_NAMED: usize = 100;

/// The running tasks.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    stop: CancellationToken,
    running: TaskTracker,
}

impl Tasks {
    /// Runs `work` until it ends or everything stops.
    pub(crate) fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.running.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                ended = AssertUnwindSafe(work).catch_unwind() => {
                    if ended.is_err() {
                        tracing::error!(task = name, "a background task failed");
                    }
                }
            }
        });
    }

    /// Follows the folder of truth rules; an edit that came into force is journaled.
    pub(crate) fn watch_truth(&self, truth: Truth, poll: Duration, journal: Journal, clock: Arc<dyn Clock>) {
        let (tell, mut told) = mpsc::channel::<Status>(16);
        self.spawn("truth watch", async move {
            truth
                .watch(poll, |status| {
                    let _ = tell.try_send(status.clone());
                })
                .await;
        });
        self.spawn("truth journal", async move {
            while let Some(status) = told.recv().await {
                if status.error.is_some() {
                    continue;
                }
                let by = SystemActor::TruthFolder.stamp(clock.now());
                let details = json!({ "rules": status.rules, "files": status.files, "revision": status.revision });
                let draft = Draft::new(EventKind::TruthReload, "truth").details(details);
                if let Err(error) = journal.record(&by, draft).await {
                    tracing::warn!(%error, "a reload of truth rules could not be journaled");
                }
            }
        });
    }

    /// Lets go of what is known of quiet keys, and of answers in pages that nobody reads on.
    pub(crate) fn tidy(&self, pace: Pace, query: Arc<QueryEngine>) {
        self.spawn("tidy", async move {
            loop {
                tokio::time::sleep(FORGET_EVERY).await;
                pace.forget_the_quiet();
                query.forget_old_answers();
            }
        });
    }

    /// Follows the access file; an edit that came into force is journaled, by the host that writes.
    pub(crate) fn watch_access(&self, mut watch: AccessWatch, keys: &Keys, journal: Journal, clock: Arc<dyn Clock>) {
        let is_reader = keys.is_reader();
        self.spawn("access file", async move {
            loop {
                let reload = watch.next().await;
                if is_reader {
                    continue;
                }
                let changed: Vec<_> = reload.changed.iter().take(MAX_NAMED).collect();
                let details = json!({
                    "grants": reload.status.grants, "groups": reload.status.groups, "revision": reload.status.revision,
                    "changed_keys": changed, "changed_count": reload.changed.len(),
                });
                let by = SystemActor::AccessFile.stamp(clock.now());
                let draft = Draft::new(EventKind::AccessReload, "access").details(details);
                if let Err(error) = journal.record(&by, draft).await {
                    tracing::warn!(%error, "a reload of the access file could not be journaled");
                }
            }
        });
    }

    /// Writes down now and then which keys were used.
    pub(crate) fn keep_uses(&self, keys: Keys) {
        self.spawn("uses of keys", async move {
            loop {
                tokio::time::sleep(KEEP_USES_EVERY).await;
                if let Err(error) = keys.keep_uses().await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "when keys were last used could not be written down"
                    );
                }
            }
        });
    }

    /// Installs what is dropped into the plugin folder.
    pub(crate) fn watch_plugins(&self, registry: &Arc<Registry>, folder: PathBuf) {
        let watch = registry.watch_folder(folder);
        self.spawn("plugin folder", async move {
            let _watch = watch;
            std::future::pending::<()>().await;
        });
    }

    /// Compacts at the times that the settings say.
    pub(crate) fn watch_schedule(&self, engine: &Arc<Engine>) {
        let schedule = engine.settings().compaction.schedule.as_deref().and_then(|text| Cron::from_str(text).ok());
        let Some(schedule) = schedule else { return };
        let (engine, clock) = (Arc::downgrade(engine), engine.clock.clone());
        self.spawn("compaction schedule", async move {
            loop {
                let Ok(next) = schedule.find_next_occurrence(&clock.now(), false) else { return };
                // In steps, so that a clock that is set anew is heeded.
                while clock.now() < next {
                    let left = (next - clock.now()).to_std().unwrap_or_default();
                    tokio::time::sleep(left.min(LOOK_AT_CLOCK)).await;
                }
                let Some(engine) = engine.upgrade() else { return };
                engine.compact_on_schedule().await;
            }
        });
    }

    /// Cancels all tasks and waits for them.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.running.close();
        self.running.wait().await;
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::Tasks;

    #[tokio::test]
    async fn stopping_ends_tasks_that_would_run_forever() {
        let tasks = Tasks::default();
        let held = Arc::new(());
        let inside = held.clone();
        tasks.spawn("endless", async move {
            let _inside = inside;
            std::future::pending::<()>().await;
        });
        tasks.spawn("broken", async { panic!("on purpose") });
        tokio::time::timeout(Duration::from_secs(5), tasks.stop()).await.expect("the tasks ended");
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
