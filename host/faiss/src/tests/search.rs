//! What a search answers.

use std::{num::NonZeroU16, thread};

use crate::{
    Builder, FaissError, Hit, IndexSpec, Kind, MAX_NEIGHBOURS, Metric, SearchParameters, Vectors,
    testing::{Clusters, ordinals, spec_of},
    tests::SPECS,
};

const METRICS: [Metric; 2] = [Metric::InnerProduct, Metric::L2];

#[test]
fn a_flat_index_answers_as_exact_search_does_to_the_last_bit() {
    let clusters = Clusters::seeded(11, 1_500, 37);
    for metric in METRICS {
        let index = clusters.build("Flat", metric);
        assert_eq!(index.kind(), Kind::Flat);
        for query in clusters.queries() {
            let hits = index.search(query, 20, &SearchParameters::default(), None).unwrap();
            assert_eq!(hits, clusters.exact(query, metric, 20));
        }
    }
}

#[test]
fn equally_near_vectors_come_in_the_order_of_their_ordinals() {
    // Whole numbers, so that no order of adding changes a score; every vector three times.
    let once: Vec<f32> = (0..400u16).flat_map(|n| [f32::from(n % 20), f32::from(n / 20)]).collect();
    let values = [once.clone(), once.clone(), once].concat();
    let vectors = Vectors::new(&values, 2).unwrap();
    for spec in ["Flat", "HNSW32", "IVF8,Flat"] {
        let spec = spec_of(spec);
        for metric in METRICS {
            let index = Builder::new(NonZeroU16::MIN).build(&spec, vectors, metric).unwrap();
            let parameters = SearchParameters { ef_search: 200, nprobe: 8, k_factor: 1.0 };
            let hits = index.search(&[7.0, 9.0], 15, &parameters, None).unwrap();
            assert_eq!(hits.len(), 15);
            assert!(hits.is_sorted_by(|a, b| metric.order(a, b).is_lt()), "{spec} {metric:?}: {hits:?}");
        }
    }
}

#[test]
fn a_graph_finds_nearly_all_true_neighbours() {
    let clusters = Clusters::seeded(12, 5_000, 32);
    for metric in METRICS {
        let index = clusters.build("HNSW32", metric);
        let recall = clusters.recall(&index, 10, 64);
        assert!(recall >= 0.95, "{metric:?}: recall@10 is {recall}");
    }
}

#[test]
fn more_effort_finds_more() {
    let clusters = Clusters::seeded(13, 5_000, 24);
    for (spec, little, much) in [("HNSW4", 1, 200), ("IVF64,Flat", 1, 64), ("IVF64,PQ12x4fs,RFlat", 1, 64)] {
        let index = clusters.build(spec, Metric::L2);
        let (less, more) = (clusters.recall(&index, 10, little), clusters.recall(&index, 10, much));
        assert!(less < more, "{spec}: {less} is not below {more}");
        assert!(more > 0.9, "{spec}: recall@10 is {more}");
    }
}

#[test]
fn scores_are_inner_products_or_squared_distances() {
    let clusters = Clusters::seeded(14, 600, 24);
    for spec in ["HNSW32", "IVF8,Flat", "IVF8,PQ12x4fs,RFlat"] {
        for metric in METRICS {
            let index = clusters.build(spec, metric);
            let exact = clusters.exact(clusters.query(), metric, 600);
            let hits = index.search(clusters.query(), 10, &SearchParameters::default(), None).unwrap();
            assert_eq!(hits.len(), 10, "{spec}");
            for hit in hits {
                let truth = exact.iter().find(|truth| truth.ordinal == hit.ordinal).unwrap();
                let difference = (hit.score - truth.score).abs();
                assert!(difference <= 1e-4 * truth.score.abs().max(1.0), "{spec} {metric:?}: {hit:?} {truth:?}");
            }
        }
    }
}

#[test]
fn every_structure_answers_real_ordinals_nearest_first() {
    let clusters = Clusters::seeded(15, 900, 24);
    for spec in SPECS {
        for metric in METRICS {
            let index = clusters.build(spec, metric);
            assert_eq!((index.len(), index.dimensions(), index.metric()), (900, 24, metric), "{spec}");
            for k in [1, 10, 30] {
                let hits = index.search(clusters.query(), k, &SearchParameters::default(), None).unwrap();
                assert!(!hits.is_empty() && hits.len() <= k, "{spec} k={k}: {} hits", hits.len());
                assert!(hits.iter().all(|hit| hit.ordinal < 900), "{spec}");
                assert!(hits.is_sorted_by(|a, b| metric.order(a, b).is_lt()), "{spec}: {hits:?}");
            }
        }
    }
}

