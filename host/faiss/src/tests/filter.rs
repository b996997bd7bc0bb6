//! Searches among live ordinals only.

use crate::{
    Bitmap, FaissError, Metric, SearchParameters, exact,
    testing::{Clusters, Random, ordinals},
    tests::SPECS,
};

const LEN: usize = 900;

fn live(share_percent: usize, random: &mut Random) -> Bitmap {
    Bitmap::of(LEN, (0..900).filter(|_| random.below(100) < share_percent)).unwrap()
}

#[test]
fn no_structure_answers_a_dead_ordinal() {
    let clusters = Clusters::seeded(31, LEN, 24);
    let mut random = Random::seeded(1);
    for spec in SPECS {
        let index = clusters.build(spec, Metric::L2);
        for share in [1, 20, 80] {
            let live = live(share, &mut random);
            for query in clusters.queries().take(20) {
                for k in [1, 10, 40] {
                    let hits = index.search(query, k, &SearchParameters::default(), Some(&live)).unwrap();
                    assert!(hits.len() <= k.min(live.count()), "{spec}");
                    assert!(hits.iter().all(|hit| live.contains(hit.ordinal)), "{spec}: {hits:?}");
                }
            }
        }
    }
}

#[test]
fn a_filtered_flat_index_is_exact_over_what_is_left() {
    let clusters = Clusters::seeded(32, LEN, 24);
    let index = clusters.build("Flat", Metric::InnerProduct);
    let live = live(30, &mut Random::seeded(2));
    for query in clusters.queries() {
        let expected = exact::top_k(query, clusters.vectors(), Metric::InnerProduct, 10, live.iter()).unwrap();
        assert_eq!(index.search(query, 10, &SearchParameters::default(), Some(&live)).unwrap(), expected);
    }
}

#[test]
fn a_graph_with_half_its_nodes_dead_still_finds_the_live_neighbours() {
    let clusters = Clusters::seeded(33, LEN, 24);
    let index = clusters.build("HNSW32", Metric::L2);
    let live = live(50, &mut Random::seeded(3));
    let parameters = SearchParameters { ef_search: 100, ..SearchParameters::default() };
    let mut found = 0;
    for query in clusters.queries() {
        let truth = ordinals(&exact::top_k(query, clusters.vectors(), Metric::L2, 10, live.iter()).unwrap());
        let hits = index.search(query, 10, &parameters, Some(&live)).unwrap();
        found += hits.iter().filter(|hit| truth.contains(&hit.ordinal)).count();
    }
    assert!(found >= 950, "{found} of 1000");
}

#[test]
fn more_neighbours_than_are_live_are_the_live_ones_at_most() {
    let clusters = Clusters::seeded(34, LEN, 24);
    let live = Bitmap::of(LEN, [3, 77, 500]).unwrap();
    let everything = SearchParameters { ef_search: LEN, nprobe: 16, k_factor: 100.0 };
    for spec in ["Flat", "HNSW32", "IVF16,Flat", "IVF16,PQ12x4fs,RFlat"] {
        let index = clusters.build(spec, Metric::L2);
        let mut found = ordinals(&index.search(clusters.query(), 50, &everything, Some(&live)).unwrap());
        found.sort_unstable();
        assert_eq!(found, [3, 77, 500], "{spec}");
    }
}

#[test]
fn when_none_is_live_nothing_is_found() {
    let clusters = Clusters::seeded(35, LEN, 24);
    for spec in SPECS {
        let index = clusters.build(spec, Metric::L2);
        let hits = index.search(clusters.query(), 10, &SearchParameters::default(), Some(&Bitmap::empty(LEN))).unwrap();
        assert_eq!(hits, [], "{spec}");
    }
}

#[test]
fn a_bitmap_of_another_length_is_refused() {
    let clusters = Clusters::seeded(36, LEN, 24);
    for spec in ["Flat", "HNSW32"] {
        let index = clusters.build(spec, Metric::L2);
        for len in [0, LEN - 1, LEN + 1] {
            let error = index.search(clusters.query(), 10, &SearchParameters::default(), Some(&Bitmap::full(len))).unwrap_err();
            assert!(matches!(error, FaissError::BitmapLength { .. }), "{error}");
        }
    }
}
