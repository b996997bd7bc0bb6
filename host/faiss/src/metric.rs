//! How near is near, and what a search answers.

use std::cmp::Ordering;

/// How two vectors are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// The greater, the nearer. On vectors of length 1 it is the cosine.
    InnerProduct,
    /// The squared Euclidean distance: the smaller, the nearer.
    L2,
}

impl Metric {
    /// FAISS's number of it.
    pub(crate) const fn number(self) -> i32 {
        match self {
            Self::InnerProduct => 0,
            Self::L2 => 1,
        }
    }

    pub(crate) const fn from_number(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::InnerProduct),
            1 => Some(Self::L2),
            _ => None,
        }
    }

    /// The order of results: nearer first, of equally near ones the smaller ordinal. Hits of several indexes merge by it.
    pub fn order(self, a: &Hit, b: &Hit) -> Ordering {
        // Adding 0 makes -0 equal to 0.
        let (a_score, b_score) = (a.score + 0.0, b.score + 0.0);
        let nearer = match self {
            Self::InnerProduct => b_score.total_cmp(&a_score),
            Self::L2 => a_score.total_cmp(&b_score),
        };
        nearer.then(a.ordinal.cmp(&b.ordinal))
    }
}

/// One neighbour of a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Its position among the vectors that the index was built from.
    pub ordinal: u32,
    /// The inner product, or the squared distance, by the index's metric. Quantized kinds estimate it. Never NaN.
    pub score: f32,
}