#[test]
fn no_neighbours_are_none_and_too_many_are_all() {
    let clusters = Clusters::seeded(16, 150, 24);
    for spec in ["Flat", "HNSW32", "IVF8,Flat"] {
        let index = clusters.build(spec, Metric::L2);
        let search = |k| index.search(clusters.query(), k, &SearchParameters::default(), None).unwrap();
        assert_eq!(search(0), []);
        for k in [150, 151, 1_000_000_000] {
            let mut all = ordinals(&search(k));
            all.sort_unstable();
            assert_eq!(all, Vec::from_iter(0..150), "{spec} k={k}");
        }
    }
}

#[test]
fn an_empty_index_answers_nothing() {
    let nothing = Vectors::new(&[], 8).unwrap();
    for spec in [IndexSpec::Flat, IndexSpec::hnsw()] {
        let index = Builder::new(NonZeroU16::MIN).build(&spec, nothing, Metric::L2).unwrap();
        assert!(index.is_empty());
        assert_eq!(index.search(&[0.0; 8], 10, &SearchParameters::default(), None).unwrap(), []);
        assert!(matches!(
            index.search(&[0.0; 7], 10, &SearchParameters::default(), None),
            Err(FaissError::QueryLength { got: 7, expected: 8 })
        ));
    }
}

#[test]
fn a_query_of_another_length_or_that_is_no_number_is_refused() {
    let clusters = Clusters::seeded(17, 300, 24);
    for spec in ["Flat", "HNSW32", "IVF8,PQ8"] {
        let index = clusters.build(spec, Metric::L2);
        let search = |query: &[f32]| index.search(query, 10, &SearchParameters::default(), None);
        assert!(matches!(search(&[0.0; 23]), Err(FaissError::QueryLength { got: 23, expected: 24 })));
        assert!(matches!(search(&[]), Err(FaissError::QueryLength { got: 0, expected: 24 })));
        for bad in [f32::NAN, f32::INFINITY, 1e10] {
            assert!(matches!(search(&[bad; 24]), Err(FaissError::QueryRange { .. })), "{spec}");
        }
        assert!(search(&[1e9; 24]).is_ok());
    }
}

#[test]
fn effort_out_of_bounds_is_refused() {
    let clusters = Clusters::seeded(18, 200, 24);
    let index = clusters.build("HNSW32", Metric::L2);
    let parameters = SearchParameters { ef_search: MAX_NEIGHBOURS + 1, ..SearchParameters::default() };
    let error = index.search(clusters.query(), 10, &parameters, None).unwrap_err();
    assert!(matches!(error, FaissError::Parameter { name: "ef_search", .. }), "{error}");
}

#[test]
fn threads_that_search_at_once_get_what_one_alone_gets() {
    let clusters = Clusters::seeded(19, 3_000, 24);
    let parameters = SearchParameters::default();
    // Indexes of different sizes, so that a thread's visited table serves more than one.
    let small = Clusters::seeded(20, 300, 24);
    let indexes: Vec<_> = ["HNSW32", "IVF16,PQ12x4fs,RFlat", "IVF16_HNSW8,SQ8", "Flat"]
        .iter()
        .map(|spec| clusters.build(spec, Metric::InnerProduct))
        .chain([small.build("HNSW32", Metric::InnerProduct)])
        .collect();
    let answers = || -> Vec<Vec<Hit>> {
        let search = |query| indexes.iter().map(move |index| (index, query));
        clusters.queries().flat_map(search).map(|(index, query)| index.search(query, 10, &parameters, None).unwrap()).collect()
    };
    let alone = answers();
    thread::scope(|scope| {
        let together: Vec<_> = (0..4).map(|_| scope.spawn(|| (0..5).all(|_| answers() == alone))).collect();
        assert!(together.into_iter().all(|thread| thread.join().unwrap()));
    });
}

#[test]
fn a_visited_table_survives_many_searches() {
    // It is wiped every 250 searches; a stale mark would hide a node.
    let clusters = Clusters::seeded(21, 500, 24);
    let index = clusters.build("HNSW32", Metric::L2);
    let search = || index.search(clusters.query(), 10, &SearchParameters::default(), None).unwrap();
    let first = search();
    assert!((0..1_000).all(|_| search() == first));
}
