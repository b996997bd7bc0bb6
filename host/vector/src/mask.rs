//! Which ordinals a search may find.
//!
//! **Invariant**: a mask never holds an ordinal of a dead row; what is not put into it by key is not found.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::cast,
    datatypes::DataType,
};
use lakehouse_faiss::Bitmap;

use crate::{
    Loaded, Result, VectorError,
    embed::{content_of, hash_of},
    rows::ContentHash,
};

/// Ordinals by segment; `None` stands for all of a segment's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask(pub(crate) Vec<Option<Arc<Bitmap>>>);

impl Mask {
    /// Every live row.
    pub fn live(index: &Loaded) -> Self {
        Self(index.segments.iter().map(|segment| segment.live.clone()).collect())
    }

    /// What is in both, of the same index.
    ///
    /// # Errors
    /// When they are not of the same index.
    pub fn and(&self, other: &Self) -> Result<Self> {
        let both = self.0.iter().zip(&other.0).map(|pair| match pair {
            (None, one) | (one, None) => Ok(one.clone()),
            (Some(one), Some(two)) => {
                let mut both = Bitmap::clone(one);
                both.intersect(two)?;
                Ok(Some(Arc::new(both)))
            }
        });
        both.collect::<Result<_>>().map(Self)
    }
}

/// A mask on its way, key by key.
#[derive(Debug)]
pub struct MaskBuilder<'i> {
    index: &'i Loaded,
    found: Vec<Bitmap>,
}

impl<'i> MaskBuilder<'i> {
    pub fn new(index: &'i Loaded) -> Self {
        Self { index, found: index.segments.iter().map(|segment| Bitmap::empty(segment.rows.ordinals())).collect() }
    }

    /// Adds the rows with these keys; NULL is no key, and a key that the index does not know is nothing.
    ///
    /// # Errors
    /// When keys have no text form.
    pub fn add(&mut self, keys: &ArrayRef) -> Result<()> {
        let keys = text_form(keys)?;
        for key in keys.as_string::<i32>().iter().flatten() {
            self.insert(key, None)?;
        }
        Ok(())
    }

    /// Adds the rows with these keys whose content is what was indexed.
    ///
    /// # Errors
    /// When keys have no text form, or the content is neither text nor vectors.
    pub fn add_unchanged(&mut self, keys: &ArrayRef, contents: &ArrayRef) -> Result<()> {
        let keys = text_form(keys)?;
        let contents = content_of(&self.index.record.recipe.source, contents)?;
        for (row, key) in keys.as_string::<i32>().iter().enumerate() {
            if let (Some(key), Some(hash)) = (key, hash_of(&contents, row)) {
                self.insert(key, Some(&hash))?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, key: &str, hash: Option<&ContentHash>) -> Result<()> {
        for (segment, found) in self.index.segments.iter().zip(&mut self.found) {
            let Some(row) = segment.rows.find(key) else { continue };
            if hash.is_none_or(|hash| segment.rows.hash(row) == hash) {
                for ordinal in segment.rows.ordinals_of(row) {
                    found.insert(ordinal)?;
                }
            }
        }
        Ok(())
    }

    /// # Errors
    /// Never, unless an index does not fit itself.
    pub fn finish(self) -> Result<Mask> {
        let masks = self.found.into_iter().zip(&self.index.segments).map(|(mut found, segment)| {
            if let Some(live) = &segment.live {
                found.intersect(live)?;
            }
            Ok((found.count() < found.len()).then(|| Arc::new(found)))
        });
        masks.collect::<Result<_>>().map(Mask)
    }
}

pub(crate) fn text_form(keys: &ArrayRef) -> Result<ArrayRef> {
    let no_id = || VectorError::NotAnId { column: "id".to_owned(), found: keys.data_type().to_string() };
    let texts = cast(keys, &DataType::Utf8).map_err(|_| no_id())?;
    if texts.null_count() == keys.null_count() { Ok(texts) } else { Err(no_id()) }
}
