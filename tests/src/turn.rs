//! Leave to run: a server that is timed runs while no other does.

use std::sync::{Arc, OnceLock};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Leave to run beside others, or alone. A test takes one and shares it among its servers: who holds one and waits for another
/// waits for ever, when somebody who wants to be alone has come between.
pub(crate) enum Turn {
    Beside(#[expect(dead_code, reason = "held")] OwnedRwLockReadGuard<()>),
    Alone(#[expect(dead_code, reason = "held")] OwnedRwLockWriteGuard<()>),
}

impl Turn {
    pub(crate) async fn take(alone: bool) -> Self {
        static TURNS: OnceLock<Arc<RwLock<()>>> = OnceLock::new();
        let turns = TURNS.get_or_init(Default::default).clone();
        if alone { Self::Alone(turns.write_owned().await) } else { Self::Beside(turns.read_owned().await) }
    }

    /// For servers that are no [`Lake`].
    pub(crate) async fn beside() -> Self {
        Self::take(false).await
    }
}
