//! Bytes become JSON documents, one at a time: the lines of NDJSON, the elements of an array, or values one after the other.
//!
//! **Invariant**: a document is never longer than the limit.

use std::fs::File;
use std::io::Read;

use memchr::{memchr, memchr_iter, memrchr};

use crate::IngestError;

/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 20;

/// Splits a file into documents.
pub(super) struct Documents {
    input: File,
    limit_bytes: usize,
    mode: Mode,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    at_end: bool,
    line: u64,
    /// Bytes of the line of the buffer's first byte that the buffer no longer holds.
    before: usize,
}

/// One document, valid until the next is read.
pub(super) struct Document<'a> {
    /// The line where it starts, from 1.
    pub(super) line: u64,
    /// Bytes before it in that line.
    pub(super) before: usize,
    pub(super) bytes: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Lines,
    /// Nothing read yet: an array or a sequence.
    Start,
    Sequence,
    /// In an array, before its first element.
    First,
    /// In an array, after an element.
    After,
    /// After the array.
    Done,
}

/// A step of the scanner.
enum Step {
    /// Take `start..end`, and go on at `next`.
    Take {
        start: usize,
        end: usize,
        next: usize,
    },
    NeedMore,
    End,
    Bad {
        at: usize,
        what: &'static str,
    },
}

impl Documents {
    pub(super) fn open(input: File, lines: bool, limit_bytes: usize) -> Result<Self, IngestError> {
        let mode = if lines { Mode::Lines } else { Mode::Start };
        let buffer = vec![0; READ_BYTES];
        let mut documents = Self { input, limit_bytes, mode, buffer, start: 0, end: 0, at_end: false, line: 1, before: 0 };
        while !documents.at_end && documents.end < 3 {
            documents.fill()?;
        }
        match &documents.buffer[..documents.end] {
            [0xef, 0xbb, 0xbf, ..] => documents.start = 3,
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Err(IngestError::Utf16),
            _ => {}
        }
        Ok(documents)
    }

