//! Checksums of the objects of a local bucket, kept beside them.
//!
//! A disk may answer with other bytes than were written, and neither Parquet nor a Delta log would notice. So the object `x` has at
//! `_sums/x` a CRC-32C for each block of 64 KiB, and every range that is read is checked by its blocks. The log and the sorted files of
//! the metadata store have checksums of their own and none here; its manifests, which have none, do.
//!
//! The stored form, integers little-endian: the magic `LHSUM001`, then for each content that the object may have (the newest last) its
//! length as `u64` and a `u32` for each block, and at the end a `u32` over all that came before. An object that is overwritten may have
//! the content from before or the one from after, wherever a crash comes between, and so both are in there for that time.
//!
//! **Invariant**: bytes that the sums of none of the contents fit are never handed on. An object without sums (from a release before
//! them, or put there by others) is read as it is.

mod pieces;
mod store;
mod sweep;

pub(crate) use store::ChecksumStore;
pub(crate) use sweep::sweep;

use std::ops::Range;

use bytes::Bytes;
use object_store::{Error, path::Path};

/// The folder of sums in a bucket.
pub(crate) const FOLDER: &str = "_sums";
const BLOCK: u64 = 64 << 10;
const MAGIC: &[u8; 8] = b"LHSUM001";

/// An object's bytes are not those that were written.
#[derive(Debug, thiserror::Error)]
#[error("{object}: {what}")]
pub(crate) struct Damaged {
    object: String,
    what: &'static str,
}

fn damaged(object: &Path, what: &'static str) -> Error {
    let object = object.to_string();
    tracing::error!(object, what, "stored bytes are damaged");
    Error::Generic { store: "local", source: Box::new(Damaged { object, what }) }
}

/// Whether the error, or what caused it, is that stored bytes are damaged.
pub fn is_damage(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<Damaged>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The sums of one content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sums {
    length: u64,
    blocks: Vec<u32>,
}

impl Sums {
    fn of<'a>(parts: impl IntoIterator<Item = &'a Bytes>) -> Self {
        let mut summing = Summing::default();
        parts.into_iter().for_each(|part| summing.add(part));
        summing.end()
    }

    /// The whole blocks that cover `range`.
    fn cover(&self, range: &Range<u64>) -> Range<u64> {
        let end = range.end.div_ceil(BLOCK).saturating_mul(BLOCK).min(self.length);
        range.start / BLOCK * BLOCK..end.max(range.end)
    }

    /// Whether `bytes`, which begin at a block's beginning `at`, are what was written.
    fn fit(&self, at: u64, bytes: &[u8]) -> bool {
        let first = usize::try_from(at / BLOCK).unwrap_or(usize::MAX);
        let end = at + bytes.len() as u64;
        let is_whole = at.is_multiple_of(BLOCK) && (end == self.length || end < self.length && end.is_multiple_of(BLOCK));
        let blocks = bytes.chunks(BLOCK as usize);
        is_whole
            && self
                .blocks
                .get(first..first + blocks.len())
                .is_some_and(|sums| blocks.zip(sums).all(|(block, sum)| crc32c::crc32c(block) == *sum))
    }
}

/// Sums in the making.
#[derive(Debug, Default)]
struct Summing {
    blocks: Vec<u32>,
    length: u64,
    /// Of the block that is not full yet.
    open: u32,
}

impl Summing {
    fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = BLOCK - self.length % BLOCK;
            let (now, later) = bytes.split_at(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            self.open = crc32c::crc32c_append(self.open, now);
            self.length += now.len() as u64;
            if self.length.is_multiple_of(BLOCK) {
                self.blocks.push(std::mem::take(&mut self.open));
            }
            bytes = later;
        }
    }

    fn end(mut self) -> Sums {
        if !self.length.is_multiple_of(BLOCK) {
            self.blocks.push(self.open);
        }
        Sums { length: self.length, blocks: self.blocks }
    }
}

/// The contents that an object may have, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Contents(Vec<Sums>);

impl Contents {
    /// With one more that it may have from now on.
    fn with(mut self, new: Sums) -> Self {
        self.0.retain(|sums| *sums != new);
        self.0.push(new);
        self
    }

    fn blocks(&self) -> usize {
        self.0.iter().map(|sums| sums.blocks.len()).sum()
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for Sums { length, blocks } in &self.0 {
            bytes.extend_from_slice(&length.to_le_bytes());
            blocks.iter().for_each(|sum| bytes.extend_from_slice(&sum.to_le_bytes()));
        }
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// `None` for anything that [`Contents::encode`] did not make.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*sum) {
            return None;
        }
        let mut rest = body.strip_prefix(MAGIC)?;
        let mut contents = Vec::new();
        while !rest.is_empty() {
            let (length, more) = rest.split_first_chunk::<8>()?;
            let length = u64::from_le_bytes(*length);
            let (blocks, more) = more.split_at_checked(usize::try_from(length.div_ceil(BLOCK)).ok()?.checked_mul(4)?)?;
            let blocks = blocks.as_chunks::<4>().0.iter().map(|sum| u32::from_le_bytes(*sum)).collect();
            contents.push(Sums { length, blocks });
            rest = more;
        }
        Some(Self(contents))
    }
}

/// Where an object's sums are.
fn beside(object: &Path) -> Path {
    Path::from_iter([FOLDER.into()].into_iter().chain(object.parts()))
}

/// Whether an object has sums: not what the metadata store sums itself, and not the sums themselves.
fn has_sums(object: &Path) -> bool {
    !crate::meta::sums_itself(object) && !object.prefix_matches(&Path::from(FOLDER))
}

#[cfg(test)]
mod tests;
