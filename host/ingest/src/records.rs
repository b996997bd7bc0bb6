//! Bytes become delimited records: RFC 4180, with `\n` or `\r\n`, quoted delimiters and newlines, blank lines skipped.
//!
//! A record is handed out as ranges of one buffer; nothing is copied but quoted fields with doubled quotes.
//!
//! **Invariant**: a record is never longer than the limit, so that a missing quote cannot pull a file into memory.

use std::borrow::Cow;
use std::io::Read;

use memchr::{memchr, memchr_iter, memchr2};

use crate::IngestError;
use crate::delimited::MAX_COLUMNS;

/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 20;

/// Splits a reader into records.
pub(crate) struct Records<R> {
    input: R,
    delimiter: u8,
    limit_bytes: usize,
    buffer: Vec<u8>,
    /// Unread part of the buffer.
    start: usize,
    end: usize,
    at_end: bool,
    /// Line of `start`, from 1.
    line: u64,
    /// `start` lies in a record that is broken: its line ends it.
    broken: bool,
    fields: Fields,
}

#[derive(Debug, Clone, Copy)]
struct Field {
    start: usize,
    end: usize,
    /// Doubled quotes are inside.
    escaped: bool,
}

/// The fields of one record. Those that no table can have are only counted, so that a line of delimiters takes no more room than
/// its bytes.
#[derive(Debug, Default)]
struct Fields {
    kept: Vec<Field>,
    count: usize,
}

impl Fields {
    fn clear(&mut self) {
        self.kept.clear();
        self.count = 0;
    }

    fn push(&mut self, field: Field) {
        if self.kept.len() < MAX_COLUMNS {
            self.kept.push(field);
        }
        self.count += 1;
    }

    fn len(&self) -> usize {
        self.count
    }
}

/// One record, valid until the next is read.
pub(crate) struct Record<'a> {
    /// The line where it starts, from 1.
    pub(crate) line: u64,
    buffer: &'a [u8],
    fields: &'a Fields,
}

impl Record<'_> {
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    /// The bytes of one of the first [`MAX_COLUMNS`] fields, quotes taken off.
    pub(crate) fn field(&self, index: usize) -> Cow<'_, [u8]> {
        let Field { start, end, escaped } = self.fields.kept[index];
        let raw = &self.buffer[start..end];
        if !escaped {
            return Cow::Borrowed(raw);
        }
        let mut plain = Vec::with_capacity(raw.len());
        let mut rest = raw;
        while let Some(quote) = memchr(b'"', rest) {
            plain.extend_from_slice(&rest[..=quote]);
            // The second quote of the pair: the scanner saw it.
            rest = rest.get(quote + 2..).unwrap_or_default();
        }
        plain.extend_from_slice(rest);
        Cow::Owned(plain)
    }
}

/// A record that is none of a table's, after which reading goes on.
#[derive(Debug)]
pub(crate) struct Unreadable {
    /// The line where it starts, from 1.
    pub(crate) line: u64,
    pub(crate) error: IngestError,
}

impl From<Unreadable> for IngestError {
    fn from(Unreadable { error, .. }: Unreadable) -> Self {
        error
    }
}

enum Scan {
    /// A record ends here; the next one starts at `next`, `lines` further down.
    Record {
        next: usize,
        lines: u64,
    },
    Blank {
        next: usize,
    },
    NeedMore,
    /// A quote that nothing closes: where the record ends, nobody knows.
    Open {
        field: usize,
        lines: u64,
    },
    /// Text at `at` after a closing quote, `lines` further down.
    Stray {
        field: usize,
        lines: u64,
        at: usize,
    },
}

impl<R: Read> Records<R> {
    /// `line` is the number of the first line.
    pub(crate) fn new(input: R, delimiter: u8, limit_bytes: usize) -> Self {
        Self {
            input,
            delimiter,
            limit_bytes,
            buffer: vec![0; READ_BYTES],
            start: 0,
            end: 0,
            at_end: false,
            line: 1,
            broken: false,
            fields: Fields::default(),
        }
    }

    /// Takes off a byte order mark; refuses UTF-16.
    pub(crate) fn skip_mark(&mut self) -> Result<(), IngestError> {
        while !self.at_end && self.end < 3 {
            self.fill()?;
        }
        match &self.buffer[..self.end] {
            [0xef, 0xbb, 0xbf, ..] => self.start = 3,
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Err(IngestError::Utf16),
            _ => {}
        }
        Ok(())
    }

    /// The delimiter for a file that does not say: a comma, unless the first line has none and has another usual one.
    pub(crate) fn sniff_delimiter(&mut self) -> Result<(), IngestError> {
        while !self.at_end && self.end < READ_BYTES && memchr(b'\n', &self.buffer[self.start..self.end]).is_none() {
            self.fill()?;
        }
        let unread = &self.buffer[self.start..self.end];
        let first = &unread[..memchr(b'\n', unread).unwrap_or(unread.len())];
        let count = |delimiter: u8| {
            let mut quoted = false;
            let outside = first.iter().filter(|&&byte| {
                quoted ^= byte == b'"';
                !quoted && byte == delimiter
            });
            outside.count()
        };
        if count(b',') == 0 {
            let others = [b';', b'\t', b'|'].map(|delimiter| (count(delimiter), delimiter));
            if let Some((seen, delimiter)) = others.into_iter().max_by_key(|(seen, _)| *seen)
                && seen > 0
            {
                self.delimiter = delimiter;
            }
        }
        Ok(())
    }

