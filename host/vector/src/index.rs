//! An index in memory: for one search, whatever is evicted meanwhile.

use std::sync::Arc;

use lakehouse_catalog::{IndexMetric, IndexRecord};
use lakehouse_faiss::{Bitmap, Index, Metric, Vectors};

use crate::{Indexes, Result, VectorError, rows::Rows, text::Texts};

/// How much of an index is loaded before it is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The vectors, and of the structures over them those that are in memory: the others are not worth waiting for.
    Now,
    /// Everything.
    Warm,
}

/// An index that can be searched.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub record: Arc<IndexRecord>,
    pub(crate) segments: Vec<Segment>,
}

/// A segment that can be searched.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) rows: Arc<Rows>,
    pub(crate) texts: Option<Arc<Texts>>,
    pub(crate) vectors: Arc<Vec<f32>>,
    /// The structure, if it is in memory.
    pub(crate) faiss: Option<Arc<Index>>,
    /// Whether there is a structure at all.
    pub(crate) is_structured: bool,
    pub(crate) ef_search: usize,
    /// Ordinals of live rows; `None` when all are.
    pub(crate) live: Option<Arc<Bitmap>>,
}

impl Loaded {
    /// Numbers in a vector; 0 while there is none.
    pub fn dimensions(&self) -> usize {
        self.record.dimensions.unwrap_or_default() as usize
    }

    /// How its vectors are compared.
    pub fn metric(&self) -> Metric {
        metric_of(self.record.recipe.metric)
    }

    /// Vectors, dead ones included.
    pub fn vectors(&self) -> usize {
        self.segments.iter().map(|segment| segment.rows.ordinals()).sum()
    }

    /// Memory that its parts hold.
    pub fn memory_bytes(&self) -> u64 {
        let of = |segment: &Segment| {
            segment.rows.bytes()
                + segment.texts.as_ref().map_or(0, |texts| texts.bytes())
                + (segment.vectors.len() * size_of::<f32>()) as u64
                + segment.faiss.as_ref().map_or(0, |faiss| faiss.memory_bytes())
        };
        self.segments.iter().map(of).sum()
    }
}

impl Segment {
    pub(crate) fn vectors(&self, dimensions: usize) -> Result<Vectors<'_>> {
        Ok(Vectors::new(&self.vectors, dimensions)?)
    }
}

impl Indexes {
    /// Whether nothing of the index has to be read before it is searched at its fastest.
    pub fn is_warm(&self, record: &IndexRecord) -> bool {
        record.is_ready() && record.segments.iter().all(|segment| self.has_structure(record, segment))
    }

    /// What a search of the index needs.
    ///
    /// # Errors
    /// [`VectorError::Damaged`] when an object is missing or not what was written; when the bucket fails.
    pub async fn load(&self, record: &Arc<IndexRecord>, need: Need) -> Result<Loaded> {
        let mut segments = Vec::with_capacity(record.segments.len());
        for segment in &record.segments {
            let wants_structure = need == Need::Warm || self.has_structure(record, segment);
            let (rows, texts, vectors, live) = tokio::try_join!(
                self.rows(record, segment),
                self.texts(record, segment),
                self.vectors(record, segment),
                self.live(record, segment),
            )?;
            let faiss = if wants_structure { self.faiss(record, segment).await? } else { None };
            segments.push(Segment {
                rows,
                texts,
                vectors,
                faiss,
                is_structured: segment.files.faiss.is_some(),
                ef_search: segment.files.faiss.as_ref().map_or(0, |faiss| faiss.ef_search as usize),
                live,
            });
        }
        Ok(Loaded { record: Arc::clone(record), segments })
    }
}

pub(crate) fn metric_of(metric: IndexMetric) -> Metric {
    match metric {
        IndexMetric::Cosine | IndexMetric::InnerProduct => Metric::InnerProduct,
        IndexMetric::L2 => Metric::L2,
    }
}

/// Brings a vector to length 1. One without a direction stays as it is.
pub(crate) fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|number| f64::from(*number) * f64::from(*number)).sum::<f64>().sqrt();
    if length > 0.0 && length.is_finite() {
        vector.iter_mut().for_each(|number| *number = (f64::from(*number) / length) as f32);
    }
}

/// Refuses a vector of another length.
pub(crate) fn check_length(expected: usize, got: usize) -> Result<()> {
    if expected == got { Ok(()) } else { Err(VectorError::Dimensions { expected, got }) }
}
