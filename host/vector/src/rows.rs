//! The rows of a segment: key, document id, content hash, and where the chunks of each lie in its text.
//!
//! **Invariant**: the ordinals of row `r` are `offsets[r]..offsets[r + 1]`; a row whose text has no chunks has none, and is known all
//! the same.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, RecordBatch, StringArray, UInt32Array},
    buffer::Buffer,
    compute::concat_batches,
    datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type},
};
use bytes::Bytes;
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};

use crate::keys::Keys;

/// Bytes of a content hash: half a SHA-256.
pub(crate) const HASH_BYTES: usize = 16;
pub(crate) type ContentHash = [u8; HASH_BYTES];

/// Rows on their way.
#[derive(Debug, Default)]
pub(crate) struct RowsDraft {
    pub(crate) keys: Vec<String>,
    pub(crate) doc_ids: Vec<String>,
    pub(crate) hashes: Vec<ContentHash>,
    /// Ordinals of each row.
    pub(crate) counts: Vec<u32>,
    /// By ordinal: the first byte of a chunk within its row's text, and one past its last.
    pub(crate) starts: Vec<u32>,
    pub(crate) ends: Vec<u32>,
}

/// The rows of a loaded segment.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) keys: StringArray,
    pub(crate) doc_ids: StringArray,
    hashes: FixedSizeBinaryArray,
    offsets: Vec<u32>,
    starts: UInt32Array,
    ends: UInt32Array,
    /// By ordinal.
    row_of: Vec<u32>,
    /// Whether no row has two ordinals.
    is_single: bool,
    table: Keys,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("row_key", DataType::Utf8, false),
        Field::new("doc_id", DataType::Utf8, false),
        Field::new("content_hash", DataType::FixedSizeBinary(HASH_BYTES as i32), false),
        Field::new("ordinals", DataType::UInt32, false),
    ]))
}

fn spans_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("start", DataType::UInt32, false), Field::new("end", DataType::UInt32, false)]))
}

impl RowsDraft {
    /// Two Parquet files, one after the other: rows, and their chunks by ordinal; before them the length of the first, eight bytes, the
    /// lowest first.
    pub(crate) fn into_bytes(self) -> Result<Vec<u8>, ParquetError> {
        let bytes = Buffer::from(self.hashes.as_flattened());
        let hashes = FixedSizeBinaryArray::try_new_with_len(HASH_BYTES as i32, bytes, None, self.hashes.len())?;
        let rows: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(self.keys)),
            Arc::new(StringArray::from(self.doc_ids)),
            Arc::new(hashes),
            Arc::new(UInt32Array::from(self.counts)),
        ];
        let rows = file(schema(), rows)?;
        let spans: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from(self.starts)), Arc::new(UInt32Array::from(self.ends))];
        let spans = file(spans_schema(), spans)?;
        Ok([&(rows.len() as u64).to_le_bytes()[..], &rows, &spans].concat())
    }
}

fn file(schema: SchemaRef, columns: Vec<ArrayRef>) -> Result<Vec<u8>, ParquetError> {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(properties))?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(bytes)
}

fn read_file(bytes: Bytes, schema: &SchemaRef) -> Option<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).ok()?.build().ok()?;
    let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>().ok()?;
    let batch = concat_batches(schema, &batches).ok()?;
    let is_whole = batch.columns().iter().all(|column| column.null_count() == 0);
    (is_whole && batch.schema().fields() == schema.fields()).then_some(batch)
}

