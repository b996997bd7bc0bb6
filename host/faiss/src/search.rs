//! What a search may spend.

use crate::{FaissError, Result};

/// The most neighbours, candidates or lists that one search of an approximate index may ask for.
pub const MAX_NEIGHBOURS: usize = 65_536;

const MAX_K_FACTOR: f32 = 1_000.0;

/// How much work a search does for its recall. Each kind of index reads what concerns it and ignores the rest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchParameters {
    /// Graphs: candidates kept while searching; `k` when that is more. From 1 to [`MAX_NEIGHBOURS`]; 30 by default.
    pub ef_search: usize,
    /// Inverted lists: how many of the nearest lists are scanned; all when there are fewer. From 1 to [`MAX_NEIGHBOURS`]; 16 by
    /// default.
    pub nprobe: usize,
    /// Refinement: this many times `k` candidates are compared exactly. From 1 to 1,000; 4 by default.
    pub k_factor: f32,
}

impl Default for SearchParameters {
    fn default() -> Self {
        Self { ef_search: 30, nprobe: 16, k_factor: 4.0 }
    }
}

impl SearchParameters {
    /// Refuses numbers that are out of bounds.
    pub(crate) fn check(&self, k: usize) -> Result<()> {
        for (name, got) in [("k", k), ("ef_search", self.ef_search), ("nprobe", self.nprobe)] {
            if !(1..=MAX_NEIGHBOURS).contains(&got) {
                return Err(FaissError::Parameter { name, got: got as f64, min: 1.0, max: MAX_NEIGHBOURS as f64 });
            }
        }
        if !(1.0..=MAX_K_FACTOR).contains(&self.k_factor) {
            let (got, max) = (self.k_factor.into(), MAX_K_FACTOR.into());
            return Err(FaissError::Parameter { name: "k_factor", got, min: 1.0, max });
        }
        Ok(())
    }

    /// Candidates for `k` refined neighbours among `len` vectors.
    pub(crate) fn candidates(&self, k: usize, len: usize) -> usize {
        // Bounded by `check`; a fraction of a candidate counts as one.
        let wanted = (k as f64 * f64::from(self.k_factor)).ceil() as usize;
        wanted.min(len).clamp(k, MAX_NEIGHBOURS)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_NEIGHBOURS, SearchParameters};

    #[test]
    fn numbers_out_of_bounds_are_refused_by_name() {
        let defaults = SearchParameters::default();
        assert!(defaults.check(10).is_ok());
        let refused = |parameters: SearchParameters, k, name| {
            let error = parameters.check(k).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{name}` is ")), "{error}");
        };
        refused(defaults, MAX_NEIGHBOURS + 1, "k");
        refused(SearchParameters { ef_search: 0, ..defaults }, 10, "ef_search");
        refused(SearchParameters { ef_search: MAX_NEIGHBOURS + 1, ..defaults }, 10, "ef_search");
        refused(SearchParameters { nprobe: 0, ..defaults }, 10, "nprobe");
        for k_factor in [0.5, 1_001.0, f32::NAN, f32::INFINITY] {
            refused(SearchParameters { k_factor, ..defaults }, 10, "k_factor");
        }
    }

    #[test]
    fn candidates_are_at_least_k_and_at_most_what_there_is() {
        let parameters = SearchParameters { k_factor: 2.5, ..SearchParameters::default() };
        assert_eq!(parameters.candidates(3, 100), 8);
        assert_eq!(parameters.candidates(50, 100), 100);
        assert_eq!(parameters.candidates(40_000, usize::MAX), MAX_NEIGHBOURS);
    }
}
