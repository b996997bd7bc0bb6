//! Signs of life of the host that writes.
//!
//! **Invariant**: each is a commit, so that a host that was superseded learns of it by the next one; whoever waits for silence counts by its
//! own clock, from the last sign that it saw.

use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use super::Meta;
use crate::{
    Record, Result,
    record::{encode, full_key},
};

/// The last sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Of the writer, see [`Meta::epoch`].
    pub epoch: u64,
    /// How many it has given.
    pub count: u64,
    /// The host has stopped in an orderly way: nobody writes.
    pub has_ended: bool,
}

impl Beat {
    const KEY: &'static str = "writer";
}

impl Record for Beat {
    const COLLECTION: &'static str = "host_beats";
    const FORMAT: u32 = 1;
}

impl Meta {
    /// Gives a sign of life. When it returns, this host was the writer a moment ago: what it had listed before holds nothing of a
    /// successor.
    ///
    /// # Errors
    /// [`crate::StorageError::is_fenced`] when another host is the writer now; when the store fails.
    pub async fn beat(&self) -> Result<()> {
        self.say(false).await
    }

    /// The writer's last sign.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn last_beat(&self) -> Result<Option<Beat>> {
        self.collection::<Beat>().get(Beat::KEY).await
    }

    /// The same, for whoever keeps transactions out.
    pub(super) async fn beat_alone(&self) -> Result<()> {
        let beat = encode(&self.next(false))?;
        let store = self.store();
        let db = store.db()?;
        self.on_io(async { db.put(full_key::<Beat>(Beat::KEY), beat).await.map(drop) }).await?;
        self.on_io(db.flush()).await
    }

    pub(super) async fn say(&self, has_ended: bool) -> Result<()> {
        let mut transaction = self.begin().await?;
        // Several may be on their way, and none minds the others.
        transaction.put_ordered(Beat::KEY, &self.next(has_ended))?;
        transaction.commit().await
    }

    fn next(&self, has_ended: bool) -> Beat {
        Beat { epoch: self.epoch(), count: self.shared.beats.fetch_add(1, Relaxed) + 1, has_ended }
    }
}
