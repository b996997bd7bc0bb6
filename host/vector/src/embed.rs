//! From rows to vectors: ids become document ids, text becomes chunks and these vectors, all through components.
//!
//! **Invariant**: a row gets its document id, its chunks and their vectors together, or nothing of it is kept.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, StringArray, UInt32Array},
    compute::{cast, take},
    datatypes::{DataType, Field, Float32Type},
};
use lakehouse_catalog::{IdType, IndexMetric, IndexSource};
use lakehouse_faiss::MAX_MAGNITUDE;
use lakehouse_plugins::{Chunker, Embedder, IdMapper};
use sha2::{Digest, Sha256};

use crate::{
    Result, VectorError,
    draft::Draft,
    index::{check_length, normalize},
    rows::{ContentHash, HASH_BYTES},
};

/// Chunks of one row's text: with what is kept of each, so many are some megabytes.
const MAX_CHUNKS_PER_ROW: usize = 10_000;
/// Texts of one call of an embedder.
pub(crate) const BATCH_TEXTS: usize = 32;

/// What makes text searchable.
#[derive(Debug)]
pub enum Source {
    Text {
        chunker: Box<Chunker>,
        embedder: Box<Embedder>,
    },
    /// Vectors are taken as they are.
    Vectors,
}

/// The rules of one refresh, open.
#[derive(Debug)]
pub struct Embedding {
    pub id_mapper: IdMapper,
    pub source: Source,
    pub metric: IndexMetric,
}

/// What a column of ids holds.
///
/// # Errors
/// When it is neither text nor integers.
pub fn id_type(column: &str, data_type: &DataType) -> Result<IdType> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(IdType::Text),
        DataType::Dictionary(_, values) => id_type(column, values),
        DataType::Decimal128(_, 0) => Ok(IdType::Integer),
        integer if integer.is_integer() => Ok(IdType::Integer),
        other => Err(VectorError::NotAnId { column: column.to_owned(), found: other.to_string() }),
    }
}

/// A column that is made searchable.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Text(StringArray),
    Vectors(ListArray),
}

/// # Errors
/// When the column holds something else.
pub(crate) fn content_of(source: &IndexSource, column: &ArrayRef) -> Result<Content> {
    let found = || column.data_type().to_string();
    match source {
        IndexSource::Text(name) => {
            let is_text = |data_type: &DataType| {
                matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null)
            };
            let fits = match column.data_type() {
                DataType::Dictionary(_, values) => is_text(values),
                plain => is_text(plain),
            };
            let texts = if fits { cast(column, &DataType::Utf8).ok() } else { None };
            let texts = texts.ok_or_else(|| VectorError::NotText { column: name.to_string(), found: found() })?;
            Ok(Content::Text(texts.as_string::<i32>().clone()))
        }
        IndexSource::Vectors(name) => {
            let fits = match column.data_type() {
                DataType::List(item)
                | DataType::LargeList(item)
                | DataType::FixedSizeList(item, _)
                | DataType::ListView(item) => item.data_type().is_numeric(),
                DataType::Null => true,
                _ => false,
            };
            let numbers = DataType::List(Arc::new(Field::new_list_field(DataType::Float32, true)));
            let vectors = if fits { cast(column, &numbers).ok() } else { None };
            let vectors = vectors.ok_or_else(|| VectorError::NotVectors { column: name.to_string(), found: found() })?;
            Ok(Content::Vectors(vectors.as_list::<i32>().clone()))
        }
    }
}

impl Content {
    fn take(&self, rows: &UInt32Array) -> Result<Self> {
        let taken = |array: &dyn Array| take(array, rows, None).map_err(|_| VectorError::Internal("rows cannot be taken"));
        Ok(match self {
            Self::Text(texts) => Self::Text(taken(texts)?.as_string::<i32>().clone()),
            Self::Vectors(vectors) => Self::Vectors(taken(vectors)?.as_list::<i32>().clone()),
        })
    }
}

/// The hash of a row's content; nothing for NULL.
pub(crate) fn hash_of(content: &Content, row: usize) -> Option<ContentHash> {
    match content {
        Content::Text(texts) => texts.is_valid(row).then(|| digest(texts.value(row).as_bytes())),
        Content::Vectors(vectors) => vectors.is_valid(row).then(|| {
            let numbers = vectors.value(row);
            digest(&crate::files::bytes_of(numbers.as_primitive::<Float32Type>().values()))
        }),
    }
}

