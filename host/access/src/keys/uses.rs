//! When keys were last used: known in memory, written down now and then.
//!
//! **Invariant**: no request waits for a write, and nothing but a key that opened is a use. What is shown is no later than the last
//! use, and no more than [`RESOLUTION`] earlier; after a start, earlier by what was not written down yet.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use lakehouse_storage::{Meta, Record};
use lakehouse_types::KeyId;
use serde::{Deserialize, Serialize};

use super::{
    Keys,
    present::{Entry, Present},
};
use crate::AccessError;

/// Uses closer together than this are one.
const RESOLUTION: Duration = Duration::from_mins(1);
/// Written in one transaction.
const BATCH: usize = 1_000;

/// The last use of one key.
#[derive(Debug, Default)]
pub(super) struct LastUsed {
    /// Seconds since the epoch; 0 when never.
    at: AtomicI64,
    /// As far as it is written down.
    kept: AtomicI64,
}

impl LastUsed {
    /// The key opened.
    pub(super) fn touch(&self, now: DateTime<Utc>) {
        let (now, before) = (now.timestamp(), self.at.load(Ordering::Relaxed));
        if now.saturating_sub(before) >= RESOLUTION.as_secs().cast_signed() {
            self.at.fetch_max(now, Ordering::Relaxed);
        }
    }

    pub(super) fn at(&self) -> Option<DateTime<Utc>> {
        Some(self.at.load(Ordering::Relaxed)).filter(|at| *at > 0).and_then(|at| DateTime::from_timestamp(at, 0))
    }

    /// Learns what was written down, by this host or another.
    fn learn(&self, kept: DateTime<Utc>) {
        self.at.fetch_max(kept.timestamp(), Ordering::Relaxed);
        self.kept.fetch_max(kept.timestamp(), Ordering::Relaxed);
    }

    /// What is to be written down.
    fn unkept(&self) -> Option<DateTime<Utc>> {
        self.at().filter(|at| at.timestamp() > self.kept.load(Ordering::Relaxed))
    }
}

/// The last use of a key, as it is stored beside the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeyUse {
    pub(super) at: DateTime<Utc>,
}

impl Record for KeyUse {
    const COLLECTION: &'static str = "key_uses";
    const FORMAT: u32 = 1;
}

pub(super) async fn load(meta: &Meta) -> Result<Vec<(String, KeyUse)>, AccessError> {
    Ok(meta.collection::<KeyUse>().all().await?)
}

impl Keys {
    /// Whether another host writes what keys there are.
    pub fn is_reader(&self) -> bool {
        self.shared.meta.is_reader()
    }

    /// Writes down which keys were used since this was last done, and says how many; for a task in the background, at most once a
    /// minute or so, and for the end. Where another host writes nothing is written.
    ///
    /// # Errors
    /// When the metadata store fails; what is not written down yet is the next time.
    pub async fn keep_uses(&self) -> Result<usize, AccessError> {
        if self.is_reader() {
            return Ok(0);
        }
        let present = self.shared.present.load_full();
        let unkept = |(id, entry): (&KeyId, &Arc<Entry>)| {
            let at = entry.used.unkept()?;
            Some((id.clone(), Arc::clone(&entry.used), at))
        };
        let due: Vec<_> = present.entries.iter().filter_map(unkept).collect();
        for batch in due.chunks(BATCH) {
            let mut txn = self.shared.meta.begin().await?;
            for (id, _, at) in batch {
                txn.put(id.as_str(), &KeyUse { at: *at })?;
            }
            txn.commit().await?;
            for (_, used, at) in batch {
                used.learn(*at);
            }
        }
        Ok(due.len())
    }
}

/// Tells the keys what was written down.
pub(super) fn tell(present: &Present, uses: Vec<(String, KeyUse)>) {
    for (id, KeyUse { at }) in uses {
        // Not of a key that had the id before.
        let is_own = |entry: &&Arc<Entry>| at.timestamp() >= entry.record.info.created_at.timestamp();
        if let Some(entry) = present.entries.get(id.as_str()).filter(is_own) {
            entry.used.learn(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Duration, Utc};

    use super::{KeyUse, LastUsed};

    #[test]
    fn a_use_is_noted_once_a_minute_and_time_never_goes_back() {
        let start: DateTime<Utc> = "2026-01-02T03:04:05Z".parse().unwrap();
        let used = LastUsed::default();
        assert_eq!((used.at(), used.unkept()), (None, None));
        for (after, shown) in [(0, 0), (59, 0), (60, 60), (10, 60), (119, 60), (180, 180)] {
            used.touch(start + Duration::seconds(after));
            assert_eq!(used.at(), Some(start + Duration::seconds(shown)), "{after} s");
        }
        assert_eq!(used.unkept(), used.at());
        used.learn(start + Duration::seconds(180));
        assert_eq!(used.unkept(), None);
        used.learn(start);
        assert_eq!(used.at(), Some(start + Duration::seconds(180)));
    }

    #[test]
    fn the_stored_form_stays_as_it_is() {
        let golden = include_str!("../../golden/key-use-1.json").trim_end();
        let used: KeyUse = serde_json::from_str(golden).unwrap();
        assert_eq!(serde_json::to_string(&used).unwrap(), golden);
    }
}