    /// The next record, or why it alone cannot be read; `None` at the end.
    ///
    /// # Errors
    /// When nobody can tell where the next record begins.
    pub(crate) fn read(&mut self) -> Result<Option<Result<Record<'_>, Unreadable>>, IngestError> {
        self.skip_broken()?;
        loop {
            match self.scan() {
                Scan::Record { next, lines } => {
                    let line = self.line;
                    self.start = next;
                    self.line += lines;
                    return Ok(Some(Ok(Record { line, buffer: &self.buffer, fields: &self.fields })));
                }
                Scan::Blank { next } => {
                    self.start = next;
                    self.line += 1;
                }
                Scan::Open { field, lines } => {
                    let what = "a quoted value is never closed";
                    return Err(IngestError::Malformed { line: self.line + lines, column: field + 1, what });
                }
                Scan::Stray { field, lines, at } => {
                    let line = self.line;
                    (self.start, self.broken) = (at, true);
                    self.line += lines;
                    let what = "text follows the closing quote";
                    let error = IngestError::Malformed { line: self.line, column: field + 1, what };
                    return Ok(Some(Err(Unreadable { line, error })));
                }
                Scan::NeedMore if self.at_end => return Ok(None),
                Scan::NeedMore if self.end - self.start > self.limit_bytes => {
                    return Err(IngestError::RecordTooLarge { line: self.line, limit_bytes: self.limit_bytes });
                }
                Scan::NeedMore => self.fill()?,
            }
        }
    }

    /// Passes by the rest of the line of a broken record, however long it is.
    fn skip_broken(&mut self) -> Result<(), IngestError> {
        while std::mem::take(&mut self.broken) {
            match memchr(b'\n', &self.buffer[self.start..self.end]) {
                Some(newline) => {
                    self.start += newline + 1;
                    self.line += 1;
                }
                None => {
                    self.start = self.end;
                    self.broken = !self.at_end;
                    self.fill()?;
                }
            }
        }
        Ok(())
    }

    /// Reads more, keeping what is unread.
    fn fill(&mut self) -> Result<(), IngestError> {
        if self.start > 0 {
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

    fn scan(&mut self) -> Scan {
        let bytes = &self.buffer[..self.end];
        let mut at = self.start;
        let mut lines = 0;
        self.fields.clear();
        if at == self.end {
            return Scan::NeedMore;
        }
        match &bytes[at..] {
            [b'\n', ..] => return Scan::Blank { next: at + 1 },
            [b'\r', b'\n', ..] => return Scan::Blank { next: at + 2 },
            [b'\r'] if self.at_end => return Scan::Blank { next: at + 1 },
            [b'\r'] => return Scan::NeedMore,
            _ => {}
        }
        loop {
            // At the start of a field.
            if bytes.get(at) == Some(&b'"') {
                let opened = lines;
                let start = at + 1;
                let mut from = start;
                let mut escaped = false;
                let close = loop {
                    let Some(quote) = memchr(b'"', &bytes[from..]).map(|offset| from + offset) else {
                        if self.at_end {
                            return Scan::Open { field: self.fields.len(), lines: opened };
                        }
                        return Scan::NeedMore;
                    };
                    match bytes.get(quote + 1) {
                        Some(b'"') => {
                            escaped = true;
                            from = quote + 2;
                        }
                        None if !self.at_end => return Scan::NeedMore,
                        _ => break quote,
                    }
                };
                lines += memchr_iter(b'\n', &bytes[start..close]).count() as u64;
                self.fields.push(Field { start, end: close, escaped });
                at = close + 1;
                match &bytes[at..] {
                    [] => return Scan::Record { next: at, lines },
                    [b'\n', ..] => return Scan::Record { next: at + 1, lines: lines + 1 },
                    [b'\r', b'\n', ..] => return Scan::Record { next: at + 2, lines: lines + 1 },
                    [b'\r'] if self.at_end => return Scan::Record { next: at + 1, lines },
                    [b'\r'] => return Scan::NeedMore,
                    [byte, ..] if *byte == self.delimiter => at += 1,
                    _ => return Scan::Stray { field: self.fields.len() - 1, lines, at },
                }
            } else {
                match memchr2(self.delimiter, b'\n', &bytes[at..]).map(|offset| at + offset) {
                    Some(end) if bytes[end] == b'\n' => {
                        let trimmed = if end > at && bytes[end - 1] == b'\r' { end - 1 } else { end };
                        self.fields.push(Field { start: at, end: trimmed, escaped: false });
                        return Scan::Record { next: end + 1, lines: lines + 1 };
                    }
                    Some(end) => {
                        self.fields.push(Field { start: at, end, escaped: false });
                        at = end + 1;
                    }
                    None if self.at_end => {
                        let end = bytes.len();
                        let trimmed = if end > at && bytes[end - 1] == b'\r' { end - 1 } else { end };
                        self.fields.push(Field { start: at, end: trimmed, escaped: false });
                        return Scan::Record { next: end, lines };
                    }
                    None => return Scan::NeedMore,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
