//! What guests say on the side: through `lakehouse:plugin/log`, standard output and standard error.
//!
//! **Invariant**: guest logs never reach the host's log, since a rule may repeat the values it saw. Those of live requests are
//! counted and discarded; a dry run alone, whose caller gave the values, keeps and returns them, bounded by the rule's `log_kib`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

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

/// Where an instance's lines go. Outlives the instance, so that whoever started it can read them whatever became of it.
#[derive(Clone)]
pub(crate) struct GuestLog(Sink);

#[derive(Clone)]
enum Sink {
    Discarded(Arc<AtomicU64>),
    Kept(Arc<Mutex<Lines>>),
}

struct Lines {
    room: usize,
    lines: Vec<String>,
    dropped: u64,
    /// Standard output that has no newline yet.
    partial: Vec<u8>,
}

impl GuestLog {
    /// Holds nothing; adds to `count` for each line.
    pub(crate) fn discarded(count: Arc<AtomicU64>) -> Self {
        Self(Sink::Discarded(count))
    }

    /// Holds at most `limit_bytes`, of one instance.
    pub(crate) fn kept(limit_bytes: u64) -> Self {
        let room = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        Self(Sink::Kept(Arc::new(Mutex::new(Lines { room, lines: Vec::new(), dropped: 0, partial: Vec::new() }))))
    }

    pub(crate) fn line(&self, level: &str, text: &str) {
        match &self.0 {
            Sink::Discarded(count) => drop(count.fetch_add(1, Relaxed)),
            Sink::Kept(lines) => lines.lock().push(level, text),
        }
    }

    fn write(&self, bytes: &[u8]) {
        match &self.0 {
            Sink::Discarded(count) => {
                let ended = bytes.iter().filter(|byte| **byte == b'\n').count();
                count.fetch_add(ended as u64, Relaxed);
            }
            Sink::Kept(lines) => lines.lock().write(bytes),
        }
    }

    /// What was kept, and how many lines there was no room for.
    pub(crate) fn take(&self) -> (Vec<String>, u64) {
        let Sink::Kept(lines) = &self.0 else { return (Vec::new(), 0) };
        let mut lines = lines.lock();
        lines.flush();
        (std::mem::take(&mut lines.lines), lines.dropped)
    }
}

impl Lines {
    fn push(&mut self, level: &str, text: &str) {
        if self.room == 0 {
            self.dropped += 1;
            return;
        }
        let max = self.room.min(MAX_LINE_BYTES);
        let line = format!("{level}: {}", escape(text, max));
        self.room = self.room.saturating_sub(line.len());
        self.lines.push(line);
    }

    fn write(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.partial.len() >= MAX_LINE_BYTES {
                self.flush();
            }
        }
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
    use std::sync::{Arc, atomic::AtomicU64};

    use super::GuestLog;

    #[test]
    fn a_flood_is_bounded_and_counted() {
        let log = GuestLog::kept(1000);
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
    fn lines_that_nobody_asked_for_are_counted_and_gone() {
        let count = Arc::new(AtomicU64::new(0));
        let log = GuestLog::discarded(Arc::clone(&count));
        log.line("info", "secret");
        log.write(b"secret\nand another\nnot ended");
        assert_eq!(log.take(), (vec![], 0));
        assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 3);
    }
}
