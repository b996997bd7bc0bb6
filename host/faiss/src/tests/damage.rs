//! Damaged files: an error or another answer, never a crash. FAISS would crash on many of these.

use crate::{
    Bitmap, FaissError, Index, Metric, SearchParameters, format,
    testing::{Clusters, Random},
    tests::SPECS,
};

/// Searches in every way; what comes back is of no interest, that it comes back is.
fn use_it(index: &Index) {
    let query = vec![0.5; index.dimensions()];
    let live = Bitmap::of(index.len(), (0..u32::try_from(index.len()).unwrap()).filter(|ordinal| ordinal % 3 == 0)).unwrap();
    for k in [1, 7, 30] {
        for live in [None, Some(&live)] {
            if let Ok(hits) = index.search(&query, k, &SearchParameters::default(), live) {
                assert!(hits.len() <= k && hits.iter().all(|hit| (hit.ordinal as usize) < index.len()));
            }
        }
    }
}

fn small(spec: &str, metric: Metric) -> Vec<u8> {
    Clusters::seeded(51, 300, 24).build(spec, metric).to_bytes().unwrap()
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for spec in SPECS {
        let bytes = small(spec, Metric::L2);
        let step = bytes.len().div_ceil(4_000).max(1);
        let ends = (0..bytes.len()).filter(|end| *end < 500 || end % step == 0 || *end + 500 > bytes.len());
        for end in ends {
            assert!(matches!(Index::read(&bytes[..end]), Err(FaissError::Damaged { .. })), "{spec} cut at {end}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(Index::read(&longer), Err(FaissError::Damaged { .. })), "{spec}");
    }
}

#[test]
fn flipped_bits_are_an_error_or_another_answer() {
    let mut random = Random::seeded(52);
    for spec in SPECS {
        let bytes = small(spec, Metric::L2);
        let (mut refused, mut read) = (0, 0);
        for round in 0..1_500 {
            let mut damaged = bytes.clone();
            // Half of the rounds at the start and the end, where the structure is.
            let edge = 400.min(bytes.len());
            let place = match round % 4 {
                0 => random.below(edge),
                1 => bytes.len() - 1 - random.below(edge),
                _ => random.below(bytes.len()),
            };
            damaged[place] ^= 1 << random.below(8);
            match Index::read(&damaged) {
                Ok(index) => {
                    use_it(&index);
                    read += 1;
                }
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 20, "{spec}: only {refused} were noticed, {read} were read");
    }
}

#[test]
fn overwritten_words_are_an_error_or_another_answer() {
    let mut random = Random::seeded(53);
    let words: [u64; 8] = [0, 1, u64::MAX, 1 << 31, 1 << 40, 0x7fff_ffff, 0x7fc0_0000_7fc0_0000, 0x7f80_0000_ff80_0000];
    for spec in SPECS {
        let bytes = small(spec, Metric::InnerProduct);
        for round in 0..1_000 {
            let mut damaged = bytes.clone();
            let end = if round % 2 == 0 { 600.min(bytes.len()) } else { bytes.len() };
            let place = random.below(end - 8);
            damaged[place..place + 8].copy_from_slice(&words[random.below(words.len())].to_le_bytes());
            if let Ok(index) = Index::read(&damaged) {
                use_it(&index);
            }
        }
    }
}

#[test]
fn what_is_no_index_is_an_error() {
    let mut random = Random::seeded(54);
    for length in (0..64).chain([1_000, 100_000]) {
        let noise: Vec<u8> = (0..length).map(|_| random.next().to_le_bytes()[0]).collect();
        assert!(Index::read(&noise).is_err());
        assert!(Index::read(&vec![0; length]).is_err());
    }
    // A tag of FAISS's that is none of ours.
    assert!(Index::read(b"IxMp").unwrap_err().to_string().contains("another kind at byte 4"));
}

/// Each edit breaks one thing that FAISS would follow blindly.
#[test]
fn a_graph_whose_links_lead_nowhere_is_refused_by_name() {
    let bytes = small("HNSW32", Metric::L2);
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    // Past the tag, the header, the chances and the slots.
    let chances = 4 + 33;
    let slots = chances + 8 + word(chances) * 8;
    let levels = slots + 8 + word(slots) * 4;
    let offsets = levels + 8 + word(levels) * 4;
    let links = offsets + 8 + word(offsets) * 8;
    let entry = links + 8 + word(links) * 4;
    let edit = |at: usize, with: &[u8], problem: &str| {
        let mut damaged = bytes.clone();
        damaged[at..at + with.len()].copy_from_slice(with);
        let error = format::walk(&damaged).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    };
    assert_eq!(word(levels), 300);
    edit(links + 8, &300i32.to_le_bytes(), "a link to no node");
    edit(links + 8, &(-2i32).to_le_bytes(), "a link to no node");
    edit(links + 8, &i32::MAX.to_le_bytes(), "a link to no node");
    edit(levels + 8, &0i32.to_le_bytes(), "impossible level");
    edit(levels + 8, &100i32.to_le_bytes(), "impossible level");
    edit(offsets + 8 + 8, &1u64.to_le_bytes(), "another's place");
    edit(slots + 8 + 4, &(-1i32).to_le_bytes(), "impossible slots");
    edit(entry, &300i32.to_le_bytes(), "starts nowhere");
    edit(entry, &(-1i32).to_le_bytes(), "starts nowhere");
    edit(entry + 4, &20i32.to_le_bytes(), "starts nowhere");
    let first_value = bytes.len() - 300 * 24 * 4;
    edit(first_value, &f32::NAN.to_le_bytes(), "not finite");
    edit(first_value, &f32::INFINITY.to_le_bytes(), "not finite");
    edit(first_value, &1e20f32.to_le_bytes(), "too large");
}
