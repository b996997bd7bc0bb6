//! A segment on its way to the bucket.
//!
//! **Invariant**: a segment's folder is written down as litter before its first object, so that one that never comes to be named is
//! deleted.

use std::{ops::Range, sync::Arc};

use arrow::array::{Array, StringArray};
use lakehouse_catalog::{FaissRecord, IndexLitter, IndexRecord, SegmentFiles, SegmentRecord};
use lakehouse_faiss::{FaissError, IndexSpec, Vectors};
use lakehouse_plugins::Spans;
use lakehouse_storage::Meta;
use lakehouse_types::IndexId;

use crate::{
    Indexes, Result, VectorError,
    files::{as_usize, bytes_of, on_blocking},
    index::{check_length, metric_of},
    litter::{folder_of_segment, note},
    refresh::Structure,
    rows::{ContentHash, RowsDraft},
    text::TextsDraft,
};

/// Rows that were embedded and are not written yet.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    rows: RowsDraft,
    texts: Option<TextsDraft>,
    vectors: Vec<f32>,
    /// Numbers in a vector; 0 before the first.
    dimensions: usize,
}

impl Draft {
    /// For vectors of so many numbers; 0 when that is not known yet.
    pub(crate) fn new(dimensions: usize) -> Self {
        Self { dimensions, ..Self::default() }
    }

    pub(crate) fn dimensions(&self) -> usize {
        self.dimensions
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.keys.is_empty()
    }

    /// Vectors.
    pub(crate) fn chunks(&self) -> u64 {
        self.rows.starts.len() as u64
    }

    /// What it holds in memory.
    pub(crate) fn bytes(&self) -> u64 {
        let texts = self.texts.as_ref().map_or(0, TextsDraft::len);
        (self.vectors.len() * size_of::<f32>() + texts + self.rows.keys.len() * 96) as u64
    }

    /// # Errors
    /// When earlier vectors have another length, or there is none.
    pub(crate) fn fix_dimensions(&mut self, dimensions: usize) -> Result<()> {
        if !(1..=lakehouse_faiss::MAX_DIMENSIONS).contains(&dimensions) {
            return Err(FaissError::Dimensions { got: dimensions, max: lakehouse_faiss::MAX_DIMENSIONS }.into());
        }
        if self.dimensions == 0 {
            self.dimensions = dimensions;
        }
        check_length(self.dimensions, dimensions)
    }

    /// The chunks of so many rows.
    pub(crate) fn push_chunks(&mut self, spans: &Spans, texts: &StringArray, rows: usize) {
        let before = self.rows.counts.len();
        self.rows.counts.resize(before + rows, 0);
        let draft = self.texts.get_or_insert_default();
        for (span, text) in spans.iter().zip(texts.iter()) {
            self.rows.counts[before + span.row as usize] += 1;
            self.rows.starts.push(span.start);
            self.rows.ends.push(span.end);
            draft.push(text.unwrap_or_default());
        }
    }

    /// Rows of one vector each.
    pub(crate) fn push_whole(&mut self, rows: usize) {
        self.rows.counts.extend(std::iter::repeat_n(1, rows));
        self.rows.starts.extend(std::iter::repeat_n(0, rows));
        self.rows.ends.extend(std::iter::repeat_n(0, rows));
    }

    pub(crate) fn push_rows(&mut self, keys: &StringArray, doc_ids: &StringArray, hashes: impl Iterator<Item = ContentHash>) {
        self.rows.keys.extend((0..keys.len()).map(|row| keys.value(row).to_owned()));
        self.rows.doc_ids.extend((0..doc_ids.len()).map(|row| doc_ids.value(row).to_owned()));
        self.rows.hashes.extend(hashes);
    }

    pub(crate) fn push_vectors(&mut self, numbers: Vec<f32>) {
        self.vectors.extend(numbers);
    }

    /// Rows.
    pub(crate) fn rows(&self) -> u64 {
        self.rows.keys.len() as u64
    }

