//! Embedders: one finite vector for each text, the same whatever the neighbours.

use super::broken;
use crate::{Column, Embedder, Error};

/// The most numbers in a vector that the host takes.
const MAX_DIMENSIONS: u32 = 4096;

/// Embeds texts and checks what the host would check.
///
/// # Errors
/// The model's own, or [`Error::Internal`] naming the promise that it broke.
pub fn embed<'t, E: Embedder>(model: &E, texts: impl IntoIterator<Item = &'t str>) -> Result<Vec<Vec<f32>>, Error> {
    let texts: Vec<&str> = texts.into_iter().collect();
    let dimensions = model.dimensions();
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) || dimensions != model.dimensions() {
        return Err(broken("a vector has 1 to 4096 numbers, always as many"));
    }
    let vectors = |texts: &[&str]| -> Result<Vec<Vec<f32>>, Error> {
        let numbers = model.embed_column(Column::text(texts.iter().copied())?)?;
        if numbers.len() != texts.len() * dimensions as usize {
            return Err(broken("one vector of the declared length for each text"));
        }
        if numbers.iter().any(|number| !number.is_finite()) {
            return Err(broken("every number is finite"));
        }
        Ok(numbers.chunks_exact(dimensions as usize).map(<[f32]>::to_vec).collect())
    };
    let all = vectors(&texts)?;
    for (text, together) in texts.iter().zip(&all) {
        if vectors(&[text])? != [together.clone()] {
            return Err(broken("equal texts have equal vectors, whatever their neighbours"));
        }
    }
    if !vectors(&[])?.is_empty() {
        return Err(broken("no texts have no vectors"));
    }
    Ok(all)
}
