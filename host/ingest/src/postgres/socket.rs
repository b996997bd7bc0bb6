//! Bytes between here and the database.
//!
//! **Invariant**: a message of the database is refused by the length that it announces, before its bytes are gathered: the client
//! library holds a whole message at a time, and a row can have a gibibyte.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::PostgresSource;

/// A row, with what stands around it.
pub(super) const MAX_ROW_MIB: usize = 64;
/// A message's type and length.
const HEADER_BYTES: usize = 5;
/// A silent peer is asked whether it lives after this long, and then as often.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Questions without an answer until it is given up.
const KEEPALIVE_TRIES: u32 = 4;

/// Either kind of connection.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Connects to the host that the operator declared.
pub(super) async fn open(source: &PostgresSource) -> io::Result<Socket> {
    if source.host.starts_with('/') {
        let path = format!("{}/.s.PGSQL.{}", source.host, source.port);
        return Ok(Socket::Unix(UnixStream::connect(path).await?));
    }
    let stream = TcpStream::connect((source.host.as_str(), source.port)).await?;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(&stream, KEEPALIVE)?;
    sockopt::set_tcp_keepcnt(&stream, KEEPALIVE_TRIES)?;
    Ok(Socket::Tcp(stream))
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A message longer than the limit.
#[derive(Debug, thiserror::Error)]
#[error("a message is longer than {MAX_ROW_MIB} MiB")]
pub(super) struct TooLong;

/// Whether an error came of a message that was too long.
pub(super) fn is_too_long(error: &tokio_postgres::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(reason) = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && reason.is::<TooLong>()
        {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// A stream of PostgreSQL messages, each of bounded length.
#[derive(Debug)]
pub(super) struct Bounded<S> {
    stream: S,
    limit: usize,
    header: [u8; HEADER_BYTES],
    have: usize,
    /// Bytes of the present message that are still to come.
    rest: usize,
}

impl<S> Bounded<S> {
    pub(super) fn new(stream: S) -> Self {
        Self::with_limit(stream, MAX_ROW_MIB << 20)
    }

    /// For what carries messages inside something else.
    pub(super) fn opaque(stream: S) -> Self {
        Self::with_limit(stream, usize::MAX)
    }

    fn with_limit(stream: S, limit: usize) -> Self {
        Self { stream, limit, header: [0; HEADER_BYTES], have: 0, rest: 0 }
    }

    /// Walks over what came.
    fn walk(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let skipped = self.rest.min(bytes.len());
                self.rest -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            self.header[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if self.have == HEADER_BYTES {
                let [_, a, b, c, d] = self.header;
                // The length counts itself.
                let length = u32::from_be_bytes([a, b, c, d]).saturating_sub(4) as usize;
                if length > self.limit {
                    return Err(TooLong);
                }
                (self.rest, self.have) = (length, 0);
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if self.limit < usize::MAX {
            self.walk(&buffer.filled()[before..]).map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::Bounded;

    fn message(length: u32, body: usize) -> Vec<u8> {
        let mut bytes = vec![b'D'];
        bytes.extend((length + 4).to_be_bytes());
        bytes.resize(bytes.len() + body, 7);
        bytes
    }

    #[test]
    fn a_message_is_known_by_its_length_however_it_comes() {
        let fine = [message(0, 0), message(100, 100), message(3, 3)].concat();
        let long = [fine.clone(), message(101, 0)].concat();
        for piece in [1, 2, 4, 7, 1000] {
            let walk = |bytes: &[u8]| {
                let mut bounded = Bounded::with_limit((), 100);
                bytes.chunks(piece).try_for_each(|piece| bounded.walk(piece))
            };
            assert!(walk(&fine).is_ok(), "{piece}");
            assert!(walk(&long).is_err(), "{piece}");
        }
    }
}
