//! Whose turn it is to ingest.
//!
//! **Invariant**: a body that still arrives holds no turn, so that slow senders hold up nobody whose file is here; one actor has at
//! most its share of the places, so that it shuts out nobody but itself; nobody waits longer than [`WAIT`] for a place or a turn.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use lakehouse_types::Actor;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::EngineError;

/// How long a file waits to be let in, and once more for its turn.
const WAIT: Duration = Duration::from_secs(30);

/// Files at once for each turn, arriving, waiting or having it: what bounds the spool.
const PLACES_PER_TURN: usize = 16;

/// Of the places, what one actor may have: one in so many.
const SHARES: usize = 4;

/// The places of all files, and the turns of those that are whole.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    places: Arc<Semaphore>,
    share: usize,
    /// What is left to each actor that has or awaits a place.
    shares: Arc<Mutex<HashMap<Actor, Arc<Semaphore>>>>,
    working: Arc<Semaphore>,
}

/// A place for one file, until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _own: OwnedSemaphorePermit,
    _any: OwnedSemaphorePermit,
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
        let places = concurrency.saturating_mul(PLACES_PER_TURN);
        Self {
            places: Arc::new(Semaphore::new(places)),
            share: (places / SHARES).max(1),
            shares: Arc::default(),
            working: Arc::new(Semaphore::new(concurrency)),
        }
    }

    /// A place for one file of the actor.
    pub(crate) async fn place(&self, actor: &Actor) -> Result<Place, EngineError> {
        let (own, places) = (self.share_of(actor), Arc::clone(&self.places));
        let both = async { Some(Place { _own: own.acquire_owned().await.ok()?, _any: places.acquire_owned().await.ok()? }) };
        timeout(WAIT, both).await.ok().flatten().ok_or_else(busy)
    }

    fn share_of(&self, actor: &Actor) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        // Every place, and everybody who awaits one, holds its actor's.
        shares.retain(|_, left| Arc::strong_count(left) > 1);
        Arc::clone(shares.entry(actor.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.share))))
    }

    /// A turn for files that are all here.
    pub(crate) async fn turn(&self) -> Result<OwnedSemaphorePermit, EngineError> {
        take(&self.working).await.ok_or_else(busy)
    }

    /// The body, which ends only once it has its turn; `look` is asked at that moment, and may still turn it away.
    pub(crate) fn when_whole<T: Send + Sync + 'static>(
        &self,
        body: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        look: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> (impl Stream<Item = io::Result<Bytes>> + Send + 'static, Turn<T>) {
        let turn = Arc::new(OnceLock::new());
        let (working, taken) = (Arc::clone(&self.working), Arc::clone(&turn));
        let end = async move {
            let permit = take(&working).await.ok_or_else(|| io::Error::other(NoTurn))?;
            let _ = taken.set((permit, look()?));
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
    use lakehouse_types::Actor;
    use tokio::time::Instant;

    use super::{PLACES_PER_TURN, SHARES, Turns, WAIT, is_no_turn};
    use crate::EngineError;

    fn actor(name: &str) -> Actor {
        Actor::new(name).unwrap()
    }

    fn whole() -> impl futures::Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::iter([Ok(Bytes::from_static(b"id\n")), Ok(Bytes::from_static(b"1\n"))])
    }

    #[tokio::test]
    async fn a_body_takes_its_turn_at_its_end_and_keeps_it() {
        let turns = Turns::new(1);
        let (send, receive) = mpsc::unbounded();
        let (slow, slow_turn) = turns.when_whole(receive, || Ok(()));
        let mut slow = Box::pin(slow);
        send.unbounded_send(Ok(Bytes::from_static(b"id\n"))).unwrap();
        assert!(slow.next().await.unwrap().is_ok());
        assert_eq!(slow_turn.seen(), None, "it still arrives");

        let (body, turn) = turns.when_whole(whole(), || Ok(7));
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
        let (body, _held) = turns.when_whole(whole(), || Ok(()));
        body.try_collect::<Vec<_>>().await.unwrap();
        let (body, turn) = turns.when_whole(whole(), || Ok(()));
        let late = body.try_collect::<Vec<_>>().await.unwrap_err();
        assert!(is_no_turn(&late) && turn.seen().is_none());

        let mut places = Vec::new();
        for n in 0..PLACES_PER_TURN {
            places.push(turns.place(&actor(&format!("a{n}"))).await.unwrap());
        }
        let began = Instant::now();
        assert!(matches!(turns.place(&actor("late")).await, Err(EngineError::IngestBusy { .. })));
        assert_eq!(began.elapsed().as_secs(), WAIT.as_secs());
        drop(places);
        assert!(turns.place(&actor("late")).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_actor_has_its_share_of_the_places_and_no_more() {
        let turns = Turns::new(1);
        let mut places = Vec::new();
        for _ in 0..PLACES_PER_TURN / SHARES {
            places.push(turns.place(&actor("greedy")).await.unwrap());
        }
        let began = Instant::now();
        assert!(matches!(turns.place(&actor("greedy")).await, Err(EngineError::IngestBusy { .. })));
        let waited = began.elapsed();
        assert_eq!(waited.as_secs(), WAIT.as_secs());
        assert!(turns.place(&actor("another")).await.is_ok());
        assert_eq!(began.elapsed(), waited, "others do not wait");
        places.pop();
        assert!(turns.place(&actor("greedy")).await.is_ok());
        drop(places);
        turns.place(&actor("another")).await.unwrap();
        assert_eq!(turns.shares.lock().unwrap().len(), 1, "who has no place is forgotten");
    }

    #[tokio::test]
    async fn a_body_that_is_looked_at_and_turned_away_has_no_turn() {
        let turns = Turns::new(1);
        let (body, turn) = turns.when_whole(whole(), || Err::<(), _>(io::Error::other("not any more")));
        let error = body.try_collect::<Vec<_>>().await.unwrap_err();
        assert_eq!((error.to_string().as_str(), turn.seen()), ("not any more", None));
        assert_eq!(turns.working.available_permits(), 1);
    }
}