impl Rows {
    /// Reads what [`RowsDraft::into_bytes`] wrote; nothing when the bytes are something else.
    pub(crate) fn read(bytes: &Bytes) -> Option<Self> {
        let length = usize::try_from(u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?)).ok()?;
        let split = length.checked_add(8).filter(|split| *split <= bytes.len())?;
        let rows = read_file(bytes.slice(8..split), &schema())?;
        let spans = read_file(bytes.slice(split..), &spans_schema())?;
        let counts = rows.column(3).as_primitive::<UInt32Type>().values();
        let mut offsets = Vec::with_capacity(counts.len() + 1);
        offsets.push(0);
        let mut row_of = Vec::with_capacity(spans.num_rows());
        let mut end = 0u32;
        for (count, row) in counts.iter().zip(0u32..) {
            end = end.checked_add(*count)?;
            if end as usize > spans.num_rows() {
                return None;
            }
            offsets.push(end);
            row_of.extend(std::iter::repeat_n(row, *count as usize));
        }
        if row_of.len() != spans.num_rows() {
            return None;
        }
        let keys = rows.column(0).as_string::<i32>().clone();
        Some(Self {
            is_single: counts.iter().all(|count| *count <= 1),
            table: Keys::of(&keys),
            doc_ids: rows.column(1).as_string::<i32>().clone(),
            hashes: rows.column(2).as_fixed_size_binary().clone(),
            starts: spans.column(0).as_primitive::<UInt32Type>().clone(),
            ends: spans.column(1).as_primitive::<UInt32Type>().clone(),
            keys,
            offsets,
            row_of,
        })
    }

    /// Whether each row has an ordinal.
    pub(crate) fn has_chunks_of_all(&self) -> bool {
        self.offsets.windows(2).all(|pair| pair[0] < pair[1])
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Ordinals of all rows.
    pub(crate) fn ordinals(&self) -> usize {
        self.row_of.len()
    }

    pub(crate) fn find(&self, key: &str) -> Option<u32> {
        self.table.find(&self.keys, key)
    }

    pub(crate) fn hash(&self, row: u32) -> &[u8] {
        self.hashes.value(row as usize)
    }

    pub(crate) fn ordinals_of(&self, row: u32) -> Range<u32> {
        self.offsets[row as usize]..self.offsets[row as usize + 1]
    }

    /// Whether each ordinal is a row of its own.
    pub(crate) fn is_single(&self) -> bool {
        self.is_single
    }

    /// The row that an ordinal belongs to.
    pub(crate) fn row_of(&self, ordinal: u32) -> u32 {
        self.row_of[ordinal as usize]
    }

    /// Where a chunk lies in its row's text.
    pub(crate) fn span(&self, ordinal: u32) -> Range<u32> {
        self.starts.value(ordinal as usize)..self.ends.value(ordinal as usize)
    }

    pub(crate) fn bytes(&self) -> u64 {
        let arrays = self.keys.get_array_memory_size() + self.doc_ids.get_array_memory_size();
        (arrays + self.len() * (HASH_BYTES + 4) + self.ordinals() * 12) as u64 + self.table.bytes()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Rows, RowsDraft};

    fn draft() -> RowsDraft {
        RowsDraft {
            keys: vec!["a".into(), "b".into(), "c".into()],
            doc_ids: vec!["W-a".into(), "W-b".into(), "W-c".into()],
            hashes: vec![[1; 16], [2; 16], [3; 16]],
            counts: vec![2, 0, 1],
            starts: vec![0, 5, 0],
            ends: vec![6, 9, 4],
        }
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let rows = Rows::read(&Bytes::from(draft().into_bytes().unwrap())).unwrap();
        assert_eq!((rows.len(), rows.ordinals()), (3, 3));
        assert_eq!((rows.find("b"), rows.find("d")), (Some(1), None));
        assert_eq!((rows.ordinals_of(0), rows.ordinals_of(1), rows.ordinals_of(2)), (0..2, 2..2, 2..3));
        assert_eq!((rows.row_of(1), rows.row_of(2), rows.span(1), rows.hash(2)), (0, 2, 5..9, &[3; 16][..]));
        assert_eq!(rows.doc_ids.value(2), "W-c");
        assert!(!rows.is_single(), "as many rows as ordinals, and yet two of one");
        assert!(Rows::read(&Bytes::from(RowsDraft::default().into_bytes().unwrap())).is_some_and(|rows| rows.len() == 0));
    }

    #[test]
    fn counts_that_do_not_fit_are_refused() {
        for counts in [vec![2, 0, 0], vec![2, 0, 2], vec![u32::MAX, u32::MAX, 5]] {
            let bytes = RowsDraft { counts, ..draft() }.into_bytes().unwrap();
            assert!(Rows::read(&Bytes::from(bytes)).is_none());
        }
    }

    #[test]
    fn truncated_bytes_are_refused() {
        let bytes = draft().into_bytes().unwrap();
        for length in (0..bytes.len()).step_by(7) {
            assert!(Rows::read(&Bytes::copy_from_slice(&bytes[..length])).is_none(), "{length}");
        }
    }
}
