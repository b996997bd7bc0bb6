//! How long a caller's key holds while work for it goes on.
//!
//! **Invariant**: a key that was revoked or has expired, or of which a grant was taken back, commits no file whose body was not whole by
//! then, and more than [`ASKED_EVERY`] later no rows are read for it and no bytes taken from it (the few chunks that were encoded ahead of
//! a client that pauses still go out); that it ended is journaled as a denial.

use std::{future::Future, io, sync::Arc, time::Duration};

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream, stream::BoxStream};
use lakehouse_access::{AccessError, Caller, Keys};
use lakehouse_journal::Journal;
use lakehouse_query::QueryError;
use lakehouse_types::{Clock, Fault};

use crate::Engine;

/// How often the key of an answer is asked for.
const ASKED_EVERY: Duration = Duration::from_secs(1);

type Stream<T, E> = BoxStream<'static, Result<T, E>>;

/// One caller's leave to go on.
#[derive(Clone)]
pub(crate) struct Lease {
    keys: Keys,
    journal: Journal,
    clock: Arc<dyn Clock>,
    caller: Caller,
}

impl Engine {
    pub(crate) fn lease(&self, caller: &Caller) -> Lease {
        Lease { keys: self.keys.clone(), journal: self.journal.clone(), clock: Arc::clone(&self.clock), caller: caller.clone() }
    }
}

impl Lease {
    /// # Errors
    /// When it holds no longer.
    pub(crate) fn check(&self) -> Result<(), AccessError> {
        self.keys.readmit(&self.caller.principal)
    }

    /// Waits until it holds no longer, and says why.
    pub(crate) async fn lost(&self) -> AccessError {
        loop {
            if let Err(ended) = self.check() {
                return ended;
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
    }

    /// The rows for as long as it holds, then an error.
    pub(crate) fn over(self, rows: Stream<RecordBatch, QueryError>) -> Stream<RecordBatch, QueryError> {
        until(rows, async move { self.ended().await })
    }

    /// What work comes to that has nothing to show before its end; the work is dropped when it holds no longer.
    ///
    /// # Errors
    /// The work's own, or that it ended.
    pub(crate) async fn over_work<T>(&self, work: impl Future<Output = Result<T, QueryError>>) -> Result<T, QueryError> {
        tokio::select! {
            biased;
            ended = self.ended() => Err(ended),
            done = work => done,
        }
    }

    /// Waits until it holds no longer, and journals that somebody would have read on.
    async fn ended(&self) -> QueryError {
        let ended = self.lost().await;
        if let Err(error) = self.journal.deny(&self.caller.stamp(&*self.clock), "read on", ended.code()).await {
            tracing::warn!(%error, "a denial could not be journaled");
        }
        QueryError::Rule { relation: "answer".into(), fault: Arc::new(ended) }
    }

    /// The bytes that the caller sends for as long as it holds, then an error, which whoever reads them journals.
    pub(crate) fn over_body(self, body: Stream<Bytes, io::Error>) -> Stream<Bytes, io::Error> {
        until(body, async move { io::Error::other(self.lost().await) })
    }
}

/// The items until they end or `end` does; nothing comes after an error.
fn until<T, E>(items: Stream<T, E>, end: impl Future<Output = E> + Send + 'static) -> Stream<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
{
    let open = stream::unfold(Some((items, end.boxed())), |open| async move {
        let (mut items, mut end) = open?;
        let next = tokio::select! {
            biased;
            error = &mut end => Some(Err(error)),
            next = items.next() => next,
        };
        match next? {
            Ok(item) => Some((Ok(item), Some((items, end)))),
            Err(error) => Some((Err(error), None)),
        }
    });
    open.fuse().boxed()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::{StreamExt, stream};
    use tokio::time::{Instant, sleep};

    use super::until;

    #[tokio::test(start_paused = true)]
    async fn items_come_until_the_end_does_also_while_none_comes() {
        let began = Instant::now();
        let end = async {
            sleep(Duration::from_millis(2_500)).await;
            "over"
        };
        let each = |n: u32| async move {
            sleep(Duration::from_secs(if n < 2 { 1 } else { 3_600 })).await;
            Ok::<_, &str>(n)
        };
        let items = stream::iter(0..5).then(each).boxed();
        assert_eq!(until(items, end).collect::<Vec<_>>().await, [Ok(0), Ok(1), Err("over")]);
        assert_eq!(began.elapsed(), Duration::from_millis(2_500));

        let broken = stream::iter([Ok(1), Err("broken"), Ok(2)]).boxed();
        assert_eq!(until(broken, std::future::pending()).collect::<Vec<_>>().await, [Ok(1), Err("broken")]);
        let whole = stream::iter([Ok::<_, &str>(1)]).boxed();
        assert_eq!(until(whole, std::future::pending()).collect::<Vec<_>>().await, [Ok(1)]);
    }
}
