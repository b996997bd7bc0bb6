//! Server-sent events, as most providers stream: the `data` of each event, however the bytes are cut.
//!
//! Written after the HTML standard, "9.2.6 Interpreting an event stream": lines end in LF, CR or CR LF, a blank line ends an event,
//! several `data` lines of one event are joined by LF, a byte order mark at the start is skipped, what follows the last blank line
//! is discarded, unless it is asked for with [`Events::rest`].
//!
//! **Invariant**: at most [`MAX_EVENT_BYTES`] are held, whatever arrives.

use crate::Error;

/// The longest event.
pub const MAX_EVENT_BYTES: usize = 1 << 20;

/// Reads an event stream as it arrives.
#[derive(Debug, Default)]
pub struct Events {
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// The data of the event that has not ended yet.
    data: Vec<u8>,
    has_data: bool,
    /// The last byte was a CR: an LF that follows ends no second line.
    after_cr: bool,
    begun: bool,
}

impl Events {
    /// Hands the data of every event that `bytes` complete to `event`. Text that is not UTF-8 is replaced.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for an event of more than [`MAX_EVENT_BYTES`], else what `event` returns.
    pub fn push(&mut self, bytes: &[u8], mut event: impl FnMut(&str) -> Result<(), Error>) -> Result<(), Error> {
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let ends_nothing = at == 0 && rest[0] == b'\n' && self.after_cr;
            self.after_cr = rest[at] == b'\r';
            if !ends_nothing {
                self.hold(&rest[..at])?;
                self.end_line(&mut event)?;
            }
            rest = &rest[at + 1..];
        }
        if !rest.is_empty() {
            self.after_cr = false;
        }
        self.hold(rest)
    }

    /// The stream has ended: hands over the event that no blank line has ended, which some servers leave behind.
    ///
    /// # Errors
    /// As [`Events::push`].
    pub fn rest(&mut self, mut event: impl FnMut(&str) -> Result<(), Error>) -> Result<(), Error> {
        if !self.line.is_empty() {
            self.end_line(&mut event)?;
        }
        self.end_event(&mut event)
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.line.len() + self.data.len() + bytes.len() > MAX_EVENT_BYTES {
            return Err(Error::input(format!("an event of more than {MAX_EVENT_BYTES} bytes")));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self, event: &mut impl FnMut(&str) -> Result<(), Error>) -> Result<(), Error> {
        let line = std::mem::take(&mut self.line);
        let bom = if self.begun { None } else { line.strip_prefix(b"\xef\xbb\xbf") };
        let text = bom.unwrap_or(&line);
        self.begun = true;
        if text.is_empty() {
            return self.end_event(event);
        }
        let (field, value) = match text.iter().position(|&byte| byte == b':') {
            Some(colon) => (&text[..colon], text[colon + 1..].strip_prefix(b" ").unwrap_or(&text[colon + 1..])),
            None => (text, &b""[..]),
        };
        // The other fields (`event`, `id`, `retry`, comments) say nothing that the data does not.
        if field == b"data" {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value);
            self.has_data = true;
        }
        Ok(())
    }

    fn end_event(&mut self, event: &mut impl FnMut(&str) -> Result<(), Error>) -> Result<(), Error> {
        let data = std::mem::take(&mut self.data);
        if std::mem::take(&mut self.has_data) { event(&String::from_utf8_lossy(&data)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let (mut reader, mut seen) = (Events::default(), Vec::new());
        for piece in pieces {
            reader
                .push(piece, |data| {
                    seen.push(data.to_owned());
                    Ok(())
                })
                .unwrap();
        }
        reader
            .rest(|data| {
                seen.push(format!("rest {data}"));
                Ok(())
            })
            .unwrap();
        seen
    }

    #[test]
    fn fields_lines_and_ends_are_those_of_the_standard() {
        assert_eq!(events(&[b"data: a\n\ndata:b\r\n\r\ndata:  c\r\r"]), ["a", "b", " c"]);
        assert_eq!(events(&[b"data: a\ndata: b\ndata\n\n"]), ["a\nb\n"]);
        assert_eq!(events(&[b": comment\nevent: x\nid: 1\nretry: 5\n\ndata: y\n\n"]), ["y"]);
        assert_eq!(events(&[b"\xef\xbb\xbfdata: bom\n\n"]), ["bom"]);
        assert_eq!(events(&[b"data: left behind"]), ["rest left behind"]);
        assert_eq!(events(&[b"data: a\xff\n\n"]), ["a\u{fffd}"]);
        assert_eq!(events(&[b""]), [""; 0]);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut reader = Events::default();
        let piece = vec![b'x'; MAX_EVENT_BYTES / 4];
        let outcome = (0..5).try_for_each(|_| reader.push(&piece, |_| Ok(())));
        assert!(matches!(outcome, Err(Error::InvalidInput { .. })));
        let mut reader = Events::default();
        let line = [b"data: ", vec![b'x'; MAX_EVENT_BYTES / 4].as_slice(), b"\n"].concat();
        let outcome = (0..5).try_for_each(|_| reader.push(&line, |_| Ok(())));
        assert!(matches!(outcome, Err(Error::InvalidInput { .. })));
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            lines in prop::collection::vec(prop_oneof![Just(String::new()), "data: [a-zé]{0,9}", "[a-z:]{0,6}"], 0..20),
            end in prop_oneof![Just("\n"), Just("\r"), Just("\r\n")],
            cuts in prop::collection::vec(0_usize..400, 0..8),
        ) {
            let stream: String = lines.iter().map(|line| format!("{line}{end}")).collect();
            let whole = events(&[stream.as_bytes()]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream.as_bytes()[cut[0]..cut[1]]).collect();
            prop_assert_eq!(events(&pieces), whole);
        }
    }
}