    /// A row of another segment with its chunks: where each lies in the row's text, its text if it has one, its vector.
    pub(crate) fn push_known_row(
        &mut self,
        key: &str,
        doc_id: &str,
        hash: ContentHash,
        chunks: &[(Range<u32>, Option<&str>, &[f32])],
    ) {
        for (span, text, vector) in chunks {
            self.rows.starts.push(span.start);
            self.rows.ends.push(span.end);
            if let Some(text) = text {
                self.texts.get_or_insert_default().push(text);
            }
            self.vectors.extend_from_slice(vector);
        }
        self.rows.counts.push(u32::try_from(chunks.len()).unwrap_or(u32::MAX));
        self.rows.keys.push(key.to_owned());
        self.rows.doc_ids.push(doc_id.to_owned());
        self.rows.hashes.push(hash);
    }

    /// A row with the vectors of its chunks, whose texts are their numbers.
    #[cfg(test)]
    pub(crate) fn push_test_row(&mut self, key: &str, hash: ContentHash, chunks: &[Vec<f32>]) {
        let texts = self.texts.get_or_insert_default();
        for (chunk, number) in chunks.iter().zip(0u32..) {
            self.rows.starts.push(number);
            self.rows.ends.push(number + 1);
            texts.push(&number.to_string());
            self.vectors.extend(chunk);
        }
        self.rows.counts.push(u32::try_from(chunks.len()).unwrap());
        self.push_rows(&StringArray::from(vec![key]), &StringArray::from(vec![format!("D-{key}")]), std::iter::once(hash));
    }

    /// Builds the structure, if there are enough vectors to need one, and writes the objects.
    pub(crate) async fn write(
        self,
        indexes: &Indexes,
        meta: &Meta,
        index: &IndexRecord,
        structure: Structure,
    ) -> Result<SegmentRecord> {
        let Self { rows, texts, vectors, dimensions } = self;
        if vectors.len() != rows.starts.len() * dimensions || rows.keys.len() != rows.counts.len() {
            return Err(VectorError::Internal("a segment does not fit itself"));
        }
        let bucket = indexes.bucket(&index.bucket)?;
        let id = IndexId::fresh();
        let folder = folder_of_segment(&index.id, &id);
        note(meta, &IndexLitter { bucket: index.bucket.clone(), folder: folder.clone() }).await?;

        let (row_count, chunks) = (rows.keys.len() as u64, rows.starts.len() as u64);
        let vectors = Arc::new(vectors);
        let encoding = Arc::clone(&vectors);
        let vector_bytes = on_blocking(move || bytes_of(&encoding)).await?;
        let faiss = if as_usize(chunks) >= structure.flat_below {
            let spec = IndexSpec::Hnsw { m: structure.m, ef_construction: structure.ef_construction };
            let metric = metric_of(index.recipe.metric);
            let builder = Arc::clone(&indexes.builder);
            let building = on_blocking(move || {
                let built = builder.build(&spec, Vectors::new(&vectors, dimensions)?, metric)?;
                Ok::<_, VectorError>((built.to_bytes()?, spec.to_string()))
            });
            let (bytes, factory) = building.await??;
            let file = indexes.store(&bucket, &folder, "index.faiss", bytes).await?;
            Some(FaissRecord { file, factory, ef_search: structure.ef_search })
        } else {
            None
        };
        let row_bytes = on_blocking(move || rows.into_bytes()).await?.map_err(VectorError::encode("rows"))?;
        let text = match texts {
            Some(texts) => {
                let bytes = on_blocking(move || texts.into_bytes()).await?;
                Some(indexes.store(&bucket, &folder, "text.bin", bytes).await?)
            }
            None => None,
        };
        let files = SegmentFiles {
            rows: indexes.store(&bucket, &folder, "rows.bin", row_bytes).await?,
            text,
            vectors: indexes.store(&bucket, &folder, "vectors.f32", vector_bytes).await?,
            faiss,
            dead: None,
        };
        Ok(SegmentRecord { id, rows: row_count, live_rows: row_count, chunks, files })
    }
}
