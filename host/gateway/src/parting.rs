//! A body that breaks off, after what came before it has gone out.
//!
//! hyper ends a connection as soon as a body fails, and drops what it has not written yet: of a short answer, even the head.
//!
//! **Invariant**: between the last frame and the failure the body pauses once, so that the connection writes what it holds.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{Error, body::Body};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// A body whose failure waits until the connection has had a turn to write.
#[derive(Debug)]
pub(crate) struct Parting {
    body: Body,
    failure: Option<Error>,
}

impl Parting {
    pub(crate) fn new(body: Body) -> Self {
        Self { body, failure: None }
    }
}

impl HttpBody for Parting {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Err(failure)) => {
                self.failure = Some(failure);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.failure.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
