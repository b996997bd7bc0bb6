//! The typed face of `embedder`: texts in, vectors out.
//!
//! **Invariant**: vectors that come out have the length that the component declared when it was opened, and finite numbers; there is
//! one for every text, or none at all. An instance serves one request and no other, so that nothing of one principal's texts can be
//! in another's vectors.

use std::{sync::Arc, time::Instant};

use arrow::array::{Array, ArrayRef, StringArray};

use crate::{
    PluginError,
    column::Column,
    error::{Lie, VersionedName},
    opened::{Opened, Slot},
    rule::Rule,
    wit::exports::lakehouse::plugin::embedder::Guest,
};

/// Numbers in a vector.
pub(crate) const MAX_DIMENSIONS: u32 = 4096;
/// What one call embeds at most: models work on each byte, so a call is bounded in time as well as in memory.
const CALL_BYTES: usize = 256 << 10;

/// An embedder of one request, on an instance of its own: instantiating is cheaper than telling principals apart.
#[derive(Debug)]
pub struct Embedder {
    rule: Rule,
    slot: Arc<Slot<Guest>>,
    dimensions: u32,
}

/// Vectors of one length, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    dimensions: u32,
    numbers: Vec<f32>,
}

impl Vectors {
    /// Numbers in a vector, 1 to 4096.
    pub fn dimensions(&self) -> usize {
        self.dimensions as usize
    }

    /// How many vectors there are.
    pub fn len(&self) -> usize {
        self.numbers.len() / self.dimensions()
    }

    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// The vectors in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.numbers.chunks_exact(self.dimensions())
    }

    /// All numbers, one vector after the other.
    pub fn into_numbers(self) -> Vec<f32> {
        self.numbers
    }

    /// What was answered for `rows` texts, checked.
    pub(crate) fn accept(dimensions: u32, numbers: Vec<f32>, rows: usize) -> Result<Self, Lie> {
        check_dimensions(dimensions)?;
        let expected = rows.saturating_mul(dimensions as usize);
        if numbers.len() != expected {
            return Err(Lie::VectorLength { expected, got: numbers.len() });
        }
        // Branch-free, so that it runs at memory speed.
        let finite = numbers.iter().fold(true, |so_far, number| so_far & number.is_finite());
        if finite { Ok(Self { dimensions, numbers }) } else { Err(Lie::NotFinite) }
    }
}

fn check_dimensions(dimensions: u32) -> Result<(), Lie> {
    if (1..=MAX_DIMENSIONS).contains(&dimensions) {
        return Ok(());
    }
    Err(Lie::Dimensions { got: dimensions, limit: MAX_DIMENSIONS })
}

impl Embedder {
    /// Opens the rule once, so that a bad configuration shows now, and learns the length of its vectors.
    pub(crate) async fn open(rule: Rule) -> Result<Self, PluginError> {
        let opening = rule.clone();
        let (dimensions, opened) = rule
            .on_cpu(async move {
                let mut opened = Opened::open(&opening).await?;
                Ok((opened.dimensions(&opening).await?, opened))
            })
            .await?;
        Ok(Self { slot: Slot::of(&rule, Some(opened)), rule, dimensions })
    }

    /// The component behind it.
    pub fn plugin(&self) -> &VersionedName {
        &self.rule.version.id
    }

    /// Numbers in a vector, 1 to 4096.
    pub fn dimensions(&self) -> usize {
        self.dimensions as usize
    }

