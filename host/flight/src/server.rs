//! The listener: connections in bounds, and an orderly end.
//!
//! **Invariant**: no more connections are open than [`Bounds::connections`]; a peer that does not finish its TLS handshake, or does not
//! answer pings, is let go; once the drain time is over nothing stays open.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arrow_flight::flight_service_server::FlightServiceServer;
use futures::{Stream, StreamExt};
use lakehouse_engine::Engine;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::{Server, server::Connected};

use crate::{admission::Calls, service::Service};

/// Calls of one connection that may be under way.
const STREAMS: u32 = 64;
/// Room for the headers of a call.
const HEADER_BYTES: u32 = 16 * 1024;
/// TLS handshakes that go on at once.
const HANDSHAKES: usize = 256;
/// How often a silent peer is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long it may take to say so.
const PONG_WITHIN: Duration = Duration::from_secs(20);
/// After `accept` failed, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What bounds the listener.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Open connections; more are closed at once.
    pub connections: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long running calls may go on after `stop`.
    pub drain: Duration,
    /// Upper bound of a message that a client sends, bytes.
    pub message_bytes: usize,
}

/// Serves until `stop` is cancelled, then lets running calls finish within [`Bounds::drain`].
///
/// # Errors
/// When the listener has no address, or HTTP/2 cannot be set up.
pub async fn serve(
    engine: Arc<Engine>,
    calls: Arc<dyn Calls>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    bounds: Bounds,
    stop: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let kill = CancellationToken::new();
    let incoming = guests(listener, tls, bounds, stop.clone(), kill.clone());
    let service = FlightServiceServer::new(Service::new(engine, calls)).max_decoding_message_size(bounds.message_bytes);
    let serving = Server::builder()
        .max_concurrent_streams(STREAMS)
        .http2_max_header_list_size(HEADER_BYTES)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PONG_WITHIN))
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    tracing::info!(%address, "serving Flight SQL");
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = async { stop.cancelled().await; tokio::time::sleep(bounds.drain).await } => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            tracing::warn!("the drain time is over; cutting what still runs");
            kill.cancel();
            serving.await
        }
    };
    ended.map_err(io::Error::other)
}

/// Connections as they come, each through its TLS handshake first.
fn guests(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    bounds: Bounds,
    stop: CancellationToken,
    kill: CancellationToken,
) -> impl Stream<Item = io::Result<Guest>> + Send {
    let places = Arc::new(Semaphore::new(bounds.connections));
    let accepted = async_stream::stream! {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                        let _ = stream.set_nodelay(true);
                        yield (stream, peer, place);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    let welcomed = accepted.map(move |(stream, peer, place)| {
        let (tls, kill) = (tls.clone(), kill.clone());
        async move {
            let stream = match tls {
                None => Wire::Plain(stream),
                Some(tls) => match tokio::time::timeout(bounds.handshake, tls.accept(stream)).await {
                    Ok(Ok(stream)) => Wire::Tls(Box::new(stream)),
                    _ => return None,
                },
            };
            Some(Ok(Guest { stream, peer, kill: Box::pin(kill.cancelled_owned()), _place: place }))
        }
    });
    welcomed.buffer_unordered(HANDSHAKES).filter_map(|guest| async move { guest })
}

/// One connection, until it is killed.
struct Guest {
    stream: Wire,
    peer: SocketAddr,
    kill: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: OwnedSemaphorePermit,
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

impl Guest {
    fn is_killed(&mut self, cx: &mut Context<'_>) -> bool {
        self.kill.as_mut().poll(cx).is_ready()
    }
}

fn killed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the server ends")
}

impl Connected for Guest {
    type ConnectInfo = SocketAddr;

    fn connect_info(&self) -> SocketAddr {
        self.peer
    }
}

impl AsyncRead for Guest {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_killed(cx) {
            return Poll::Ready(Err(killed()));
        }
        match &mut self.stream {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Wire::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Guest {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_killed(cx) {
            return Poll::Ready(Err(killed()));
        }
        match &mut self.stream {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Wire::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
