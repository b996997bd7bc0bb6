//! Embeds text without a model: each word and each piece of a word is hashed to one of 384 places of a vector.
//!
//! It is lexical. Texts are similar when they share words, or pieces of words (`forklifts` and `forklift`); what they mean plays no
//! part: `physician` and `doctor` have nothing in common here. It needs no download, no network and no training, and is the embedder
//! that a lakehouse begins with.
//!
//! The vector is made by feature hashing (Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", 2009): a feature's
//! hash says which place it adds to and with which sign, so that collisions cancel out on average. Features are the lower-cased words
//! (runs of letters and digits) and the runs of 3, 4 and 5 characters of each word between boundary marks. One that occurs n times
//! counts 1 + ln n times; a piece weighs less than a word, since a word has many. The vector is then scaled to length 1.
//!
//! **Invariant**: equal texts have equal vectors, on every machine and in every version of this component with the same first two
//! numbers. A vector has length 1, or is zero when the text has neither letter nor digit: it is similar to nothing.

mod features;
#[cfg(test)]
mod tests;

use lakehouse_sdk::{Config, Embedder, Error, export_embedder};

use features::Features;

/// Numbers in a vector.
pub const DIMENSIONS: u32 = 384;

/// Embeds text by hashing words and their pieces: lexical similarity. There is nothing to configure.
#[derive(Clone, Copy, Debug, Config)]
pub struct EmbedHash {}

impl Embedder for EmbedHash {
    fn dimensions(&self) -> u32 {
        DIMENSIONS
    }

    fn embed_text(&self, text: &str, vector: &mut [f32]) -> Result<(), Error> {
        Features::with(|features| {
            features.read(text);
            features.add_to(vector);
        });
        normalize(vector);
        Ok(())
    }
}

/// To length 1; a zero vector stays.
fn normalize(vector: &mut [f32]) {
    let squares: f64 = vector.iter().map(|&number| f64::from(number) * f64::from(number)).sum();
    if squares > 0.0 {
        let scale = 1.0 / squares.sqrt();
        for number in vector {
            *number = (f64::from(*number) * scale) as f32;
        }
    }
}

export_embedder!(EmbedHash);