    /// A vector for each text, in order. In as many calls as it takes to keep each, with its answer, within a part of the guest's
    /// memory. May be awaited on any runtime; the component runs on the CPU runtime.
    ///
    /// # Errors
    /// [`PluginError::NullText`] when a text is null, whatever the component does wrong, [`PluginError::Busy`] when the pool stays
    /// full. No text is in the error; the next call runs on a fresh instance.
    pub async fn embed(&mut self, texts: &StringArray) -> Result<Vectors, PluginError> {
        if texts.null_count() > 0 {
            return Err(PluginError::NullText);
        }
        let column = Column::of(&(Arc::new(texts.clone()) as ArrayRef))?;
        let (rule, slot, dimensions) = (self.rule.clone(), Arc::clone(&self.slot), self.dimensions);
        self.rule
            .on_cpu(async move {
                let mut vectors = Vectors { dimensions, numbers: Vec::new() };
                for part in column.parts(rule.call_bytes().min(CALL_BYTES), rows_of_a_call(&rule, dimensions)) {
                    let mut opened = slot.take_or_open(&rule).await?;
                    vectors.numbers.extend(opened.embed(&rule, &part, dimensions).await?.numbers);
                    slot.keep(&rule, opened);
                }
                Ok(vectors)
            })
            .await
    }
}

/// So many that the answer takes no more of the guest's memory than the texts may, and stays below its limit.
fn rows_of_a_call(rule: &Rule, dimensions: u32) -> usize {
    let output = usize::try_from(rule.options.limits.output_bytes).unwrap_or(usize::MAX);
    (rule.call_bytes().min(output) / (dimensions as usize * size_of::<f32>())).max(1)
}

impl Opened<Guest> {
    /// What the component declares.
    pub(crate) async fn dimensions(&mut self, rule: &Rule) -> Result<u32, PluginError> {
        let Self { instance, guest, resource } = self;
        let watch = instance.begin();
        let call = watch.over(guest.model().call_dimensions(&mut instance.store, *resource)).await;
        let outcome = instance.end(call).and_then(|got| check_dimensions(got).map(|()| got).map_err(|lie| rule.lied(lie)));
        if let Err(error) = &outcome {
            rule.version.counters.failed(error);
        }
        outcome
    }

    /// `texts` are text without nulls; `promised` is what the component declared first.
    pub(crate) async fn embed(&mut self, rule: &Rule, texts: &Column, promised: u32) -> Result<Vectors, PluginError> {
        let begun = Instant::now();
        let answer = self.try_embed(rule, texts, promised).await;
        self.count(rule, texts.len(), begun, &answer);
        answer
    }

    async fn try_embed(&mut self, rule: &Rule, texts: &Column, promised: u32) -> Result<Vectors, PluginError> {
        let Self { instance, guest, resource } = self;
        let watch = instance.begin();
        let call = watch.over(guest.model().call_dimensions(&mut instance.store, *resource)).await;
        let got = instance.end(call)?;
        if got != promised {
            return Err(rule.lied(Lie::DimensionsChanged { promised, got }));
        }
        let watch = instance.begin();
        let call = watch.over(guest.model().call_embed(&mut instance.store, *resource, texts.as_param())).await;
        let numbers = instance.end(call)?.map_err(|said| rule.explain_call(said, "these texts"))?;
        Vectors::accept(promised, numbers, texts.len()).map_err(|lie| rule.lied(lie))
    }
}

#[cfg(test)]
mod tests {
    use super::{Lie, Vectors};

    #[test]
    fn vectors_have_the_declared_length_and_finite_numbers() {
        let vectors = Vectors::accept(2, vec![1.0, 2.0, 3.0, f32::MIN], 2).unwrap();
        assert_eq!((vectors.len(), vectors.iter().collect::<Vec<_>>()), (2, vec![&[1.0, 2.0][..], &[3.0, f32::MIN]]));
        assert!(Vectors::accept(4096, vec![], 0).unwrap().is_empty());
        for (dimensions, numbers, lie) in [
            (0, vec![], Lie::Dimensions { got: 0, limit: 4096 }),
            (4097, vec![0.0; 4097], Lie::Dimensions { got: 4097, limit: 4096 }),
            (2, vec![0.0; 3], Lie::VectorLength { expected: 2, got: 3 }),
            (2, vec![], Lie::VectorLength { expected: 2, got: 0 }),
            (2, vec![0.0, f32::NAN], Lie::NotFinite),
            (2, vec![f32::NEG_INFINITY, 0.0], Lie::NotFinite),
        ] {
            assert_eq!(Vectors::accept(dimensions, numbers, 1).unwrap_err(), lie);
        }
    }
}
