//! Statements as tickets and handles.
//!
//! **Invariant**: what [`Statement::decode`] reads is what a client sent: it is parsed under bounds, and means no more than the statement
//! that the same client could have sent in words.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::{reader::StreamReader, writer::StreamWriter};
use bytes::{BufMut, Bytes, BytesMut};
use lakehouse_engine::Params;
use tonic::Status;

use crate::sound::is_sound;

/// The layout: this byte, the statement's length in four bytes, its text, its parameters as an Arrow IPC stream of one batch, if any.
const VERSION: u8 = 1;

/// A statement and what was bound to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) params: Option<RecordBatch>,
}

impl Statement {
    pub(crate) fn new(sql: String) -> Self {
        Self { sql, params: None }
    }

    pub(crate) fn params(&self) -> Params {
        self.params.clone().map_or_else(Params::default, Params::Row)
    }

    /// # Errors
    /// When the parameters have a type that IPC has not.
    pub(crate) fn encode(&self) -> Result<Bytes, Status> {
        let length = u32::try_from(self.sql.len()).map_err(|_| unreadable())?;
        let mut out = BytesMut::with_capacity(5 + self.sql.len());
        out.put_u8(VERSION);
        out.put_u32(length);
        out.put_slice(self.sql.as_bytes());
        if let Some(params) = &self.params {
            out.put_slice(
                &ipc(params).map_err(|_| Status::invalid_argument("the parameters cannot be kept with the statement"))?,
            );
        }
        Ok(out.freeze())
    }

    /// # Errors
    /// When these bytes never were a handle of ours.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Status> {
        let (version, rest) = bytes.split_first().ok_or_else(unreadable)?;
        let (length, rest) = rest.split_first_chunk().ok_or_else(unreadable)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| unreadable())?;
        if *version != VERSION || length > rest.len() {
            return Err(unreadable());
        }
        let (sql, rest) = rest.split_at(length);
        let sql = std::str::from_utf8(sql).map_err(|_| unreadable())?.to_owned();
        let params = if rest.is_empty() { None } else { Some(batch(rest).ok_or_else(unreadable)?) };
        Ok(Self { sql, params })
    }
}

fn ipc(params: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &params.schema())?;
    writer.write(params)?;
    writer.into_inner()
}

/// Arrow's reader panics on some schemas that nobody wrote, such as a type with a number that no type has.
fn batch(bytes: &[u8]) -> Option<RecordBatch> {
    if !is_sound(bytes) {
        return None;
    }
    std::panic::catch_unwind(|| read(bytes)).ok().flatten()
}

fn read(bytes: &[u8]) -> Option<RecordBatch> {
    let mut reader = StreamReader::try_new(bytes, None).ok()?;
    let batch = reader.next()?.ok()?;
    reader.next().is_none().then_some(batch)
}

fn unreadable() -> Status {
    Status::invalid_argument("this is no ticket or handle of this server; ask for the statement again")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

    use super::Statement;

    fn bound() -> Statement {
        let number: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("x")]));
        let params = RecordBatch::try_from_iter([("1", number), ("2", text)]).unwrap();
        Statement { sql: "SELECT $1, $2".into(), params: Some(params) }
    }

    #[test]
    fn a_statement_comes_back_as_it_was() {
        for statement in [Statement::new("SELECT 'ö'".into()), Statement::new(String::new()), bound()] {
            assert_eq!(Statement::decode(&statement.encode().unwrap()).unwrap(), statement);
        }
    }

    #[test]
    fn other_bytes_are_refused_and_nothing_breaks() {
        let whole = bound().encode().unwrap();
        for end in 0..whole.len() {
            // A statement whose parameters were cut off entirely is one without.
            let is_whole = Statement::decode(&whole[..end]).is_ok_and(|read| read.params.is_some());
            // The mark at the end of an IPC stream may be missing.
            assert!(!is_whole || end + 8 >= whole.len(), "{end}");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 0xff;
            let _ = Statement::decode(&bytes);
        }
        for bytes in [&b""[..], b"\x01", b"\x02\0\0\0\0", b"\x01\xff\xff\xff\xff", b"\x01\0\0\0\x01\xff", b"SELECT 1"] {
            assert!(Statement::decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
