//! A connection that says why it turns a head away.
//!
//! hyper answers a head that it cannot read by itself, with a status and nothing else. Such a reply is recognized on its way out.
//!
//! **Invariant**: only what is written at once and is exactly such a reply is replaced, and only while no request is being
//! answered: bytes of an answer are never looked into.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use lakehouse_types::Code;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// More than a bare reply has.
const MAX_BARE_BYTES: usize = 256;

/// A stream whose bare replies go out as what `explain` makes of them: of the problem's code and the reply itself. `explain` gives
/// nothing while a request is being answered.
pub(crate) struct Polite<S, F> {
    stream: S,
    explain: F,
    /// What is still to be written in place of a bare reply.
    words: Bytes,
}

impl<S, F: FnMut(Code, &str) -> Option<Vec<u8>>> Polite<S, F> {
    pub(crate) fn new(stream: S, explain: F) -> Self {
        Self { stream, explain, words: Bytes::new() }
    }

    /// Whether words go out in place of these bytes.
    fn has_words_for(&mut self, bytes: &[u8]) -> bool {
        if self.words.is_empty()
            && let Some((code, reply)) = bare(bytes)
        {
            self.words = (self.explain)(code, reply).map(Bytes::from).unwrap_or_default();
        }
        !self.words.is_empty()
    }
}

impl<S: AsyncWrite + Unpin, F> Polite<S, F> {
    /// Writes the words; tells the writer that all of its `length` bytes went out.
    fn speak(&mut self, cx: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        while !self.words.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.words))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.words.advance(written);
        }
        Poll::Ready(Ok(length))
    }
}

/// The code of a reply that hyper wrote by itself, and its text.
fn bare(bytes: &[u8]) -> Option<(Code, &str)> {
    if bytes.len() > MAX_BARE_BYTES {
        return None;
    }
    let reply = std::str::from_utf8(bytes).ok()?;
    let code = match reply.strip_prefix("HTTP/1.1 ").or_else(|| reply.strip_prefix("HTTP/1.0 "))?.get(..4)? {
        "400 " => Code::MalformedRequest,
        "414 " => Code::UriTooLong,
        "431 " => Code::HeadTooLarge,
        _ => return None,
    };
    let is_bare = reply.contains("\r\ncontent-length: 0\r\n") && reply.find("\r\n\r\n") == Some(reply.len() - 4);
    is_bare.then_some((code, reply))
}

impl<S: AsyncRead + Unpin, F: Unpin> AsyncRead for Polite<S, F> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin, F: FnMut(Code, &str) -> Option<Vec<u8>> + Unpin> AsyncWrite for Polite<S, F> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.has_words_for(buf) { self.speak(cx, buf.len()) } else { Pin::new(&mut self.stream).poll_write(cx, buf) }
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut filled = bufs.iter().filter(|buf| !buf.is_empty());
        match (filled.next(), filled.next()) {
            (Some(only), None) => self.poll_write(cx, only),
            _ => Pin::new(&mut self.stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
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
    use lakehouse_types::Code;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::Polite;

    const BARE: &str = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

    /// What the peer reads when `written` goes out, four bytes at a time.
    async fn read(written: &str, is_idle: bool) -> String {
        let (ours, mut theirs) = duplex(4);
        let mut ours = Polite::new(ours, |code, _: &str| {
            assert_eq!(code, Code::HeadTooLarge);
            is_idle.then(|| b"because of its many headers".to_vec())
        });
        let writing = async {
            ours.write_all(written.as_bytes()).await.unwrap();
            ours.shutdown().await.unwrap();
        };
        let mut text = String::new();
        let (read, ()) = tokio::join!(theirs.read_to_string(&mut text), writing);
        read.unwrap();
        text
    }

    #[tokio::test]
    async fn a_bare_reply_is_replaced_and_nothing_else_is() {
        assert_eq!(read(BARE, true).await, "because of its many headers");
        assert_eq!(read(BARE, false).await, BARE, "a request is being answered");
        let full = BARE.replace("content-length: 0", "content-length: 2") + "{}";
        for other in [&full, &format!("x{BARE}"), &format!("{BARE}{BARE}"), &BARE.replace("431", "200"), "HTTP/1.1 431 "] {
            assert_eq!(read(other, true).await, *other);
        }
    }
}
