//! Places for queries, for all and for each caller, and a queue in front of them.
//!
//! **Invariant**: no caller holds more places than its own number, so that one who asks much leaves places to others; who waits for a
//! place of its own holds none of the others'.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use lakehouse_types::Actor;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use crate::error::QueryError;

/// Waiting queries for each place.
const QUEUE_FACTOR: usize = 4;

#[derive(Debug)]
pub(super) struct Admission {
    all: Arc<Queue>,
    /// Places of one caller.
    each: usize,
    own: Mutex<HashMap<Actor, Weak<Queue>>>,
}

/// A query's place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _place: OwnedSemaphorePermit,
    _own: Option<(OwnedSemaphorePermit, Arc<Queue>)>,
}

impl From<OwnedSemaphorePermit> for Place {
    /// A place that somebody else gives out.
    fn from(place: OwnedSemaphorePermit) -> Self {
        Self { _place: place, _own: None }
    }
}

impl Admission {
    pub(super) fn new(places: usize, each: usize) -> Self {
        Self { all: Arc::new(Queue::new(places)), each: each.min(places), own: Mutex::default() }
    }

    /// A place, at once or when one is free before `ends`.
    pub(super) async fn enter(&self, caller: &Actor, ends: Instant) -> Result<Place, QueryError> {
        let own = if self.each < self.all.places { Some(self.queue_of(caller)) } else { None };
        let own = match own {
            Some(queue) => Some((queue.enter(ends).await?, queue)),
            None => None,
        };
        Ok(Place { _place: self.all.enter(ends).await?, _own: own })
    }

    /// Those who wait for a place among all.
    pub(super) fn waiting(&self) -> usize {
        self.all.waiting.load(Ordering::Acquire)
    }

    /// A caller's queue lives as long as somebody is in it.
    fn queue_of(&self, caller: &Actor) -> Arc<Queue> {
        let mut own = self.own.lock();
        if let Some(queue) = own.get(caller).and_then(Weak::upgrade) {
            return queue;
        }
        own.retain(|_, queue| queue.strong_count() > 0);
        let queue = Arc::new(Queue::new(self.each));
        own.insert(caller.clone(), Arc::downgrade(&queue));
        queue
    }
}

/// Places, and those who wait for one.
#[derive(Debug)]
struct Queue {
    free: Arc<Semaphore>,
    places: usize,
    waiting: AtomicUsize,
}

/// Counts one who waits, until it no longer does.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Queue {
    fn new(places: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(places)), places, waiting: AtomicUsize::new(0) }
    }

    async fn enter(&self, ends: Instant) -> Result<OwnedSemaphorePermit, QueryError> {
        if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(place);
        }
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        let busy = || QueryError::Busy { waiting: before };
        if before >= self.places * QUEUE_FACTOR {
            return Err(busy());
        }
        match timeout_at(ends.into(), Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(busy()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use lakehouse_types::Actor;

    use super::Admission;
    use crate::error::QueryError;

    fn actor(name: &str) -> Actor {
        Actor::new(name).unwrap()
    }

    #[tokio::test]
    async fn a_full_house_lets_some_wait_and_sends_the_rest_away() {
        let (admission, ada) = (Admission::new(1, 1), actor("ada"));
        let soon = Instant::now() + Duration::from_millis(80);
        let place = admission.enter(&ada, soon).await.unwrap();
        let waiting = futures::future::join_all((0..6).map(|_| admission.enter(&ada, soon))).await;
        let busy: Vec<usize> = waiting
            .iter()
            .map(|one| match one {
                Err(QueryError::Busy { waiting }) => *waiting,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(busy, [0, 1, 2, 3, 4, 4], "four waited in vain, two were sent away at once");
        drop(place);
        assert!(admission.enter(&ada, Instant::now() + Duration::from_secs(1)).await.is_ok());
    }

    #[tokio::test]
    async fn one_who_asks_much_leaves_places_to_others_and_nothing_stays_of_who_left() {
        let (admission, ada, bob) = (Admission::new(3, 2), actor("ada"), actor("bob"));
        let soon = || Instant::now() + Duration::from_millis(50);
        let first = admission.enter(&ada, soon()).await.unwrap();
        let second = admission.enter(&ada, soon()).await.unwrap();
        assert!(admission.enter(&ada, soon()).await.is_err(), "both of ada's places are taken");
        let other = admission.enter(&bob, soon()).await.unwrap();
        assert!(admission.enter(&bob, soon()).await.is_err(), "the house is full");
        drop(first);
        let third = admission.enter(&ada, soon()).await.unwrap();
        drop((second, third, other));
        drop(admission.enter(&actor("eve"), soon()).await.unwrap());
        assert!(admission.own.lock().len() <= 1);
    }
}
