//! An index: the text or the vectors of one relation, made searchable.
//!
//! **Invariant**: a record names only segments whose objects are durable; what an index was made with (rules by content, the
//! definition of its view, the version of its dataset) stands in it, so that anyone can tell whether it would be made the same today.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use lakehouse_storage::Record;
use lakehouse_types::{Actor, BucketName, ColumnName, DatasetId, DatasetName, Digest, IndexId, IndexName, PluginName, ProfileId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A stored index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexRecord {
    pub name: IndexName,
    /// Names the index's folder in its bucket. Never reused.
    pub id: IndexId,
    /// The dataset or view whose output it holds.
    pub relation: String,
    /// The relation itself, or the dataset beneath the view.
    pub base: DatasetName,
    /// The base's bucket.
    pub bucket: BucketName,
    /// The relation's column that names rows is unique and without NULL among the rows that are indexed.
    #[serde(flatten)]
    pub recipe: Recipe,
    pub id_type: IdType,
    /// The profile whose rules made it.
    pub profile: ProfileId,
    /// Numbers in a vector; absent before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
    /// What governed the relation: the view's definition and the rules that redact it. Equal digests mean equal output.
    pub governance: Digest,
    pub seen: Seen,
    /// Counts commits of this index.
    pub generation: u64,
    /// What is searched, oldest first.
    pub segments: Vec<SegmentRecord>,
    /// Written by a refresh that did not end; the next one goes on from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingSegments>,
    pub created_at: DateTime<Utc>,
    pub created_by: Actor,
    /// When a refresh last ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refreshed_at: Option<DateTime<Utc>>,
}

impl Record for IndexRecord {
    const COLLECTION: &'static str = "indexes";
    const FORMAT: u32 = 1;
}

impl IndexRecord {
    /// Whether a refresh has ever ended, so that there is something to search.
    pub fn is_ready(&self) -> bool {
        self.refreshed_at.is_some()
    }

    /// Rows that are indexed and alive.
    pub fn rows(&self) -> u64 {
        self.segments.iter().map(|segment| segment.live_rows).sum()
    }

    /// Chunks, or vectors of a column, dead ones included.
    pub fn chunks(&self) -> u64 {
        self.segments.iter().map(|segment| segment.chunks).sum()
    }
}

/// What kind of values name rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdType {
    Text,
    Integer,
}

impl IdType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
        }
    }
}

/// What is made searchable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IndexSource {
    /// Text: it is cut into chunks, which are embedded.
    Text(ColumnName),
    /// Lists of numbers, as they are.
    Vectors(ColumnName),
}

impl IndexSource {
    pub fn column(&self) -> &ColumnName {
        match self {
            Self::Text(column) | Self::Vectors(column) => column,
        }
    }
}

/// How vectors are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IndexMetric {
    /// Vectors are brought to length 1 first.
    #[default]
    Cosine,
    InnerProduct,
    /// The squared Euclidean distance.
    L2,
}

impl IndexMetric {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::InnerProduct => "inner_product",
            Self::L2 => "l2",
        }
    }
}

/// The rules that made an index. Those of text are absent where vectors are indexed as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexRules {
    pub id_mapper: PinnedRule,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunker: Option<PinnedRule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedder: Option<PinnedRule>,
}

impl IndexRules {
    /// The plugins behind them.
    pub fn plugins(&self) -> BTreeSet<&PluginName> {
        [Some(&self.id_mapper), self.chunker.as_ref(), self.embedder.as_ref()]
            .into_iter()
            .flatten()
            .map(|rule| &rule.plugin)
            .collect()
    }
}

/// A rule as it was: a component by its content, and its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedRule {
    pub plugin: PluginName,
    /// As people call it; the digest decides.
    pub version: String,
    pub digest: Digest,
    /// The JSON object that the component was opened with, profile's and index's together.
    pub config: Value,
    /// What the index itself adds to the profile's configuration.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub overlay: Value,
}

/// The state of the dataset that the last refresh saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub dataset: DatasetId,
    pub version: u64,
    /// A number for the keys that were tombstoned then; 0 for none.
    pub tombstones: u64,
    /// Of each data file's path: while all of them are in a later version, its other files only add rows.
    pub files: Vec<u64>,
}

/// Segments that are not searched yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingSegments {
    /// What made them; segments that would be made otherwise today are of no use.
    pub recipe: Recipe,
    pub dimensions: u32,
    pub segments: Vec<SegmentRecord>,
}

/// All that decides what a row of a given content becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    pub id_column: ColumnName,
    pub source: IndexSource,
    pub metric: IndexMetric,
    pub rules: IndexRules,
}

/// Rows that were embedded together: immutable objects in a folder of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRecord {
    /// Names the folder. Never reused.
    pub id: IndexId,
    /// Rows, dead ones included.
    pub rows: u64,
    /// Rows that are alive.
    pub live_rows: u64,
    /// Vectors: an ordinal is the position of one.
    pub chunks: u64,
    pub files: SegmentFiles,
}

/// The objects of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentFiles {
    /// Row keys, document ids, content hashes and spans.
    pub rows: FileRecord,
    /// Texts of chunks; absent where vectors are indexed as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<FileRecord>,
    /// The vectors as they are, in the order of their ordinals.
    pub vectors: FileRecord,
    /// A structure over them, where there are enough to need one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faiss: Option<FaissRecord>,
    /// One bit a row, set where it is dead; absent when all are alive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<FileRecord>,
}

impl SegmentFiles {
    pub fn iter(&self) -> impl Iterator<Item = &FileRecord> {
        let some = [
            Some(&self.rows),
            self.text.as_ref(),
            Some(&self.vectors),
            self.faiss.as_ref().map(|faiss| &faiss.file),
            self.dead.as_ref(),
        ];
        some.into_iter().flatten()
    }
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Within the segment's folder.
    pub name: String,
    pub bytes: u64,
    /// CRC-32C of the whole object.
    pub crc32c: u32,
}

/// A FAISS index file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaissRecord {
    pub file: FileRecord,
    /// As a factory string: `HNSW32`.
    pub factory: String,
    pub ef_search: u32,
}

/// A folder whose objects nothing uses: those of a segment that is being written, or of what was dropped. Whoever finds it deletes
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexLitter {
    pub bucket: BucketName,
    /// Ends with the id of an index or of a segment.
    pub folder: String,
}

impl Record for IndexLitter {
    const COLLECTION: &'static str = "index_litter";
    const FORMAT: u32 = 1;
}
