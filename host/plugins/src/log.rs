//! What guests say on the side: through `lakehouse:plugin/log`, standard output and standard error.
//!
//! **Invariant**: guest logs never reach the host's log, since a rule may repeat the values it saw. They are counted; a dry run
//! alone, whose caller gave the values, keeps and returns them, bounded by the rule's `log_kib`.

use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use crate::message::escape;

/// Longest line kept.
const MAX_LINE_BYTES: usize = 2048;
/// What one write to standard output may carry.
const WRITE_BYTES: usize = 4096;

/// The log of one instance.
#[derive(Clone)]
pub(crate) struct GuestLog(Arc<Mutex<Lines>>);

struct Lines {
    keep: bool,
    room: usize,
    lines: Vec<String>,
    dropped: u64,
    /// Standard output that has no newline yet.
    partial: Vec<u8>,
}

impl GuestLog {
    /// Holds at most `limit_bytes`; nothing at all unless `keep`.
    pub(crate) fn new(limit_bytes: u64, keep: bool) -> Self {
        let room = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        Self(Arc::new(Mutex::new(Lines { keep, room, lines: Vec::new(), dropped: 0, partial: Vec::new() })))
    }

    pub(crate) fn line(&self, level: &str, text: &str) {
        self.0.lock().push(level, text);
    }

    fn write(&self, bytes: &[u8]) {
        let mut log = self.0.lock();
        if !log.keep {
            log.dropped += 1;
            return;
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            log.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") || log.partial.len() >= MAX_LINE_BYTES {
                log.flush();
            }
        }
    }

    /// What was kept, and how many lines were not.
    pub(crate) fn take(&self) -> (Vec<String>, u64) {
        let mut log = self.0.lock();
        log.flush();
        (std::mem::take(&mut log.lines), log.dropped)
    }
}

impl Lines {
    fn push(&mut self, level: &str, text: &str) {
        if !self.keep || self.room == 0 {
            self.dropped += 1;
            return;
        }
        let max = self.room.min(MAX_LINE_BYTES);
        let line = format!("{level}: {}", escape(text, max));
        self.room = self.room.saturating_sub(line.len());
        self.lines.push(line);
    }

    fn flush(&mut self) {
        if self.partial.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.partial);
        self.push("out", String::from_utf8_lossy(&bytes).trim_end_matches('\n'));
    }
}

impl IsTerminal for GuestLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestLog {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(LogStream(self.clone()))
    }
}

struct LogStream(GuestLog);

#[async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for LogStream {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.0.write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::GuestLog;

    #[test]
    fn a_flood_is_bounded_and_counted() {
        let log = GuestLog::new(1000, true);
        for _ in 0..10_000 {
            log.line("info", &"x".repeat(100));
            log.write(b"some output\nmore\x1b[2J");
        }
        let (lines, dropped) = log.take();
        assert!(lines.iter().map(String::len).sum::<usize>() <= 1000 + 200);
        assert!(dropped > 9_000);
        assert!(lines.iter().all(|line| !line.chars().any(char::is_control)));
    }

    #[test]
    fn nothing_is_kept_unless_asked() {
        let log = GuestLog::new(1000, false);
        log.line("info", "secret");
        log.write(b"secret\n");
        assert_eq!(log.take(), (vec![], 2));
    }
}