    /// The next document; `None` at the end.
    pub(super) fn read(&mut self) -> Result<Option<Document<'_>>, IngestError> {
        loop {
            let step = if self.mode == Mode::Lines { self.next_line() } else { self.next_value() };
            match step {
                Step::Take { start, end, next } => {
                    let (line, before) = (self.line + self.lines_to(start), self.bytes_before(start));
                    self.consume(next);
                    return Ok(Some(Document { line, before, bytes: &self.buffer[start..end] }));
                }
                Step::End => return Ok(None),
                Step::Bad { at, what } => {
                    let line = self.line + self.lines_to(at);
                    return Err(IngestError::Malformed { line, column: self.bytes_before(at) + 1, what });
                }
                Step::NeedMore if self.end - self.start > self.limit_bytes => {
                    return Err(IngestError::RecordTooLarge { line: self.line, limit_bytes: self.limit_bytes });
                }
                Step::NeedMore => self.fill()?,
            }
        }
    }

    /// Moves on to `next`.
    fn consume(&mut self, next: usize) {
        self.line += self.lines_to(next);
        self.start = next;
    }

    fn lines_to(&self, at: usize) -> u64 {
        memchr_iter(b'\n', &self.buffer[self.start..at]).count() as u64
    }

    /// Bytes between the start of its line and `at`.
    fn bytes_before(&self, at: usize) -> usize {
        match memrchr(b'\n', &self.buffer[..at]) {
            Some(newline) => at - newline - 1,
            None => self.before + at,
        }
    }

    fn fill(&mut self) -> Result<(), IngestError> {
        if self.start > 0 {
            self.before = self.bytes_before(self.start);
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.at_end = true,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(IngestError::Spool(error)),
            }
            return Ok(());
        }
    }

    fn next_line(&mut self) -> Step {
        loop {
            let unread = &self.buffer[self.start..self.end];
            let (length, next) = match memchr(b'\n', unread) {
                Some(length) => (length, self.start + length + 1),
                None if !self.at_end => return Step::NeedMore,
                None if unread.is_empty() => return Step::End,
                None => (unread.len(), self.end),
            };
            if !unread[..length].trim_ascii().is_empty() {
                return Step::Take { start: self.start, end: self.start + length, next };
            }
            self.line += (next - self.start - length) as u64;
            self.start = next;
        }
    }

    fn next_value(&mut self) -> Step {
        let at = self.skip_space(self.start);
        let Some(&byte) = self.buffer[..self.end].get(at) else {
            return match self.mode {
                _ if !self.at_end => Step::NeedMore,
                Mode::First | Mode::After => Step::Bad { at, what: "the array is never closed" },
                _ => Step::End,
            };
        };
        match (self.mode, byte) {
            (Mode::Done, _) => Step::Bad { at, what: "text follows the array" },
            // Brackets are consumed at once: what follows may need more bytes, and they must not be met again.
            (Mode::Start, b'[') => {
                self.mode = Mode::First;
                self.consume(at + 1);
                self.next_value()
            }
            (Mode::First | Mode::After, b']') => {
                self.mode = Mode::Done;
                self.consume(at + 1);
                self.next_value()
            }
            (Mode::After, b',') => {
                let at = self.skip_space(at + 1);
                match self.buffer[..self.end].get(at) {
                    // Nothing is consumed yet, so that the comma is met again.
                    None if !self.at_end => Step::NeedMore,
                    None => Step::Bad { at, what: "the array is never closed" },
                    Some(b']' | b',') => Step::Bad { at, what: "a value is missing" },
                    Some(_) => self.value(at),
                }
            }
            (Mode::After, _) => Step::Bad { at, what: "a comma is missing" },
            (Mode::First, _) => {
                let step = self.value(at);
                if !matches!(step, Step::NeedMore) {
                    self.mode = Mode::After;
                }
                step
            }
            (Mode::Start | Mode::Sequence, _) => {
                self.mode = Mode::Sequence;
                self.value(at)
            }
            (Mode::Lines, _) => Step::End,
        }
    }

    /// The first place from `at` on that is no white space.
    fn skip_space(&self, at: usize) -> usize {
        at + self.buffer[at..self.end].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
    }

    /// The value that starts at `at`: up to its closing bracket, or the end of its word.
    fn value(&self, at: usize) -> Step {
        let bytes = &self.buffer[..self.end];
        let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
        for (offset, &byte) in bytes[at..].iter().enumerate() {
            let here = at + offset;
            if quoted {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => quoted = false,
                    _ => {}
                }
                if quoted || depth > 0 {
                    continue;
                }
                return Step::Take { start: at, end: here + 1, next: here + 1 };
            }
            match byte {
                b'"' => quoted = true,
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth > 1 => depth -= 1,
                b'}' | b']' if depth == 1 => return Step::Take { start: at, end: here + 1, next: here + 1 },
                b',' | b']' | b'}' if depth == 0 && here > at => return Step::Take { start: at, end: here, next: here },
                b',' | b']' | b'}' if depth == 0 => return Step::Bad { at: here, what: "a value is missing" },
                _ if depth == 0 && byte.is_ascii_whitespace() => return Step::Take { start: at, end: here, next: here },
                _ => {}
            }
        }
        if !self.at_end {
            Step::NeedMore
        } else if depth > 0 || quoted {
            Step::Bad { at, what: "the value is never closed" }
        } else {
            Step::Take { start: at, end: bytes.len(), next: bytes.len() }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::Documents;
    use crate::IngestError;

    fn all(text: &str, lines: bool) -> Result<Vec<(u64, String)>, IngestError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.rewind().unwrap();
        let mut documents = Documents::open(file, lines, 1 << 22)?;
        let mut found = Vec::new();
        while let Some(document) = documents.read()? {
            found.push((document.line, String::from_utf8(document.bytes.to_vec()).unwrap()));
        }
        Ok(found)
    }

    fn owned(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
        expected.iter().map(|(line, text)| (*line, (*text).to_owned())).collect()
    }

    /// Text, whether it is lines, and the documents with their lines.
    type Case = (&'static str, bool, &'static [(u64, &'static str)]);

    #[test]
    fn arrays_sequences_and_lines_come_apart() {
        let cases: [Case; 8] = [
            ("[{\"a\":1},\n {\"b\":\"]},\\\"\"}]\n", false, &[(1, "{\"a\":1}"), (2, "{\"b\":\"]},\\\"\"}")]),
            ("\u{feff}[\n]", false, &[]),
            ("{\"a\":[1,{}]}\n\n{\"a\":2}{\"a\":3}", false, &[(1, "{\"a\":[1,{}]}"), (3, "{\"a\":2}"), (3, "{\"a\":3}")]),
            ("[1, \"x\",null]", false, &[(1, "1"), (1, "\"x\""), (1, "null")]),
            ("7", false, &[(1, "7")]),
            ("", false, &[]),
            ("{\"a\":1}\r\n\n  \n{\"a\":2}", true, &[(1, "{\"a\":1}\r"), (4, "{\"a\":2}")]),
            ("\n\n", true, &[]),
        ];
        for (text, lines, expected) in cases {
            assert_eq!(all(text, lines).unwrap(), owned(expected), "{text}");
        }
    }

    #[test]
    fn broken_arrays_are_found_where_they_break() {
        for (text, line, column) in
            [("[{}", 1, 4), ("[{},\n,{}]", 2, 1), ("[{} {}]", 1, 5), ("[{},]", 1, 5), ("[]\n{}", 2, 1), ("[\n{\"a\":", 2, 1)]
        {
            let error = all(text, false).unwrap_err();
            assert!(
                matches!(error, IngestError::Malformed { line: l, column: c, .. } if (l, c) == (line, column)),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn documents_lie_across_reads() {
        let element = format!("{{\"a\":\"{}\"}}", "x".repeat(700_000));
        let text = format!("[\n{element},\n{element},{element}]");
        let found = all(&text, false).unwrap();
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3, 3]);
        assert!(found.iter().all(|(_, text)| *text == element));
    }
}
