//! The nearest rows of an index.
//!
//! **Invariant**: a row is answered once, by its best chunk; there are fewer than `k` only where fewer rows may be found. What a
//! structure misses is looked for one by one.

use lakehouse_catalog::IndexMetric;
use lakehouse_faiss::{Bitmap, Hit, MAX_NEIGHBOURS, Metric, SearchParameters, exact};

use crate::{Loaded, Mask, Result, embed::query_vector, index::Segment};

/// Below so many, all of them are compared: that takes no longer than walking a graph, and misses nothing.
const EXACT_BELOW: usize = 2_000;
/// The same, as a part of the segment's vectors: a graph whose nodes are nearly all hidden is walked in vain.
const EXACT_PART: usize = 32;

/// What to look for.
#[derive(Debug, Clone, Copy)]
pub struct Query<'q> {
    pub vector: &'q [f32],
    /// Rows.
    pub k: usize,
    pub mask: &'q Mask,
}

/// How the nearest were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// All vectors were compared: the index has no structure.
    Flat,
    /// All vectors that may be found were compared, although there is a structure: it is not in memory, or few may be found.
    BruteForce,
    /// A graph was walked.
    Hnsw,
}

impl Method {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::BruteForce => "brute_force",
            Self::Hnsw => "hnsw",
        }
    }
}

/// A row that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub row_key: String,
    pub doc_id: String,
    /// The nearer, the greater: the cosine, the inner product, or the squared distance with a minus.
    pub score: f32,
    /// The chunk, and where it lies in the row's text, bytes; absent where vectors are indexed as they are.
    pub chunk: Option<Chunk>,
}

/// A part of a row's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub text: String,
    pub start: u32,
    pub end: u32,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Searched {
    /// Nearest first; of equally near ones the older first.
    pub hits: Vec<Found>,
    pub method: Method,
    /// Vectors that could have been found.
    pub candidates: usize,
}

/// How many numbers a search compares at most: what its time grows with. Where a graph is walked, far fewer than there are.
pub fn numbers_to_compare(index: &Loaded, mask: &Mask) -> usize {
    let vectors = index.segments.iter().zip(&mask.0).map(|(segment, mask)| {
        let candidates = mask.as_ref().map_or(segment.rows.ordinals(), |mask| mask.count());
        let walks = segment.faiss.is_some() && !is_few(segment, candidates);
        if walks { candidates.min(EXACT_BELOW) } else { candidates }
    });
    vectors.sum::<usize>().saturating_mul(index.dimensions())
}

/// Whether comparing all candidates is as good as walking a graph.
fn is_few(segment: &Segment, candidates: usize) -> bool {
    candidates < EXACT_BELOW.max(segment.rows.ordinals() / EXACT_PART)
}

/// The `k` nearest rows of those in the mask. Computes for as long as it takes, up to milliseconds.
///
/// # Errors
/// When the vector has another length, or holds a number that is not finite.
pub fn search(index: &Loaded, query: Query<'_>) -> Result<Searched> {
    let metric = index.metric();
    let mut answer = Searched { hits: Vec::new(), method: Method::Flat, candidates: 0 };
    if index.segments.is_empty() {
        return Ok(answer);
    }
    let vector = query_vector(query.vector, index.record.recipe.metric, index.dimensions())?;
    let mut best: Vec<(usize, Hit)> = Vec::new();
    for (at, (segment, mask)) in index.segments.iter().zip(&query.mask.0).enumerate() {
        let probe = Probe { segment, mask: mask.as_deref(), vector: &vector, metric, dimensions: index.dimensions() };
        let candidates = probe.candidates();
        answer.candidates += candidates;
        if candidates == 0 {
            continue;
        }
        let (hits, method) = probe.nearest_rows(query.k, candidates)?;
        answer.method = answer.method.max(method);
        best.extend(hits.into_iter().map(|hit| (at, hit)));
    }
    // Each segment's hits are in order, and the sort is stable.
    best.sort_by(|(a_at, a), (b_at, b)| {
        let (a, b) = (Hit { ordinal: 0, score: a.score }, Hit { ordinal: 0, score: b.score });
        metric.order(&a, &b).then(a_at.cmp(b_at))
    });
    best.truncate(query.k);
    answer.hits = best.into_iter().map(|(at, hit)| found(&index.segments[at], index.record.recipe.metric, hit)).collect();
    Ok(answer)
}

fn found(segment: &Segment, metric: IndexMetric, Hit { ordinal, score }: Hit) -> Found {
    let row = segment.rows.row_of(ordinal) as usize;
    let span = segment.rows.span(ordinal);
    let text = segment.texts.as_ref().and_then(|texts| texts.get(ordinal));
    Found {
        row_key: segment.rows.keys.value(row).to_owned(),
        doc_id: segment.rows.doc_ids.value(row).to_owned(),
        score: if metric == IndexMetric::L2 { -score } else { score },
        chunk: text.map(|text| Chunk { text: text.to_owned(), start: span.start, end: span.end }),
    }
}

/// One search of one segment.
struct Probe<'p> {
    segment: &'p Segment,
    mask: Option<&'p Bitmap>,
    vector: &'p [f32],
    metric: Metric,
    dimensions: usize,
}

impl Probe<'_> {
    fn candidates(&self) -> usize {
        self.mask.map_or(self.segment.rows.ordinals(), Bitmap::count)
    }

    /// The best chunk of each of the nearest rows, in order.
    fn nearest_rows(&self, k: usize, candidates: usize) -> Result<(Vec<Hit>, Method)> {
        let mut wanted = k.min(candidates);
        loop {
            let (hits, method) = self.nearest(wanted, candidates)?;
            let is_all = hits.len() < wanted || wanted == candidates;
            let rows = self.best_of_rows(hits);
            if rows.len() >= k || is_all {
                return Ok((rows, method));
            }
            wanted = wanted.saturating_mul(2).min(candidates);
        }
    }

    fn best_of_rows(&self, hits: Vec<Hit>) -> Vec<Hit> {
        if self.segment.rows.is_single() {
            return hits;
        }
        let mut seen = std::collections::HashSet::with_capacity(hits.len());
        hits.into_iter().filter(|hit| seen.insert(self.segment.rows.row_of(hit.ordinal))).collect()
    }

    /// The nearest chunks, in order.
    fn nearest(&self, wanted: usize, candidates: usize) -> Result<(Vec<Hit>, Method)> {
        if let Some(faiss) = &self.segment.faiss
            && !is_few(self.segment, candidates)
            && wanted <= MAX_NEIGHBOURS
        {
            let parameters = SearchParameters { ef_search: self.segment.ef_search.max(1), ..SearchParameters::default() };
            let hits = faiss.search(self.vector, wanted, &parameters, self.mask)?;
            if hits.len() == wanted {
                return Ok((hits, Method::Hnsw));
            }
        }
        let vectors = self.segment.vectors(self.dimensions)?;
        let hits = match self.mask {
            Some(mask) => exact::top_k(self.vector, vectors, self.metric, wanted, mask.iter())?,
            None => exact::top_k(self.vector, vectors, self.metric, wanted, (0u32..).take(candidates))?,
        };
        Ok((hits, if self.segment.is_structured { Method::BruteForce } else { Method::Flat }))
    }
}
