//! Bounded retries of calls that may be repeated without changing what they mean.
//!
//! **Invariant**: only transient failures of idempotent calls are repeated, and never more than [`RetryPolicy::attempts`]
//! times: a conditional write whose outcome is unknown is reported, not repeated.

use std::{error::Error, future::Future, io, time::Duration};

use crate::metrics::{Counters, add};

/// How often and how patiently a call is repeated.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Calls in all, the first included; at least 1.
    pub attempts: u32,
    /// The pause before the second call; it doubles from there.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 4, first_pause: Duration::from_millis(20), longest_pause: Duration::from_secs(1) }
    }
}

impl RetryPolicy {
    /// Repeats `call` while it fails in a way that passes.
    pub(crate) async fn run<T, F>(&self, counters: &Counters, mut call: impl FnMut() -> F) -> object_store::Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let mut pause = self.first_pause;
        let mut left = self.attempts.max(1);
        loop {
            left -= 1;
            match call().await {
                Err(error) if left > 0 && is_transient(&error) => {
                    tracing::debug!(error = &error as &dyn Error, ?pause, "repeating a storage call");
                    add(&counters.retries, 1);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(self.longest_pause);
                }
                outcome => return outcome,
            }
        }
    }
}

/// Transient: an I/O error at the root that says so. A full disk, a bad range or a missing file does not pass by waiting.
fn is_transient(error: &object_store::Error) -> bool {
    use io::ErrorKind as K;
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return matches!(
                io.kind(),
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
            );
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::atomic::{AtomicU32, Ordering::Relaxed},
        time::Duration,
    };

    use super::RetryPolicy;
    use crate::metrics::Counters;

    fn failure(kind: io::ErrorKind) -> object_store::Error {
        object_store::Error::Generic { store: "test", source: Box::new(io::Error::from(kind)) }
    }

    /// Runs a call that fails `failures` times with `kind`; returns calls made, repeats counted and success.
    async fn run(failures: u32, kind: io::ErrorKind) -> (u32, u64, bool) {
        let policy = RetryPolicy { attempts: 3, first_pause: Duration::ZERO, longest_pause: Duration::ZERO };
        let counters = Counters::default();
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
}
