//! A borrowed matrix of vectors.

use crate::{FaissError, Result};

/// The most dimensions a vector may have.
pub const MAX_DIMENSIONS: usize = 16_384;

/// The most vectors in one index: FAISS numbers the nodes of a graph with 31 bits.
pub const MAX_VECTORS: usize = i32::MAX as usize;

/// The largest component, either way, that is indexed or searched for. Sums of squares stay finite below it, over any number of
/// dimensions and vectors, and FAISS's graphs are not safe to search once a distance is infinite.
pub const MAX_MAGNITUDE: f32 = 1e9;

/// Vectors of equal length, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Vectors<'a> {
    values: &'a [f32],
    dimensions: usize,
}

impl<'a> Vectors<'a> {
    /// Row-major values: component `c` of vector `v` is `values[v * dimensions + c]`. No vectors are fine.
    ///
    /// # Errors
    /// When `dimensions` is 0 or above [`MAX_DIMENSIONS`], does not divide the number of values, or there are more than
    /// [`MAX_VECTORS`].
    pub fn new(values: &'a [f32], dimensions: usize) -> Result<Self> {
        if dimensions == 0 || dimensions > MAX_DIMENSIONS {
            return Err(FaissError::Dimensions { got: dimensions, max: MAX_DIMENSIONS });
        }
        if !values.len().is_multiple_of(dimensions) {
            return Err(FaissError::Shape { values: values.len(), dimensions });
        }
        let vectors = Self { values, dimensions };
        if vectors.len() > MAX_VECTORS {
            return Err(FaissError::TooManyVectors { got: vectors.len(), max: MAX_VECTORS });
        }
        Ok(vectors)
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.values.len() / self.dimensions
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Components of each vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// All components, row-major.
    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    /// One vector, if there is one of that ordinal.
    pub fn get(&self, ordinal: u32) -> Option<&'a [f32]> {
        let start = (ordinal as usize).checked_mul(self.dimensions)?;
        self.values.get(start..start.checked_add(self.dimensions)?)
    }

    /// Refuses vectors that FAISS cannot be trusted with.
    pub(crate) fn check_range(&self) -> Result<()> {
        if within(self.values, MAX_MAGNITUDE) {
            return Ok(());
        }
        let ordinal = self.values.chunks_exact(self.dimensions).position(|vector| !within(vector, MAX_MAGNITUDE));
        Err(FaissError::VectorRange { ordinal: ordinal.unwrap_or_default(), limit: MAX_MAGNITUDE })
    }
}

/// Whether every number is finite and within ±limit.
pub(crate) fn within(values: &[f32], limit: f32) -> bool {
    // No early exit within a chunk, so that it becomes vector instructions.
    values.chunks(4_096).all(|chunk| chunk.iter().fold(true, |all, value| all & (value.abs() <= limit)))
}

/// Checks the length and the range of a query.
pub(crate) fn check_query(query: &[f32], dimensions: usize) -> Result<()> {
    if query.len() != dimensions {
        return Err(FaissError::QueryLength { got: query.len(), expected: dimensions });
    }
    if !within(query, MAX_MAGNITUDE) {
        return Err(FaissError::QueryRange { limit: MAX_MAGNITUDE });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{MAX_DIMENSIONS, Vectors, check_query};

    #[test]
    fn a_matrix_has_whole_vectors_of_a_possible_length() {
        assert_eq!(Vectors::new(&[0.0; 12], 4).unwrap().len(), 3);
        assert!(Vectors::new(&[], 4).unwrap().is_empty());
        assert!(Vectors::new(&[0.0; 12], 5).is_err());
        assert!(Vectors::new(&[0.0; 12], 0).is_err());
        assert!(Vectors::new(&[], MAX_DIMENSIONS + 1).is_err());
    }

    #[test]
    fn a_vector_is_found_by_its_ordinal() {
        let values = [1.0, 2.0, 3.0, 4.0];
        let vectors = Vectors::new(&values, 2).unwrap();
        assert_eq!(vectors.get(1), Some(&[3.0, 4.0][..]));
        assert_eq!(vectors.get(2), None);
        assert_eq!(vectors.get(u32::MAX), None);
    }

    #[test]
    fn what_is_not_finite_is_refused_by_its_ordinal() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2e9] {
            let values = [0.0, 1.0, bad, 0.0];
            let error = Vectors::new(&values, 2).unwrap().check_range().unwrap_err();
            assert!(error.to_string().starts_with("vector 1 holds"), "{error}");
            assert!(check_query(&[bad], 1).is_err());
        }
        assert!(check_query(&[1e9], 1).is_ok());
        assert!(check_query(&[1.0], 2).is_err());
    }
}
