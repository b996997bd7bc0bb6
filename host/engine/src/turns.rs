//! Whose turn it is to ingest.
//!
//! **Invariant**: a body that still arrives holds no turn, so that slow senders hold up nobody whose file is here; nobody waits
//! longer than [`WAIT`] for a place or a turn.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::EngineError;

/// How long a file waits to be let in, and once more for its turn.
const WAIT: Duration = Duration::from_secs(30);

/// Files at once for each turn, arriving, waiting or having it: what bounds the spool.
const PLACES_PER_TURN: usize = 16;

/// The places of all files, and the turns of those that are whole.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    places: Arc<Semaphore>,
    working: Arc<Semaphore>,
}

/// The turn of one file, once its body was whole, with what was seen at that moment. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn<T>(Arc<OnceLock<(OwnedSemaphorePermit, T)>>);

impl<T: Copy> Turn<T> {
    pub(crate) fn seen(&self) -> Option<T> {
        self.0.get().map(|(_, seen)| *seen)
    }
}

/// Ends a body whose turn did not come.
#[derive(Debug, thiserror::Error)]
#[error("no turn came")]
struct NoTurn;

pub(crate) fn is_no_turn(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(inner) if inner.is::<NoTurn>())
}

pub(crate) fn busy() -> EngineError {
    EngineError::IngestBusy { waited: WAIT }
}

impl Turns {
    pub(crate) fn new(concurrency: usize) -> Self {
        let places = Semaphore::new(concurrency.saturating_mul(PLACES_PER_TURN));
        Self { places: Arc::new(places), working: Arc::new(Semaphore::new(concurrency)) }
    }

    /// A place for one file, until it is dropped.
    pub(crate) async fn place(&self) -> Result<OwnedSemaphorePermit, EngineError> {
        take(&self.places).await.ok_or_else(busy)
    }

    /// The body, which ends only once it has its turn; `look` is asked at that moment.
    pub(crate) fn when_whole<T: Send + Sync + 'static>(
        &self,
        body: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> (impl Stream<Item = io::Result<Bytes>> + Send + 'static, Turn<T>) {
        let turn = Arc::new(OnceLock::new());
        let (working, taken) = (Arc::clone(&self.working), Arc::clone(&turn));
        let end = async move {
            let permit = take(&working).await.ok_or_else(|| io::Error::other(NoTurn))?;
            let _ = taken.set((permit, look()));
            Ok(Bytes::new())
        };
        (body.chain(stream::once(end)), Turn(turn))
    }
}

async fn take(semaphore: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    timeout(WAIT, Arc::clone(semaphore).acquire_owned()).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use std::io;

    use bytes::Bytes;
    use futures::{StreamExt, TryStreamExt, channel::mpsc, stream};

    use super::{PLACES_PER_TURN, Turns, is_no_turn};
    use crate::EngineError;

    fn whole() -> impl futures::Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::iter([Ok(Bytes::from_static(b"id\n")), Ok(Bytes::from_static(b"1\n"))])
    }

    #[tokio::test]
    async fn a_body_takes_its_turn_at_its_end_and_keeps_it() {
        let turns = Turns::new(1);
        let (send, receive) = mpsc::unbounded();
        let (slow, slow_turn) = turns.when_whole(receive, || ());
        let mut slow = Box::pin(slow);
        send.unbounded_send(Ok(Bytes::from_static(b"id\n"))).unwrap();
        assert!(slow.next().await.unwrap().is_ok());
        assert_eq!(slow_turn.seen(), None, "it still arrives");

        let (body, turn) = turns.when_whole(whole(), || 7);
        assert_eq!(body.try_collect::<Vec<_>>().await.unwrap().concat(), b"id\n1\n");
        assert_eq!((turn.seen(), turns.working.available_permits()), (Some(7), 0));
        drop(turn);
        drop(send);
        assert!(slow.next().await.unwrap().unwrap().is_empty());
        assert!(slow.next().await.is_none() && slow_turn.seen().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let turns = Turns::new(1);
        let (body, _held) = turns.when_whole(whole(), || ());
        body.try_collect::<Vec<_>>().await.unwrap();
        let (body, turn) = turns.when_whole(whole(), || ());
        let late = body.try_collect::<Vec<_>>().await.unwrap_err();
        assert!(is_no_turn(&late) && turn.seen().is_none());

        let mut places = Vec::new();
        for _ in 0..PLACES_PER_TURN {
            places.push(turns.place().await.unwrap());
        }
        assert!(matches!(turns.place().await, Err(EngineError::IngestBusy { .. })));
        drop(places);
        assert!(turns.place().await.is_ok());
    }
}
