//! What index to build.

use std::fmt;

use crate::{Factory, FaissError, Result};

/// Links of a graph's node when nothing else is said.
pub(crate) const DEFAULT_M: u32 = 32;

/// Candidates of a graph's node while it is linked, when nothing else is said.
pub(crate) const DEFAULT_EF_CONSTRUCTION: u32 = 80;

/// The structure of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexSpec {
    /// The vectors as they are; every search is exact. Best below some ten thousand vectors.
    Flat,
    /// A graph over the vectors as they are (Malkov and Yashunin, arXiv:1603.09320).
    Hnsw {
        /// Links of a node on the upper levels, twice as many on the lowest. From 2 to 256.
        m: u32,
        /// Candidates while a node is linked. More make a better graph and a longer build. From 1 to 4,096.
        ef_construction: u32,
    },
    /// Inverted lists, quantizers, transforms: what FAISS calls a factory string.
    Factory(Factory),
}

impl IndexSpec {
    /// A graph as it is built when nothing else is said: 32 links, 80 candidates.
    pub const fn hnsw() -> Self {
        Self::Hnsw { m: DEFAULT_M, ef_construction: DEFAULT_EF_CONSTRUCTION }
    }

    /// Refuses numbers that are out of bounds.
    pub(crate) fn check(&self) -> Result<()> {
        if let Self::Hnsw { m, ef_construction } = self {
            in_bounds("m", *m, 2, 256)?;
            in_bounds("ef_construction", *ef_construction, 1, 4_096)?;
        }
        Ok(())
    }

    pub(crate) fn ef_construction(&self) -> u32 {
        match self {
            Self::Hnsw { ef_construction, .. } => *ef_construction,
            Self::Flat | Self::Factory(_) => DEFAULT_EF_CONSTRUCTION,
        }
    }
}

/// As a factory string: `Flat`, `HNSW32`, `IVF1024,PQ48x4fs,RFlat`.
impl fmt::Display for IndexSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flat => f.write_str("Flat"),
            Self::Hnsw { m, .. } => write!(f, "HNSW{m}"),
            Self::Factory(factory) => f.write_str(factory.as_str()),
        }
    }
}

fn in_bounds(name: &'static str, got: u32, min: u32, max: u32) -> Result<()> {
    if (min..=max).contains(&got) {
        return Ok(());
    }
    Err(FaissError::Parameter { name, got: got.into(), min: min.into(), max: max.into() })
}

#[cfg(test)]
mod tests {
    use super::IndexSpec;

    #[test]
    fn numbers_out_of_bounds_are_refused_by_name() {
        let check = |m, ef_construction| IndexSpec::Hnsw { m, ef_construction }.check();
        assert!(check(32, 80).is_ok());
        assert!(check(1, 80).unwrap_err().to_string().contains("`m` is 1"));
        assert!(check(257, 80).is_err());
        assert!(check(32, 0).unwrap_err().to_string().contains("`ef_construction` is 0"));
        assert!(check(32, 4_097).is_err());
    }
}
