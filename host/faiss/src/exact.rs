//! Exact search over raw vectors: for a cold index, a small one, or the few rows that a filter left.

use std::{cmp::Ordering, collections::BinaryHeap};

use crate::{FaissError, Hit, Metric, Result, Vectors, kernel, vectors::check_query};

/// The `k` nearest of the named vectors, nearest first, of equally near ones the smaller ordinal first.
///
/// A vector whose score is NaN is no neighbour. `k` of 0 answers nothing; `k` above the number of ordinals answers all of them.
/// An ordinal named twice is answered twice. For all vectors, name `0..vectors.len() as u32`.
///
/// # Errors
/// When the query has another length than the vectors or is out of range, or an ordinal does not exist.
pub fn top_k(
    query: &[f32],
    vectors: Vectors<'_>,
    metric: Metric,
    k: usize,
    ordinals: impl IntoIterator<Item = u32>,
) -> Result<Vec<Hit>> {
    check_query(query, vectors.dimensions())?;
    let mut nearest = Nearest::new(metric, k);
    if k == 0 {
        return Ok(Vec::new());
    }
    for ordinal in ordinals {
        let vector = vectors.get(ordinal).ok_or(FaissError::UnknownOrdinal { ordinal, len: vectors.len() })?;
        nearest.offer(Hit { ordinal, score: kernel::score(metric, query, vector) });
    }
    Ok(nearest.into_hits())
}

/// Keeps the best `k` of all hits offered.
struct Nearest {
    metric: Metric,
    k: usize,
    /// The worst kept on top.
    kept: BinaryHeap<Ranked>,
}

impl Nearest {
    fn new(metric: Metric, k: usize) -> Self {
        Self { metric, k, kept: BinaryHeap::new() }
    }

    fn offer(&mut self, hit: Hit) {
        if hit.score.is_nan() {
            return;
        }
        let ranked = Ranked { metric: self.metric, hit };
        if self.kept.len() < self.k {
            self.kept.push(ranked);
        } else if let Some(mut worst) = self.kept.peek_mut()
            && ranked < *worst
        {
            *worst = ranked;
        }
    }

    fn into_hits(self) -> Vec<Hit> {
        self.kept.into_sorted_vec().into_iter().map(|ranked| ranked.hit).collect()
    }
}

/// A hit that knows its order: the nearest is the least.
#[derive(Clone, Copy)]
struct Ranked {
    metric: Metric,
    hit: Hit,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.metric.order(&self.hit, &other.hit)
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::top_k;
    use crate::{Bitmap, Hit, Metric, Vectors};

    fn ordinals(hits: &[Hit]) -> Vec<u32> {
        hits.iter().map(|hit| hit.ordinal).collect()
    }

    #[test]
    fn equally_near_vectors_come_in_the_order_of_their_ordinals() {
        let values = [2.0, 1.0, 2.0, 1.0, 2.0];
        let vectors = Vectors::new(&values, 1).unwrap();
        assert_eq!(ordinals(&top_k(&[1.0], vectors, Metric::InnerProduct, 4, 0..5).unwrap()), [0, 2, 4, 1]);
        assert_eq!(ordinals(&top_k(&[1.0], vectors, Metric::L2, 4, 0..5).unwrap()), [1, 3, 0, 2]);
    }

    #[test]
    fn a_vector_that_is_not_a_number_is_no_neighbour() {
        let values = [f32::NAN, 1.0, f32::NAN];
        let vectors = Vectors::new(&values, 1).unwrap();
        for metric in [Metric::InnerProduct, Metric::L2] {
            assert_eq!(ordinals(&top_k(&[1.0], vectors, metric, 3, 0..3).unwrap()), [1]);
        }
    }

    #[test]
    fn only_the_named_ordinals_are_looked_at() {
        let values: Vec<f32> = (0..100u8).map(f32::from).collect();
        let vectors = Vectors::new(&values, 1).unwrap();
        let live = Bitmap::of(100, [7, 70, 8]).unwrap();
        assert_eq!(ordinals(&top_k(&[0.0], vectors, Metric::L2, 10, live.iter()).unwrap()), [7, 8, 70]);
        assert!(top_k(&[0.0], vectors, Metric::L2, 10, [100]).is_err());
    }

    #[test]
    fn nothing_is_asked_of_a_query_that_cannot_be_compared() {
        let vectors = Vectors::new(&[1.0, 2.0], 2).unwrap();
        assert!(top_k(&[1.0], vectors, Metric::L2, 1, 0..1).is_err());
        assert!(top_k(&[f32::NAN, 0.0], vectors, Metric::L2, 1, 0..1).is_err());
        assert_eq!(top_k(&[1.0, 0.0], vectors, Metric::L2, 0, 0..1).unwrap(), []);
    }

    proptest! {
        #[test]
        fn the_best_k_are_those_of_sorting_everything(
            values in prop::collection::vec(-4i8..4, 1..60),
            query in -4i8..4,
            k in 0usize..70,
        ) {
            let values: Vec<f32> = values.into_iter().map(f32::from).collect();
            let query = f32::from(query);
            let vectors = Vectors::new(&values, 1).unwrap();
            let len = u32::try_from(values.len()).unwrap();
            for metric in [Metric::InnerProduct, Metric::L2] {
                let mut all: Vec<Hit> = values
                    .iter()
                    .zip(0u32..)
                    .map(|(value, ordinal)| {
                        let score = match metric {
                            Metric::InnerProduct => query * value,
                            Metric::L2 => (query - value) * (query - value),
                        };
                        Hit { ordinal, score }
                    })
                    .collect();
                all.sort_by(|a, b| metric.order(a, b));
                all.truncate(k);
                prop_assert_eq!(top_k(&[query], vectors, metric, k, 0..len).unwrap(), all);
            }
        }
    }
}
