//! Building, one index at a time.

use std::{num::NonZeroU16, thread};

use parking_lot::Mutex;

use crate::{FaissError, Index, IndexSpec, Metric, Result, Vectors, ffi::Handle};

/// Small frames in FAISS, but LAPACK's are not ours to know.
const STACK_BYTES: usize = 8 << 20;

/// Builds indexes, one at a time: a second caller waits, so that building never takes more than its threads and one index's
/// working memory.
#[derive(Debug)]
pub struct Builder {
    threads: NonZeroU16,
    turn: Mutex<()>,
}

impl Builder {
    /// With so many threads for a build. With one, equal input makes an equal index; with more, graphs differ in a few links
    /// from build to build, and on busy cores OpenMP's threads spin for one another unless the process was started with
    /// `OMP_WAIT_POLICY=passive`.
    pub fn new(threads: NonZeroU16) -> Self {
        Self { threads, turn: Mutex::new(()) }
    }

    /// Builds an index of copies of the vectors; a vector's position is its ordinal. Blocks for seconds to minutes.
    ///
    /// # Errors
    /// When the specification is out of bounds, a vector is not finite or beyond [`crate::MAX_MAGNITUDE`], or FAISS refuses:
    /// lists and quantizers want at least as many vectors as they have centroids.
    pub fn build(&self, spec: &IndexSpec, vectors: Vectors<'_>, metric: Metric) -> Result<Index> {
        spec.check()?;
        vectors.check_range()?;
        if let (IndexSpec::Factory(factory), true) = (spec, vectors.is_empty()) {
            return Err(FaissError::Factory { part: factory.to_string(), problem: "it learns from vectors, and there are none" });
        }
        let ef_construction = i32::try_from(spec.ef_construction()).expect("a checked specification");
        let work = || Handle::build(&spec.to_string(), vectors, metric, ef_construction, self.threads.get().into());

        let _turn = self.turn.lock();
        // A thread of its own: OpenMP ties its workers to the thread that starts them, and they go when it does.
        let handle = thread::scope(|scope| {
            let builder = thread::Builder::new().name("faiss-build".to_owned()).stack_size(STACK_BYTES);
            let running = builder.spawn_scoped(scope, work).map_err(FaissError::Thread)?;
            running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        Index::new(handle)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::Builder;
    use crate::{FaissError, IndexSpec, Metric, Vectors, testing::Clusters};

    const ONE: NonZeroU16 = NonZeroU16::MIN;

    #[test]
    fn one_thread_builds_the_same_index_from_the_same_vectors() {
        let clusters = Clusters::seeded(7, 2_000, 24);
        for spec in [IndexSpec::hnsw(), IndexSpec::Factory("IVF16,PQ8".parse().unwrap())] {
            let build = || Builder::new(ONE).build(&spec, clusters.vectors(), Metric::L2).unwrap().to_bytes().unwrap();
            assert!(build() == build(), "{spec} differs from build to build");
        }
    }

    #[test]
    fn more_threads_build_an_index_that_is_as_good() {
        let clusters = Clusters::seeded(8, 4_000, 24);
        let index = Builder::new(NonZeroU16::new(2).unwrap()).build(&IndexSpec::hnsw(), clusters.vectors(), Metric::L2).unwrap();
        assert!(clusters.recall(&index, 10, 64) > 0.95);
    }

    #[test]
    fn a_vector_that_is_not_finite_is_refused_by_its_ordinal() {
        let error = Builder::new(ONE)
            .build(&IndexSpec::hnsw(), Vectors::new(&[0.0, 1.0, 2.0, f32::NAN], 2).unwrap(), Metric::L2)
            .unwrap_err();
        assert!(matches!(error, FaissError::VectorRange { ordinal: 1, .. }), "{error}");
    }

    #[test]
    fn what_faiss_refuses_is_told_in_its_words_without_its_places() {
        let clusters = Clusters::seeded(9, 300, 10);
        let refuse = |factory: &str| {
            let spec = IndexSpec::Factory(factory.parse().unwrap());
            Builder::new(ONE).build(&spec, clusters.vectors(), Metric::L2).unwrap_err().to_string()
        };
        let indivisible = refuse("IVF4,PQ3");
        assert!(indivisible.contains("multiple of the number of subquantizers"), "{indivisible}");
        let too_few = refuse("IVF301,Flat");
        assert!(too_few.contains("at least as large as number of clusters"), "{too_few}");
        for message in [indivisible, too_few] {
            assert!(!message.contains(".cpp"), "{message}");
        }
    }

    #[test]
    fn lists_cannot_be_made_of_nothing() {
        let nothing = Vectors::new(&[], 8).unwrap();
        let spec = IndexSpec::Factory("IVF4,Flat".parse().unwrap());
        assert!(Builder::new(ONE).build(&spec, nothing, Metric::L2).is_err());
    }
}
