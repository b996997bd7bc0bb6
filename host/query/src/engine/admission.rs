//! Places for queries, and a queue in front of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use crate::error::QueryError;

/// Waiting queries for each place.
const QUEUE_FACTOR: usize = 4;

#[derive(Debug)]
pub(super) struct Admission {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    longest: usize,
}

/// Counts one who waits, until it no longer does.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Admission {
    pub(super) fn new(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), waiting: AtomicUsize::new(0), longest: places * QUEUE_FACTOR }
    }

    /// A place, at once or when one is free before `ends`.
    pub(super) async fn enter(&self, ends: Instant) -> Result<OwnedSemaphorePermit, QueryError> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        let busy = || QueryError::Busy { waiting: before };
        if before >= self.longest {
            return Err(busy());
        }
        match timeout_at(ends.into(), Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(busy()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Admission;
    use crate::error::QueryError;

    #[tokio::test]
    async fn a_full_house_lets_some_wait_and_sends_the_rest_away() {
        let admission = Admission::new(1);
        let soon = Instant::now() + Duration::from_millis(80);
        let place = admission.enter(soon).await.unwrap();
        let waiting = futures::future::join_all((0..6).map(|_| admission.enter(soon))).await;
        let busy: Vec<usize> = waiting
            .iter()
            .map(|one| match one {
                Err(QueryError::Busy { waiting }) => *waiting,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(busy, [0, 1, 2, 3, 4, 4], "four waited in vain, two were sent away at once");
        drop(place);
        assert!(admission.enter(Instant::now() + Duration::from_secs(1)).await.is_ok());
    }
}
