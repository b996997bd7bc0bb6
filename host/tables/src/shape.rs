//! How the files of a version are, and whether a compaction brings something.

use crate::DatasetState;

/// Files below this size are merged.
pub(crate) const SMALL_BYTES: u64 = 64 << 20;
/// A dataset is worth compacting by itself when more of its bytes than this share are in small files.
const SMALL_SHARE: f64 = 0.2;

/// How files of a dataset are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub files: u64,
    pub bytes: u64,
    /// Files that a compaction would merge.
    pub small_files: u64,
    pub small_bytes: u64,
    /// Rows that tombstones hide.
    pub hidden: u64,
}

impl Shape {
    /// Whether a compaction brings something: hidden rows that go, or small files with a share of the data worth merging.
    pub fn is_worth_compacting(&self) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = self.small_bytes as f64 / self.bytes.max(1) as f64;
        self.hidden > 0 || (self.small_files > 1 && share > SMALL_SHARE)
    }
}

impl DatasetState {
    pub fn shape(&self) -> Shape {
        let small = || self.files.iter().map(|file| file.meta.size).filter(|size| *size < SMALL_BYTES);
        Shape {
            files: self.files.len() as u64,
            bytes: self.bytes,
            small_files: small().count() as u64,
            small_bytes: small().sum(),
            hidden: self.hidden,
        }
    }
}
