//! One host writes; others read beside it, and one of them writes in its place when it is gone.
//!
//! **Invariants**: a host that reads sees keys and rules of the writer before the data that they are for. A host whose place was taken knows
//! it by its next sign of life, and can have written nothing since.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use lakehouse_storage::{Beat, Claim, Meta, MetaOptions};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use crate::{Engine, EngineError, tasks::Tasks};

/// How often what the writer did is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often a writer gives a sign of life.
const BEAT_EVERY: Duration = Duration::from_secs(2);
/// How long a writer is silent that is taken to be gone.
const SILENCE: Duration = Duration::from_secs(10);

/// What a host is to do next, when it is no longer to do what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Another host has taken its place: it may only read.
    Read,
    /// Nobody writes any more.
    Write,
    /// The writer has been silent for too long.
    TakeOver,
}

impl Turn {
    /// How to open the engine for it.
    pub fn claim(self) -> Claim {
        match self {
            Self::Read => Claim::Read,
            Self::Write => Claim::Write,
            Self::TakeOver => Claim::TakeOver,
        }
    }
}

/// How this host stands to others.
#[derive(Debug)]
pub(crate) struct Follower {
    turn: watch::Sender<Option<Turn>>,
    /// The writer's last sign of life, and when it was seen.
    seen: Mutex<(Option<Beat>, Instant)>,
    /// When what the writer did was last seen.
    caught_up: Mutex<Instant>,
}

impl Default for Follower {
    fn default() -> Self {
        let now = Instant::now();
        Self { turn: watch::Sender::new(None), seen: Mutex::new((None, now)), caught_up: Mutex::new(now) }
    }
}

impl Follower {
    /// Whether a writer is gone whose last sign is this.
    fn verdict(&self, beat: Option<Beat>) -> Option<Turn> {
        let mut seen = self.seen.lock();
        if beat.as_ref().is_some_and(|beat| beat.has_ended) {
            return Some(Turn::Write);
        }
        if seen.0 != beat {
            *seen = (beat, Instant::now());
        }
        (seen.1.elapsed() >= SILENCE).then_some(Turn::TakeOver)
    }

    fn begin_anew(&self) {
        self.seen.lock().1 = Instant::now();
    }

    fn tell(&self, turn: Turn) {
        self.turn.send_if_modified(|told| told.replace(turn) != Some(turn));
    }
}

impl Engine {
    /// Whether it only reads what another host writes.
    pub fn is_reader(&self) -> bool {
        self.meta.is_reader()
    }

    /// How long ago it last knew all that the writer had done; nothing for the writer.
    pub fn behind_for(&self) -> Option<Duration> {
        self.is_reader().then(|| self.follower.caught_up.lock().elapsed())
    }

    /// Waits until this host is to do something else than it does: to read only, since another has taken its place, or to write, since
    /// nobody does. For one who asks.
    pub async fn turn(&self) -> Turn {
        let mut told = self.follower.turn.subscribe();
        loop {
            let turn = *told.borrow_and_update();
            if let Some(turn) = turn {
                // Told anew, if it is still so when it could not be done.
                self.follower.turn.send_replace(None);
                return turn;
            }
            if told.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Sees what the writer did since the last look: keys first, then what they open.
    async fn catch_up(&self) -> Result<(), EngineError> {
        let began = Instant::now();
        if self.meta.refresh().await? {
            self.keys.reload().await?;
            self.registry.reload().await?;
            self.catalog.reload().await?;
            self.tables.reload().await?;
            self.jobs.reload().await?;
            self.journal.reload().await?;
        }
        *self.follower.caught_up.lock() = began;
        Ok(())
    }

    /// Whether there is a writer still.
    async fn look_for_writer(&self) -> Result<Option<Turn>, EngineError> {
        if self.buckets.is_lock_free() {
            return Ok(Some(Turn::Write));
        }
        let beat = self.meta.last_beat().await?;
        let mut verdict = self.follower.verdict(beat);
        if verdict == Some(Turn::TakeOver) {
            // This host may be the one that does not see: it looks with fresh eyes before it takes what is another's.
            let fresh = Meta::follow(&self.buckets.primary(), MetaOptions::default()).await?;
            let beat = fresh.last_beat().await;
            fresh.close().await?;
            verdict = self.follower.verdict(beat?);
        }
        // Where there is a lock, it says when a writer has ended.
        Ok(verdict.filter(|turn| *turn != Turn::Write || self.buckets.primary().local_path().is_none()))
    }
}

impl Tasks {
    /// Follows what another host writes, and looks whether it still does.
    pub(crate) fn follow(&self, engine: &Arc<Engine>) {
        let engine = Arc::downgrade(engine);
        self.spawn("follow", async move {
            let mut is_told = false;
            while let Some(engine) = engine.upgrade() {
                let outcome = engine.catch_up().await;
                if let (Err(error), false) = (&outcome, is_told) {
                    tracing::warn!(%error, "what the writer does cannot be seen for now");
                }
                is_told = outcome.is_err();
                if is_told {
                    // Silence is heard only by who hears.
                    engine.follower.begin_anew();
                }
                match engine.look_for_writer().await {
                    Ok(Some(turn)) => engine.follower.tell(turn),
                    Ok(None) => {}
                    Err(error) => tracing::debug!(%error, "the writer's last sign of life cannot be read"),
                }
                drop(engine);
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
    }

    /// Says again and again that this host writes, and learns whether it still may.
    pub(crate) fn give_signs_of_life(&self, engine: &Arc<Engine>) {
        let engine: Weak<Engine> = Arc::downgrade(engine);
        self.spawn("signs of life", async move {
            loop {
                tokio::time::sleep(BEAT_EVERY).await;
                let Some(engine) = engine.upgrade() else { return };
                match engine.meta.beat().await {
                    Ok(()) => {}
                    Err(error) if error.is_fenced() => {
                        engine.follower.tell(Turn::Read);
                        return;
                    }
                    Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "a sign of life could not be given"),
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lakehouse_storage::Beat;

    use super::{Follower, SILENCE, Turn};

    #[tokio::test(start_paused = true)]
    async fn a_writer_is_gone_when_it_says_so_or_is_silent_for_ten_seconds() {
        let follower = Follower::default();
        let beat = |count, has_ended| Some(Beat { epoch: 1, count, has_ended });
        for count in 0..20 {
            assert_eq!(follower.verdict(beat(count, false)), None);
            tokio::time::advance(Duration::from_secs(2)).await;
        }
        assert_eq!(follower.verdict(beat(19, false)), None);
        tokio::time::advance(SILENCE).await;
        assert_eq!(follower.verdict(beat(20, false)), None, "it gave a sign");
        tokio::time::advance(SILENCE).await;
        assert_eq!(follower.verdict(beat(20, false)), Some(Turn::TakeOver));
        assert_eq!(follower.verdict(beat(21, true)), Some(Turn::Write));
    }
}
