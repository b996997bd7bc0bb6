//! Bodies in bounds: no larger than the route allows, and never slower than a client that means it.
//!
//! **Invariant**: a body that is cut ends with an error for its reader, and [`Inflow::cut`] knows why.

use std::{
    fmt, io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::body::{Body, BodyDataStream, HttpBody as _};
use futures::StreamExt;
use lakehouse_types::{Code, Fault, Members};
use tokio::time::{Instant, timeout};

/// The average pace that a body must keep once a client has been waited for longer than the idle timeout.
const SLOWEST_BYTES_PER_SECOND: u64 = 1024;

/// What is read of a body that is refused, so that its sender gets to the answer instead of a broken connection.
const DISCARDED_BYTES: usize = 16 << 20;

/// How long that may take.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// Why a body was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    TooLarge { limit: u64 },
    TooSlow,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.public())
    }
}

impl std::error::Error for Cut {}

impl Fault for Cut {
    fn code(&self) -> Code {
        match self {
            Self::TooLarge { .. } => Code::BodyTooLarge,
            Self::TooSlow => Code::InvalidBody,
        }
    }

    fn public(&self) -> String {
        match self {
            Self::TooLarge { limit } => format!("the body is larger than the limit of {limit} bytes"),
            Self::TooSlow => "the body came too slowly and was given up".into(),
        }
    }

    fn members(&self) -> Members {
        let mut members = Members::new();
        if let Self::TooLarge { limit } = self {
            members.insert("limit_bytes".into(), (*limit).into());
        }
        members
    }
}

/// Reads and forgets a part of a refused body; answers whether that was all of it.
pub(crate) async fn discard_body(body: Body) -> bool {
    body.is_end_stream() || discard(&mut body.into_data_stream()).await
}

async fn discard(frames: &mut BodyDataStream) -> bool {
    let reading = async {
        let mut left = DISCARDED_BYTES;
        while let Some(frame) = frames.next().await {
            let Ok(bytes) = frame else { return false };
            left = left.saturating_sub(bytes.len());
            if left == 0 {
                return false;
            }
        }
        true
    };
    timeout(DISCARD_TIME, reading).await.unwrap_or(false)
}

/// Watches one request's body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inflow(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    cut: OnceLock<Cut>,
    begun: AtomicBool,
    ended: AtomicBool,
}

impl Inflow {
    /// The body in bounds, and its watch. Only time spent waiting for the client counts against its pace.
    pub(crate) fn watch(body: Body, limit: u64, idle: Duration) -> (Body, Self) {
        let inflow = Self::default();
        inflow.0.ended.store(body.is_end_stream(), Ordering::Relaxed);
        let watch = inflow.clone();
        let bounded = async_stream::stream! {
            watch.0.begun.store(true, Ordering::Relaxed);
            let mut frames = body.into_data_stream();
            let (mut received, mut waited) = (0_u64, Duration::ZERO);
            loop {
                let asked = Instant::now();
                let frame = timeout(idle, frames.next()).await;
                waited += asked.elapsed();
                let cut = match frame {
                    Ok(None) => {
                        watch.0.ended.store(true, Ordering::Relaxed);
                        break;
                    }
                    Ok(Some(Ok(bytes))) => {
                        received = received.saturating_add(bytes.len() as u64);
                        if received > limit {
                            Cut::TooLarge { limit }
                        } else if waited > idle && received < waited.as_secs().saturating_mul(SLOWEST_BYTES_PER_SECOND) {
                            Cut::TooSlow
                        } else {
                            yield Ok(bytes);
                            continue;
                        }
                    }
                    Ok(Some(Err(error))) => {
                        yield Err(io::Error::other(error));
                        break;
                    }
                    Err(_) => Cut::TooSlow,
                };
                let _ = watch.0.cut.set(cut);
                if matches!(cut, Cut::TooLarge { .. }) {
                    discard(&mut frames).await;
                }
                yield Err(io::Error::other(cut));
                break;
            }
        };
        (Body::from_stream(bounded), inflow)
    }

    /// Why the body was cut, if it was.
    pub(crate) fn cut(&self) -> Option<Cut> {
        self.0.cut.get().copied()
    }

    /// Whether somebody reads the body and has not come to its end.
    pub(crate) fn is_arriving(&self) -> bool {
        self.0.begun.load(Ordering::Relaxed) && !self.ended()
    }

    /// Whether all of the body has been read; else its connection cannot carry another request.
    pub(crate) fn ended(&self) -> bool {
        self.0.ended.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use axum::body::{Body, to_bytes};
    use bytes::Bytes;
    use futures::{StreamExt, stream};

    use super::{Cut, Inflow};

    const IDLE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_body_may_be_as_long_as_the_limit_and_no_longer() {
        for (limit, cut) in [(10, None), (9, Some(Cut::TooLarge { limit: 9 }))] {
            let (body, inflow) = Inflow::watch(Body::from("0123456789"), limit, IDLE);
            assert_eq!(to_bytes(body, usize::MAX).await.is_ok(), cut.is_none());
            assert_eq!(inflow.cut(), cut);
        }
    }

    #[tokio::test]
    async fn a_body_arrives_from_when_it_is_asked_for_until_it_has_ended() {
        let (send, receive) = futures::channel::mpsc::unbounded::<Result<Bytes, Infallible>>();
        let (body, inflow) = Inflow::watch(Body::from_stream(receive), 10, IDLE);
        assert!(!inflow.is_arriving(), "nobody has asked for it");
        let mut frames = body.into_data_stream();
        send.unbounded_send(Ok(Bytes::from_static(b"x"))).unwrap();
        frames.next().await.unwrap().unwrap();
        assert!(inflow.is_arriving());
        drop(send);
        assert!(frames.next().await.is_none() && !inflow.is_arriving());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_still_or_trickles_is_cut() {
        let still = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let trickle = Body::from_stream(stream::repeat(()).then(|()| async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            Ok::<_, Infallible>(Bytes::from_static(b"x"))
        }));
        for body in [still, trickle] {
            let (body, inflow) = Inflow::watch(body, 1 << 20, IDLE);
            let waited = tokio::time::timeout(Duration::from_secs(120), to_bytes(body, usize::MAX)).await;
            assert!(waited.expect("the body ends").is_err());
            assert_eq!(inflow.cut(), Some(Cut::TooSlow));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_not_the_clients_fault() {
        let steady = Body::from_stream(stream::iter((0..10).map(|_| Ok::<_, Infallible>(Bytes::from_static(b"x")))));
        let (body, inflow) = Inflow::watch(steady, 1 << 20, IDLE);
        let mut frames = body.into_data_stream();
        let mut read = 0;
        while let Some(frame) = frames.next().await {
            read += frame.unwrap().len();
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert_eq!((read, inflow.cut()), (10, None));
    }
}