/// Half a SHA-256.
pub(crate) fn digest(bytes: &[u8]) -> ContentHash {
    let whole = Sha256::digest(bytes);
    let mut half = ContentHash::default();
    half.copy_from_slice(&whole[..HASH_BYTES]);
    half
}

/// Rows of a batch that are to be embedded.
pub(crate) struct Fresh<'b> {
    pub(crate) ids: &'b ArrayRef,
    pub(crate) content: &'b Content,
    pub(crate) rows: &'b [(u32, ContentHash)],
}

impl Embedding {
    /// Embeds rows into the draft; answers how many texts were embedded.
    pub(crate) async fn embed(&mut self, fresh: Fresh<'_>, draft: &mut Draft) -> Result<u64> {
        let chosen = UInt32Array::from_iter_values(fresh.rows.iter().map(|(row, _)| *row));
        let ids = take(fresh.ids, &chosen, None).map_err(|_| VectorError::Internal("rows cannot be taken"))?;
        let content = fresh.content.take(&chosen)?;
        let doc_ids = self.id_mapper.to_doc_ids(&ids).await?;
        let keys = crate::mask::text_form(&ids)?;
        let (vectors, cut) = match (&mut self.source, &content) {
            (Source::Text { chunker, embedder }, Content::Text(texts)) => {
                let spans = chunker.chunk(texts).await?;
                if spans.len() > MAX_CHUNKS_PER_ROW {
                    return self.embed_halves(fresh, draft).await;
                }
                let chunks = spans.texts(texts);
                let dimensions = embedder.dimensions();
                draft.fix_dimensions(dimensions)?;
                let mut numbers = Vec::with_capacity(chunks.len() * dimensions);
                for begin in (0..chunks.len()).step_by(BATCH_TEXTS) {
                    let batch = chunks.slice(begin, BATCH_TEXTS.min(chunks.len() - begin));
                    numbers.extend(embedder.embed(&batch).await?.into_numbers());
                }
                (numbers, Some((spans, chunks)))
            }
            (Source::Vectors, Content::Vectors(vectors)) => {
                let mut numbers = Vec::new();
                for row in 0..vectors.len() {
                    let vector = vectors.value(row);
                    draft.fix_dimensions(vector.len())?;
                    if vector.null_count() > 0 {
                        return Err(VectorError::NotNumbers);
                    }
                    numbers.extend_from_slice(vector.as_primitive::<Float32Type>().values());
                }
                (numbers, None)
            }
            _ => return Err(VectorError::Internal("an index of text was given vectors, or the other way round")),
        };
        // From here on nothing fails: a row goes in whole.
        let vectors = self.prepared(vectors, draft.dimensions())?;
        let embedded = match &cut {
            Some((spans, chunks)) => {
                draft.push_chunks(spans, chunks, keys.len());
                chunks.len() as u64
            }
            None => {
                draft.push_whole(keys.len());
                0
            }
        };
        draft.push_rows(keys.as_string::<i32>(), &doc_ids, fresh.rows.iter().map(|(_, hash)| *hash));
        draft.push_vectors(vectors);
        Ok(embedded)
    }

    /// The same in two halves: each holds fewer vectors in memory.
    async fn embed_halves(&mut self, fresh: Fresh<'_>, draft: &mut Draft) -> Result<u64> {
        let Fresh { ids, content, rows } = fresh;
        if rows.len() == 1 {
            return Err(VectorError::TooManyChunks { limit: MAX_CHUNKS_PER_ROW });
        }
        let (one, two) = rows.split_at(rows.len() / 2);
        let first = Box::pin(self.embed(Fresh { ids, content, rows: one }, draft)).await?;
        let second = Box::pin(self.embed(Fresh { ids, content, rows: two }, draft)).await?;
        Ok(first + second)
    }

    fn prepared(&self, mut numbers: Vec<f32>, dimensions: usize) -> Result<Vec<f32>> {
        if self.metric == IndexMetric::Cosine && dimensions > 0 {
            numbers.chunks_exact_mut(dimensions).for_each(normalize);
        }
        // Branch-free, so that it runs at memory speed.
        let sound = numbers.iter().fold(true, |so_far, number| so_far & (number.abs() <= MAX_MAGNITUDE));
        if sound { Ok(numbers) } else { Err(VectorError::NotNumbers) }
    }
}

/// The query's vector as the index compares it.
pub(crate) fn query_vector(vector: &[f32], metric: IndexMetric, dimensions: usize) -> Result<Vec<f32>> {
    check_length(dimensions, vector.len())?;
    let mut vector = vector.to_vec();
    if metric == IndexMetric::Cosine {
        normalize(&mut vector);
    }
    Ok(vector)
}
