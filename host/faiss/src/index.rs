//! An index: built or read once, then searched by many.

use std::{
    fmt,
    io::{BufWriter, Write},
};

use crate::{
    Bitmap, FaissError, Hit, MAX_DIMENSIONS, MAX_VECTORS, Metric, Result, SearchParameters, exact,
    ffi::{Handle, Query},
    format,
    vectors::check_query,
};

/// FAISS writes its headers a number at a time.
const WRITE_BUFFER_BYTES: usize = 64 << 10;

/// What an index is at heart, beneath transforms and refinement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The vectors as they are, compared one by one.
    Flat,
    /// Rounded vectors, compared one by one.
    Quantized,
    /// A graph of near neighbours.
    Hnsw,
    /// Inverted lists around centroids.
    Ivf,
}

impl Kind {
    /// `flat`, `quantized`, `hnsw`, `ivf`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Quantized => "quantized",
            Self::Hnsw => "hnsw",
            Self::Ivf => "ivf",
        }
    }

    fn from_number(number: i32) -> Option<Self> {
        [Self::Flat, Self::Quantized, Self::Hnsw, Self::Ivf].get(usize::try_from(number).ok()?).copied()
    }
}

/// An immutable index, made by [`crate::Builder`] or [`Index::read`].
pub struct Index {
    handle: Handle,
    kind: Kind,
    metric: Metric,
    dimensions: usize,
    len: usize,
    memory_bytes: u64,
}

impl Index {
    /// From the bytes that [`Index::write_to`] wrote, which are copied once. They carry no checksum: whoever stores them keeps
    /// one and verifies it first. Here their structure is walked before FAISS sees them, so that damage that got past a checksum
    /// (or never had one) is an error or a wrong neighbour, not a crash.
    ///
    /// # Errors
    /// When the bytes are truncated, inconsistent, or of a kind that [`crate::Factory`] does not make.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let shape = format::walk(bytes)?;
        let index = Self::new(Handle::read(bytes)?)?;
        if (index.len, index.dimensions, index.metric) != (shape.len, shape.dimensions, shape.metric) {
            return Err(FaissError::Damaged { at: 0, problem: "FAISS understood another index" });
        }
        Ok(index)
    }

    pub(crate) fn new(handle: Handle) -> Result<Self> {
        let facts = handle.facts()?;
        let unknown = |reason: &str| FaissError::Refused { action: "describe an index", reason: reason.to_owned() };
        Ok(Self {
            handle,
            kind: Kind::from_number(facts.kind).ok_or_else(|| unknown("an unknown kind"))?,
            metric: Metric::from_number(facts.metric).ok_or_else(|| unknown("an unknown metric"))?,
            dimensions: usize::try_from(facts.dimensions)
                .ok()
                .filter(|dimensions| (1..=MAX_DIMENSIONS).contains(dimensions))
                .ok_or_else(|| unknown("impossible dimensions"))?,
            len: usize::try_from(facts.count)
                .ok()
                .filter(|count| *count <= MAX_VECTORS)
                .ok_or_else(|| unknown("an impossible count"))?,
            memory_bytes: facts.bytes,
        })
    }

    /// The `k` nearest vectors, nearest first, of equal scores the smaller ordinal first. With `live`, only ordinals that are in
    /// it. `k` of 0 answers nothing, `k` above [`Index::len`] is that.
    ///
    /// [`Kind::Flat`] without transforms is exact. The others may miss neighbours, and answer fewer than `k` although more are
    /// live: the caller compares the count and falls back to [`exact::top_k`].
    ///
    /// Safe on many threads at once; it never starts threads of its own, and blocks for as long as it computes.
    ///
    /// # Errors
    /// When the query has the wrong length or is out of range, a parameter is out of bounds (for all kinds but the exact one, `k`
    /// above [`crate::MAX_NEIGHBOURS`] too), or `live` speaks of another number of vectors.
    pub fn search(&self, query: &[f32], k: usize, parameters: &SearchParameters, live: Option<&Bitmap>) -> Result<Vec<Hit>> {
        check_query(query, self.dimensions)?;
        if let Some(live) = live
            && live.len() != self.len
        {
            return Err(FaissError::BitmapLength { got: live.len(), expected: self.len });
        }
        let k = k.min(self.len);
        if k == 0 {
            return Ok(Vec::new());
        }
        // FAISS breaks ties by its own order and rounds by its own; this way a flat index answers as a cold one does.
        if let Some(vectors) = self.flat() {
            return match live {
                Some(live) => exact::top_k(query, vectors, self.metric, k, live.iter()),
                None => exact::top_k(query, vectors, self.metric, k, (0u32..).take(self.len)),
            };
        }
        parameters.check(k)?;
        let SearchParameters { ef_search, nprobe, .. } = *parameters;
        let candidates = parameters.candidates(k, self.len);
        let (ordinals, scores) = self.handle.search(&Query { vector: query, k, candidates, ef_search, nprobe, live })?;
        Ok(self.hits(&ordinals, &scores, live))
    }

    /// Writes the index file and flushes.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn write_to(&self, writer: impl Write) -> Result<()> {
        let mut buffered = BufWriter::with_capacity(WRITE_BUFFER_BYTES, writer);
        self.handle.write(&mut buffered)?;
        buffered.flush().map_err(FaissError::Write)
    }

    /// The index file in memory.
    ///
    /// # Errors
    /// When memory is short.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.handle.write(&mut bytes)?;
        Ok(bytes)
    }

    /// What it is at heart.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How it compares.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Components of each vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Number of vectors, dead ones included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Memory that the index holds, without what threads keep for searching (a byte an ordinal of the largest graph that a
    /// thread has searched).
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    fn flat(&self) -> Option<crate::Vectors<'_>> {
        if self.kind == Kind::Flat { self.handle.flat() } else { None }
    }

    /// Drops what is no hit; FAISS orders equal scores by chance, so it is sorted again.
    fn hits(&self, ordinals: &[i64], scores: &[f32], live: Option<&Bitmap>) -> Vec<Hit> {
        let alive = |ordinal: u32| (ordinal as usize) < self.len && live.is_none_or(|live| live.contains(ordinal));
        let mut hits: Vec<Hit> = ordinals
            .iter()
            .zip(scores)
            .filter_map(|(ordinal, score)| Some(Hit { ordinal: u32::try_from(*ordinal).ok()?, score: *score }))
            .filter(|hit| alive(hit.ordinal) && !hit.score.is_nan())
            .collect();
        hits.sort_unstable_by(|a, b| self.metric.order(a, b));
        hits
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("kind", &self.kind)
            .field("metric", &self.metric)
            .field("dimensions", &self.dimensions)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
