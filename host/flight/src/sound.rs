//! Arrow messages of clients, looked at before Arrow's reader believes them.
//!
//! The reader makes room for as many bytes as a message says it has, and for as many as a compressed buffer says it will have: more than there
//! is memory ends the process.
//!
//! **Invariant**: what passes says of no part that it is longer than it is, and compresses nothing.

use arrow::ipc::root_as_message;

/// What a message of an IPC stream begins with.
const MARK: [u8; 4] = [0xff; 4];

/// Whether a message's header can be read, and its body is as it will be in memory.
pub(crate) fn is_plain(header: &[u8]) -> bool {
    let Ok(message) = root_as_message(header) else { return false };
    let batch = message.header_as_record_batch();
    let dictionary = message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data());
    batch.or(dictionary).is_none_or(|batch| batch.compression().is_none())
}

/// Whether an IPC stream is whole and plain.
pub(crate) fn is_sound(stream: &[u8]) -> bool {
    let mut left = stream;
    while !left.is_empty() {
        let Some((mark, rest)) = left.split_first_chunk::<4>() else { return false };
        let Some((length, rest)) = rest.split_first_chunk::<4>() else { return false };
        let Ok(length) = usize::try_from(i32::from_le_bytes(*length)) else { return false };
        if *mark != MARK {
            return false;
        }
        if length == 0 {
            return rest.is_empty();
        }
        let Some((header, rest)) = rest.split_at_checked(length) else { return false };
        let body = root_as_message(header).ok().and_then(|message| usize::try_from(message.bodyLength()).ok());
        match body.and_then(|body| rest.split_at_checked(body)) {
            Some((_, rest)) if is_plain(header) => left = rest,
            _ => return false,
        }
    }
    true
}
