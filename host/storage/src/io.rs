//! Polls work inside the I/O runtime, whoever awaits it.
//!
//! **Invariant**: timers, sockets and blocking file calls of a store belong to the I/O runtime, so a busy CPU runtime never
//! delays them and its shutdown never strands them. The awaiting task itself is not moved: that costs no hop between threads.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{Stream, future::BoxFuture, stream::BoxStream};
use tokio::runtime::Handle;

/// A future or stream that is polled with the I/O runtime as the current one.
pub(crate) struct OnIo<T> {
    io: Handle,
    inner: T,
}

impl<T> fmt::Debug for OnIo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnIo").finish_non_exhaustive()
    }
}

impl<'a, T> OnIo<BoxFuture<'a, T>> {
    pub(crate) fn future(io: &Handle, inner: impl Future<Output = T> + Send + 'a) -> Self {
        Self { io: io.clone(), inner: Box::pin(inner) }
    }
}

impl<T> OnIo<BoxStream<'static, T>> {
    pub(crate) fn stream(io: &Handle, inner: BoxStream<'static, T>) -> Self {
        Self { io: io.clone(), inner }
    }
}

impl<T> Future for OnIo<BoxFuture<'_, T>> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        let _inside = this.io.enter();
        this.inner.as_mut().poll(cx)
    }
}

impl<T> Stream for OnIo<BoxStream<'static, T>> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = &mut *self;
        let _inside = this.io.enter();
        this.inner.as_mut().poll_next(cx)
    }
}
