//! What is looked at in an Arrow stream before the Arrow reader sees it: the lengths that it would allocate, and the end.
//!
//! <https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format>

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use arrow::ipc::{MessageHeader, RecordBatch, root_as_message};

use super::{MAX_METADATA_BYTES, broken};
use crate::IngestError;
use crate::delimited::MAX_COLUMNS;

/// The body of one message.
const MAX_BODY_BYTES: u64 = 256 << 20;
/// The buffers of one message once decompressed; the dictionaries of a stream together.
const MAX_PLAIN_BYTES: u64 = 1 << 30;
/// Rows that a batch may have beyond the bits of its buffers: NULLs and runs take none.
const FREE_ROWS: u64 = 1 << 20;
/// Dictionaries of a stream.
const MAX_DICTIONARIES: usize = 1 << 16;
/// Stands before the length of a message.
const CONTINUATION: i32 = -1;

/// Walks the messages from `at` to the end of the stream; answers where it ends.
pub(super) fn check(file: File, at: u64, bytes: u64) -> Result<u64, IngestError> {
    let mut frames = Frames { input: BufReader::new(file), at, end: bytes, dictionaries: HashMap::new(), dictionary_bytes: 0 };
    if at > bytes {
        return Err(broken("Arrow", "the file ends in its magic"));
    }
    frames.input.seek(SeekFrom::Start(at)).map_err(IngestError::Spool)?;
    while let Some(metadata) = frames.metadata()? {
        frames.message(&metadata)?;
    }
    Ok(frames.at)
}

struct Frames {
    input: BufReader<File>,
    at: u64,
    end: u64,
    /// The bytes of each dictionary, and of all.
    dictionaries: HashMap<i64, u64>,
    dictionary_bytes: u64,
}

impl Frames {
    /// The metadata of the next message; `None` at the mark of the end, without which a stream is cut.
    fn metadata(&mut self) -> Result<Option<Vec<u8>>, IngestError> {
        let mut length = self.word()?;
        if length == CONTINUATION {
            length = self.word()?;
        }
        match u64::try_from(length) {
            Ok(0) => Ok(None),
            Ok(length) if length > MAX_METADATA_BYTES => Err(too_large("the metadata of an Arrow message", MAX_METADATA_BYTES)),
            Ok(length) => self.take(length).map(Some),
            Err(_) => Err(broken("Arrow", "a length is negative")),
        }
    }

    fn word(&mut self) -> Result<i32, IngestError> {
        let bytes = self.take(4)?;
        Ok(i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn take(&mut self, bytes: u64) -> Result<Vec<u8>, IngestError> {
        if bytes > self.end - self.at {
            return Err(broken("Arrow", "the stream is cut"));
        }
        let mut taken = vec![0; bytes as usize];
        self.input.read_exact(&mut taken).map_err(IngestError::Spool)?;
        self.at += bytes;
        Ok(taken)
    }

    fn message(&mut self, metadata: &[u8]) -> Result<(), IngestError> {
        let message = root_as_message(metadata).map_err(|error| broken("Arrow", error))?;
        let body = u64::try_from(message.bodyLength()).map_err(|_| broken("Arrow", "a length is negative"))?;
        if body > self.end - self.at {
            return Err(broken("Arrow", "the stream is cut"));
        }
        if body > MAX_BODY_BYTES {
            return Err(too_large("a batch of the Arrow stream", MAX_BODY_BYTES));
        }
        match message.header_type() {
            MessageHeader::Schema => {
                let columns = message.header_as_schema().and_then(|schema| schema.fields()).map_or(0, |fields| fields.len());
                if columns > MAX_COLUMNS {
                    return Err(IngestError::TooManyColumns { limit: MAX_COLUMNS });
                }
            }
            MessageHeader::RecordBatch => {
                if let Some(batch) = message.header_as_record_batch() {
                    self.batch(batch, body)?;
                }
            }
            MessageHeader::DictionaryBatch => {
                if let Some(dictionary) = message.header_as_dictionary_batch() {
                    let batch = dictionary.data().ok_or_else(|| broken("Arrow", "a dictionary has no values"))?;
                    let plain = self.batch(batch, body)?;
                    self.keep(dictionary.id(), dictionary.isDelta(), plain)?;
                }
            }
            _ => {}
        }
        self.at += body;
        self.input.seek(SeekFrom::Start(self.at)).map_err(IngestError::Spool)?;
        Ok(())
    }

    /// Checks the lengths of a batch whose body comes next; answers the bytes of its buffers once decompressed.
    fn batch(&mut self, batch: RecordBatch<'_>, body: u64) -> Result<u64, IngestError> {
        let mut plain = 0_u64;
        for buffer in batch.buffers().into_iter().flatten() {
            let (offset, length) = match (u64::try_from(buffer.offset()), u64::try_from(buffer.length())) {
                (Ok(offset), Ok(length)) if offset.checked_add(length).is_some_and(|ends| ends <= body) => (offset, length),
                _ => return Err(broken("Arrow", "a buffer lies outside of its batch")),
            };
            let bytes = if batch.compression().is_some() && length > 0 { self.claimed(offset, length)? } else { length };
            plain = plain.saturating_add(bytes);
        }
        if plain > MAX_PLAIN_BYTES {
            return Err(too_large("a batch of the Arrow stream", MAX_PLAIN_BYTES));
        }
        let most = 8 * plain + FREE_ROWS;
        let nodes = batch.nodes().into_iter().flatten();
        let mut lengths = nodes.flat_map(|node| [node.length(), node.null_count()]).chain([batch.length()]);
        if lengths.any(|rows| u64::try_from(rows).map_or(true, |rows| rows > most)) {
            return Err(broken("Arrow", "a batch claims more rows than it has"));
        }
        Ok(plain)
    }

    /// The length before a compressed buffer: of what it holds once decompressed, or -1 where it is not compressed.
    fn claimed(&mut self, offset: u64, length: u64) -> Result<u64, IngestError> {
        const PREFIX_BYTES: u64 = 8;
        let mut prefix = [0; PREFIX_BYTES as usize];
        let plain = length.checked_sub(PREFIX_BYTES).ok_or_else(|| broken("Arrow", "a compressed buffer is too short"))?;
        self.input.seek(SeekFrom::Start(self.at + offset)).map_err(IngestError::Spool)?;
        self.input.read_exact(&mut prefix).map_err(IngestError::Spool)?;
        match i64::from_le_bytes(prefix) {
            -1 => Ok(plain),
            claimed => u64::try_from(claimed).map_err(|_| broken("Arrow", "a length is negative")),
        }
    }

    /// The reader keeps every dictionary to the end.
    fn keep(&mut self, id: i64, is_delta: bool, bytes: u64) -> Result<(), IngestError> {
        let kept = self.dictionaries.entry(id).or_default();
        if !is_delta {
            self.dictionary_bytes -= std::mem::take(kept);
        }
        *kept += bytes;
        self.dictionary_bytes += bytes;
        if self.dictionary_bytes > MAX_PLAIN_BYTES || self.dictionaries.len() > MAX_DICTIONARIES {
            return Err(too_large("what the Arrow stream has in dictionaries", MAX_PLAIN_BYTES));
        }
        Ok(())
    }
}

fn too_large(part: &'static str, limit_bytes: u64) -> IngestError {
    IngestError::PartTooLarge { part, limit_mib: limit_bytes >> 20 }
}
