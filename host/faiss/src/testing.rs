//! Seeded vectors for tests.

use std::num::NonZeroU16;

use crate::{Builder, Hit, Index, IndexSpec, Metric, SearchParameters, Vectors, exact};

/// A small generator (splitmix64): equal seeds, equal vectors.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// From -1 to 1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Roughly normal, around 0.
    fn bell(&mut self) -> f32 {
        (0..6).map(|_| self.unit()).sum::<f32>() / 2.0
    }
}

/// Vectors in clusters, and queries of the same making.
#[derive(Debug)]
pub(crate) struct Clusters {
    values: Vec<f32>,
    queries: Vec<f32>,
    dimensions: usize,
}

impl Clusters {
    const QUERIES: usize = 100;

    pub(crate) fn seeded(seed: u64, len: usize, dimensions: usize) -> Self {
        let mut random = Random::seeded(seed);
        let centers: Vec<Vec<f32>> =
            (0..len.div_ceil(100)).map(|_| (0..dimensions).map(|_| 2.0 * random.bell()).collect()).collect();
        let mut points = |count: usize| -> Vec<f32> {
            (0..count)
                .flat_map(|_| {
                    let center = &centers[random.below(centers.len())];
                    center.iter().map(|value| value + random.bell()).collect::<Vec<f32>>()
                })
                .collect()
        };
        Self { values: points(len), queries: points(Self::QUERIES), dimensions }
    }

    pub(crate) fn vectors(&self) -> Vectors<'_> {
        Vectors::new(&self.values, self.dimensions).unwrap()
    }

    pub(crate) fn queries(&self) -> impl Iterator<Item = &[f32]> {
        self.queries.chunks(self.dimensions)
    }

    pub(crate) fn query(&self) -> &[f32] {
        &self.queries[..self.dimensions]
    }

    pub(crate) fn build(&self, spec: &str, metric: Metric) -> Index {
        Builder::new(NonZeroU16::MIN).build(&spec_of(spec), self.vectors(), metric).unwrap()
    }

    pub(crate) fn exact(&self, query: &[f32], metric: Metric, k: usize) -> Vec<Hit> {
        exact::top_k(query, self.vectors(), metric, k, 0..u32::try_from(self.vectors().len()).unwrap()).unwrap()
    }

    /// The share of the true `k` nearest that the index finds, over all queries.
    pub(crate) fn recall(&self, index: &Index, k: usize, effort: usize) -> f64 {
        let parameters = SearchParameters { ef_search: effort, nprobe: effort, k_factor: 8.0 };
        let found: usize = self
            .queries()
            .map(|query| {
                let truth = ordinals(&self.exact(query, index.metric(), k));
                let hits = index.search(query, k, &parameters, None).unwrap();
                hits.iter().filter(|hit| truth.contains(&hit.ordinal)).count()
            })
            .sum();
        found as f64 / (k * Self::QUERIES) as f64
    }
}

/// `Flat` and `HNSW32` by their own variants, the rest as factory strings.
pub(crate) fn spec_of(text: &str) -> IndexSpec {
    match text {
        "Flat" => IndexSpec::Flat,
        "HNSW32" => IndexSpec::hnsw(),
        other => IndexSpec::Factory(other.parse().unwrap()),
    }
}

pub(crate) fn ordinals(hits: &[Hit]) -> Vec<u32> {
    hits.iter().map(|hit| hit.ordinal).collect()
}
