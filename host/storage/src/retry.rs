//! Bounded retries of calls that may be repeated without changing what they mean.
//!
//! **Invariant**: only transient failures of idempotent calls are repeated, never more than [`RetryPolicy::attempts`] times, and never
//! once [`RetryPolicy::patience`] has passed: a conditional write whose outcome is unknown is reported, not repeated, unless its
//! store can tell its own write from another's. This is the one place of retries: the HTTP client below has none, and of those above
//! only the metadata store, to whom a lost write is the end, asks again when this has given up.

use std::{error::Error, future::Future, io, sync::Arc, time::Duration};

use object_store::client::{HttpError, HttpErrorKind};
use tokio::time::Instant;

use crate::{
    metrics::{Counters, add},
    s3::Refusal,
};

/// How often and how patiently a call is repeated.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Calls in all, the first included; at least 1.
    pub attempts: u32,
    /// The pause before the second call; it doubles from there.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// Once this long after its beginning, a call is not repeated any more.
    pub patience: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 4,
            first_pause: Duration::from_millis(20),
            longest_pause: Duration::from_secs(1),
            patience: Duration::from_secs(20),
        }
    }
}

impl RetryPolicy {
    /// For a store behind a network: about 14 seconds of pauses, as long as a service takes to move or to slow us down.
    pub fn remote() -> Self {
        Self {
            attempts: 10,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(3),
            patience: Duration::from_secs(20),
        }
    }

    /// Repeats `call` while it fails in a way that passes.
    pub(crate) async fn run<T, F>(self, counters: &Arc<Counters>, mut call: impl FnMut() -> F) -> object_store::Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let mut attempts = Attempts::new(self, Arc::clone(counters));
        loop {
            match call().await {
                Err(error) if attempts.again(&error).await => {}
                outcome => return outcome,
            }
        }
    }
}

/// What is left of the patience with one call.
#[derive(Debug)]
pub(crate) struct Attempts {
    policy: RetryPolicy,
    counters: Arc<Counters>,
    left: u32,
    pause: Duration,
    begun: Instant,
}

impl Attempts {
    pub(crate) fn new(policy: RetryPolicy, counters: Arc<Counters>) -> Self {
        let left = policy.attempts.saturating_sub(1);
        Self { policy, counters, left, pause: policy.first_pause, begun: Instant::now() }
    }

    /// As at the beginning.
    pub(crate) fn renew(&mut self) {
        self.left = self.policy.attempts.saturating_sub(1);
        self.pause = self.policy.first_pause;
        self.begun = Instant::now();
    }

    /// Whether the call is to be repeated after `error`; then the pause has passed.
    pub(crate) async fn again(&mut self, error: &object_store::Error) -> bool {
        if self.left == 0 || self.begun.elapsed() + self.pause > self.policy.patience || !is_transient(error) {
            return false;
        }
        tracing::debug!(error = error as &dyn Error, pause = ?self.pause, "repeating a storage call");
        add(&self.counters.retries, 1);
        self.left -= 1;
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(self.policy.longest_pause);
        true
    }
}

/// Transient: a connection that broke or stayed silent, a service that says so, an I/O error at the root that says so. A full disk, a
/// bad range, a missing object or a refused key does not pass by waiting.
pub(crate) fn is_transient(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            use HttpErrorKind as K;
            // `Unknown` may hold what the service said, or an I/O error.
            if matches!(http.kind(), K::Connect | K::Request | K::Timeout | K::Interrupted | K::Decode) {
                return true;
            }
        }
        if let Some(refusal) = error.downcast_ref::<Refusal>() {
            return refusal.is_transient();
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return passes(io.kind());
        }
        cause = error.source();
    }
    false
}

fn passes(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as K;
    matches!(
        kind,
        K::Interrupted
            | K::WouldBlock
            | K::TimedOut
            | K::ConnectionReset
            | K::ConnectionAborted
            | K::ConnectionRefused
            | K::BrokenPipe
            | K::UnexpectedEof
            | K::NetworkUnreachable
            | K::HostUnreachable
            | K::ResourceBusy
            | K::StaleNetworkFileHandle
    )
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering::Relaxed},
        },
        time::Duration,
    };

    use object_store::client::{HttpError, HttpErrorKind};

    use super::{RetryPolicy, is_transient};
    use crate::metrics::Counters;

    fn failure(kind: io::ErrorKind) -> object_store::Error {
        object_store::Error::Generic { store: "test", source: Box::new(io::Error::from(kind)) }
    }

    /// Runs a call that fails `failures` times with `kind`; returns calls made, repeats counted and success.
    async fn run(failures: u32, kind: io::ErrorKind) -> (u32, u64, bool) {
        let policy =
            RetryPolicy { attempts: 3, first_pause: Duration::ZERO, longest_pause: Duration::ZERO, ..RetryPolicy::default() };
        let counters = Arc::new(Counters::default());
        let calls = AtomicU32::new(0);
        let outcome = policy
            .run(&counters, || {
                let call = calls.fetch_add(1, Relaxed);
                async move { if call < failures { Err(failure(kind)) } else { Ok(()) } }
            })
            .await;
        (calls.load(Relaxed), counters.snapshot().retries, outcome.is_ok())
    }

    #[tokio::test]
    async fn transient_failures_are_repeated_up_to_the_bound() {
        assert_eq!(run(2, io::ErrorKind::TimedOut).await, (3, 2, true));
        assert_eq!(run(9, io::ErrorKind::ConnectionReset).await, (3, 2, false));
    }

    #[tokio::test]
    async fn lasting_failures_are_reported_at_once() {
        assert_eq!(run(1, io::ErrorKind::StorageFull).await, (1, 0, false));
        assert_eq!(run(1, io::ErrorKind::PermissionDenied).await, (1, 0, false));
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_before_the_attempts_do() {
        let calls = AtomicU32::new(0);
        let hangs = || async {
            calls.fetch_add(1, Relaxed);
            tokio::time::sleep(Duration::from_secs(9)).await;
            Err::<(), _>(failure(io::ErrorKind::TimedOut))
        };
        assert!(RetryPolicy::remote().run(&Arc::default(), hangs).await.is_err());
        assert_eq!(calls.load(Relaxed), 3);
    }

    #[test]
    fn errors_of_the_http_client_are_known() {
        use HttpErrorKind as K;
        let http = |kind, source: io::ErrorKind| object_store::Error::Generic {
            store: "S3",
            source: Box::new(HttpError::new(kind, io::Error::from(source))),
        };
        for kind in [K::Connect, K::Request, K::Timeout, K::Interrupted, K::Decode] {
            assert!(is_transient(&http(kind, io::ErrorKind::Other)), "{kind:?}");
        }
        assert!(is_transient(&http(K::Unknown, io::ErrorKind::ConnectionReset)));
        assert!(!is_transient(&http(K::Unknown, io::ErrorKind::InvalidInput)));
    }
}
