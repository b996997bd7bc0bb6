//! Indexes written and read back.

use std::{
    fs,
    io::{self, Write},
    num::NonZeroU16,
    path::{Path, PathBuf},
};

use crate::{
    Builder, FaissError, Index, IndexSpec, Metric, SearchParameters, Vectors,
    testing::{Clusters, spec_of},
    tests::SPECS,
};

#[test]
fn every_structure_answers_the_same_after_writing_and_reading() {
    let clusters = Clusters::seeded(41, 900, 24);
    for spec in SPECS {
        for metric in [Metric::InnerProduct, Metric::L2] {
            let index = clusters.build(spec, metric);
            let bytes = index.to_bytes().unwrap();
            let read = Index::read(&bytes).unwrap_or_else(|error| panic!("{spec}: {error}"));
            assert_eq!(read.to_bytes().unwrap(), bytes, "{spec}");
            assert_eq!((read.kind(), read.metric(), read.len(), read.dimensions()), (index.kind(), metric, 900, 24), "{spec}");
            for query in clusters.queries() {
                let search = |index: &Index| index.search(query, 10, &SearchParameters::default(), None).unwrap();
                assert_eq!(search(&read), search(&index), "{spec}");
            }
        }
    }
}

#[test]
fn an_empty_index_is_read_back_empty() {
    let nothing = Vectors::new(&[], 8).unwrap();
    for spec in [IndexSpec::Flat, IndexSpec::hnsw()] {
        let index = Builder::new(NonZeroU16::MIN).build(&spec, nothing, Metric::L2).unwrap();
        assert!(Index::read(&index.to_bytes().unwrap()).unwrap().is_empty(), "{spec}");
    }
}

#[test]
fn memory_is_at_least_what_the_vectors_take() {
    let clusters = Clusters::seeded(42, 1_000, 24);
    let raw = 1_000 * 24 * 4;
    let bytes = |spec| clusters.build(spec, Metric::L2).memory_bytes();
    assert_eq!(bytes("Flat"), raw);
    // 64 links of four bytes a node and more.
    assert!(bytes("HNSW32") >= raw + 1_000 * 64 * 4);
    assert!((1_000 * 24..raw).contains(&bytes("SQ8")));
    assert!(bytes("IVF16,PQ8") > 1_000 * (8 + 8));
}

#[test]
fn a_writer_that_fails_is_an_error_and_one_that_panics_too() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    struct Panics;
    impl Write for Panics {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("a writer of the test")
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let clusters = Clusters::seeded(43, 2_000, 24);
    let index = clusters.build("HNSW32", Metric::L2);
    let size = index.to_bytes().unwrap().len();
    for room in [0, 100, size / 2, size - 1] {
        let error = index.write_to(Full(room)).unwrap_err();
        assert!(matches!(&error, FaissError::Write(cause) if cause.kind() == io::ErrorKind::StorageFull), "{error}");
    }
    assert!(index.write_to(Full(size)).is_ok());
    assert!(matches!(index.write_to(Panics), Err(FaissError::Write(_))));
}

/// The stored format's witnesses: 60 vectors of 4 dimensions, vector `i` all `i`, by name and specification.
const GOLDEN: [(&str, &str, Metric); 4] = [
    ("flat", "Flat", Metric::L2),
    ("hnsw", "HNSW32", Metric::InnerProduct),
    ("ivf", "IVF4,SQ8", Metric::L2),
    ("refined", "IVF4,PQ4x4fs,RFlat", Metric::L2),
];

fn golden(name: &str) -> PathBuf {
    Path::new("golden").join(name).with_extension("faiss")
}

#[test]
fn golden_files_are_read_and_find_what_they_held() {
    for (name, spec, metric) in GOLDEN {
        let index = Index::read(&fs::read(golden(name)).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((index.len(), index.dimensions(), index.metric()), (60, 4, metric), "{name}");
        let parameters = SearchParameters { k_factor: 20.0, ..SearchParameters::default() };
        let hits = index.search(&[41.0; 4], 1, &parameters, None).unwrap();
        let nearest = if metric == Metric::L2 { 41 } else { 59 };
        assert_eq!(hits.first().map(|hit| hit.ordinal), Some(nearest), "{name} ({spec})");
    }
}

#[test]
#[ignore = "writes the golden files, when a format was added"]
fn write_golden_files() {
    let values: Vec<f32> = (0..60u8).flat_map(|number| [f32::from(number); 4]).collect();
    for (name, spec, metric) in GOLDEN {
        let vectors = Vectors::new(&values, 4).unwrap();
        let index = Builder::new(NonZeroU16::MIN).build(&spec_of(spec), vectors, metric).unwrap();
        index.write_to(fs::File::create_new(golden(name)).unwrap()).unwrap();
    }
}
