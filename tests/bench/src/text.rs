//! What makes text searchable, through the component boundary: cutting it and embedding it, on one core.

use std::{hint::black_box, time::Instant};

use arrow::array::StringArray;
use serde_json::json;

use crate::{
    bar::{Bars, median},
    host::Failure,
    plugins::Components,
};

const RUNS: usize = 5;
/// Documents of a few kilobytes, 16 MiB together.
const DOCUMENTS: usize = 4_096;
const SENTENCES: usize = 64;
const TEXTS: usize = 20_000;
const OPENINGS: usize = 500;

pub(crate) async fn run(bars: &mut Bars, components: &Components) -> Result<(), Failure> {
    let documents = StringArray::from_iter_values((0..DOCUMENTS).map(document));
    let megabytes = documents.value_data().len() as f64 / 1e6;
    let mut chunker = components.chunker("chunk-text", json!({})).await?;
    let (mut speeds, mut chunks) = (Vec::new(), 0);
    for run in 0..=RUNS {
        let start = Instant::now();
        chunks = black_box(chunker.chunk(&documents).await?).len();
        // The first round warms.
        if run > 0 {
            speeds.push(megabytes / start.elapsed().as_secs_f64());
        }
    }
    let beside = format!("MB/s; {megabytes:.0} MB in {DOCUMENTS} documents to {chunks} chunks of 800/100");
    bars.at_least("text.chunk_mb_s", median(speeds), 50.0, &beside);

    let texts = StringArray::from_iter_values((0..TEXTS).map(sentence));
    let mut opened = Vec::with_capacity(OPENINGS);
    for _ in 0..OPENINGS {
        let start = Instant::now();
        black_box(components.embedder("embed-hash", json!({})).await?);
        opened.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let mut embedder = components.embedder("embed-hash", json!({})).await?;
    let mut speeds = Vec::new();
    for run in 0..=RUNS {
        let start = Instant::now();
        black_box(embedder.embed(&texts).await?);
        if run > 0 {
            speeds.push(TEXTS as f64 / start.elapsed().as_secs_f64());
        }
    }
    let (letters, opened) = (texts.value_data().len() / TEXTS, median(opened));
    let beside = format!("texts a second; {letters} bytes each, 384 dimensions; a fresh embedder opens in {opened:.0} us");
    bars.at_least("text.embed_hash_s", median(speeds), 20_000.0, &beside);
    Ok(())
}

fn document(n: usize) -> String {
    (0..SENTENCES).map(|at| sentence(n * SENTENCES + at)).collect()
}

/// Like what stands in a résumé, never twice the same.
fn sentence(n: usize) -> String {
    const WORDS: &str =
        "forklift night warehouse certified operator with experience in Milwaukee shifts reliable loading of pallets team lead";
    let words: Vec<&str> = WORDS.split(' ').collect();
    let word = |step: usize| words[(n * 7 + step * 5 + n / 16 * step) % words.len()];
    format!("{} {} {} {} {} {} {} {n}. ", word(0), word(1), word(2), word(3), word(4), word(5), word(6))
}
