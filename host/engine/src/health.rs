//! Whether what the server stands on answers.

use std::{future::Future, time::Duration};

use tokio::{sync::Mutex, time::Instant};

use crate::Engine;

/// A part that takes longer counts as failing.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long an answer holds: strangers may ask as often as they like.
const HOLDS: Duration = Duration::from_secs(1);

/// Which parts answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// All buckets.
    pub storage: bool,
    /// The metadata store.
    pub metadata: bool,
}

/// The last answer. Whoever asks while the parts are being asked waits for that answer.
#[derive(Debug, Default)]
pub(crate) struct Probe(Mutex<Option<(Instant, Health)>>);

impl Probe {
    async fn health(&self, ask: impl Future<Output = Health>) -> Health {
        let mut last = self.0.lock().await;
        match *last {
            Some((at, health)) if at.elapsed() < HOLDS => health,
            _ => {
                let health = ask.await;
                *last = Some((Instant::now(), health));
                health
            }
        }
    }
}

impl Engine {
    /// Whether storage and metadata answer, as of a second ago at most. Answers within two seconds.
    pub async fn health(&self) -> Health {
        self.probe.health(self.ask_parts()).await
    }

    /// Asks both at once.
    async fn ask_parts(&self) -> Health {
        let storage = async { self.buckets.health().await.iter().all(|bucket| bucket.healthy) };
        let metadata = async { self.meta.health().await.is_ok() };
        let (storage, metadata) = tokio::join!(tokio::time::timeout(PATIENCE, storage), tokio::time::timeout(PATIENCE, metadata));
        Health { storage: storage.unwrap_or(false), metadata: metadata.unwrap_or(false) }
    }

    /// Object store operations so far, over all buckets.
    pub fn storage_counts(&self) -> [(&'static str, u64); 6] {
        let mut totals = [("read", 0), ("write", 0), ("delete", 0), ("list", 0), ("error", 0), ("retry", 0)];
        for bucket in self.buckets.iter() {
            let counts = bucket.counts();
            let each = [counts.reads, counts.writes, counts.deletes, counts.lists, counts.errors, counts.retries];
            for ((_, total), count) in totals.iter_mut().zip(each) {
                *total += count;
            }
        }
        totals
    }

    /// Bytes read from and written to the object stores so far, over all buckets.
    pub fn storage_bytes(&self) -> [(&'static str, u64); 2] {
        let counts: Vec<_> = self.buckets.iter().map(lakehouse_storage::Bucket::counts).collect();
        let sum = |of: fn(&lakehouse_storage::BucketCounts) -> u64| counts.iter().map(of).sum();
        [("read", sum(|counts| counts.read_bytes)), ("write", sum(|counts| counts.written_bytes))]
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::{HOLDS, Health, Probe};

    #[tokio::test(start_paused = true)]
    async fn the_parts_are_asked_once_a_second_however_many_want_to_know() {
        let (probe, asked) = (Probe::default(), AtomicUsize::new(0));
        let ask = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
            Health { storage: true, metadata: false }
        };
        let answers = futures::future::join_all((0..50).map(|_| probe.health(ask()))).await;
        assert!(answers.iter().all(|health| *health == Health { storage: true, metadata: false }));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        tokio::time::sleep(HOLDS).await;
        probe.health(ask()).await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
