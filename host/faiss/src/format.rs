//! FAISS's file format, as FAISS 1.12 writes it and as far as [`crate::Factory`] goes: walked whole, nothing kept.
//!
//! FAISS's own reader takes lengths, dimensions and links as they come: a flipped bit makes it allocate terabytes, divide by
//! zero, or follow a link out of its graph at the next search. **Invariant**: a file that [`walk`] lets pass is read within its
//! bytes, in memory proportional to them, and every ordinal, offset and code in it stays within what it points to.
//!
//! An index is a tag of four letters, a header, and parts that depend on the tag; numbers are little-endian, a vector is its
//! count (u64) and its items:
//!
//! ```text
//! file        = refined
//! refined     = "IxRF" header transformed codes k_factor:f32                | transformed
//! transformed = "IxPT" header count:i32 transform* core                     | core
//! core        = codes | graph | lists
//! header      = dimensions:i32 vectors:i64 unused:i64 unused:i64 trained:u8 metric:i32
//! ```

mod codes;
mod cursor;
mod graph;
mod lists;
mod transform;

use cursor::Cursor;

use crate::{MAX_DIMENSIONS, MAX_VECTORS, Metric, Result};

/// Transforms before an index.
const MAX_TRANSFORMS: i32 = 2;

/// What a file says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) dimensions: usize,
    pub(crate) len: usize,
    pub(crate) metric: Metric,
}

/// Checks everything that FAISS relies on and does not check.
pub(crate) fn walk(bytes: &[u8]) -> Result<Shape> {
    let mut cursor = Cursor::new(bytes);
    let shape = refined(&mut cursor)?;
    cursor.finish()?;
    Ok(shape)
}

fn refined(cursor: &mut Cursor<'_>) -> Result<Shape> {
    let tag = cursor.tag()?;
    if tag != *b"IxRF" {
        return transformed(cursor, tag);
    }
    let whole = header(cursor)?;
    let base_tag = cursor.tag()?;
    let base = transformed(cursor, base_tag)?;
    let exact_tag = cursor.tag()?;
    let exact = codes::index(cursor, exact_tag)?.shape;
    cursor.expect(base == whole && exact == whole, "a refinement of another index")?;
    cursor.f32()?;
    Ok(whole)
}

fn transformed(cursor: &mut Cursor<'_>, tag: [u8; 4]) -> Result<Shape> {
    if tag != *b"IxPT" {
        return core(cursor, tag);
    }
    let whole = header(cursor)?;
    let transforms = cursor.i32()?;
    cursor.expect((1..=MAX_TRANSFORMS).contains(&transforms), "an impossible number of transforms")?;
    let mut dimensions = whole.dimensions;
    for _ in 0..transforms {
        dimensions = transform::walk(cursor, dimensions)?;
    }
    let inner_tag = cursor.tag()?;
    let inner = core(cursor, inner_tag)?;
    cursor.expect(inner == Shape { dimensions, ..whole }, "transforms of another index")?;
    Ok(whole)
}

fn core(cursor: &mut Cursor<'_>, tag: [u8; 4]) -> Result<Shape> {
    match &tag {
        b"IHNf" | b"IHNs" => graph::index(cursor, tag),
        b"IwFl" | b"IwSq" | b"IwPQ" | b"IwPf" => lists::index(cursor, tag),
        _ => codes::index(cursor, tag).map(|codes| codes.shape),
    }
}

fn header(cursor: &mut Cursor<'_>) -> Result<Shape> {
    let dimensions = cursor.dimensions()?;
    let len = cursor.i64()?;
    let len = usize::try_from(len).ok().filter(|len| *len <= MAX_VECTORS);
    let len = len.ok_or_else(|| cursor.damaged("an impossible number of vectors"))?;
    cursor.i64()?;
    cursor.i64()?;
    cursor.set_flag("an index that was never trained")?;
    let metric = Metric::from_number(cursor.i32()?).ok_or_else(|| cursor.damaged("an unknown metric"))?;
    Ok(Shape { dimensions, len, metric })
}

impl Cursor<'_> {
    fn dimensions(&mut self) -> Result<usize> {
        let dimensions = usize::try_from(self.i32()?).ok().filter(|dimensions| (1..=MAX_DIMENSIONS).contains(dimensions));
        dimensions.ok_or_else(|| self.damaged("impossible dimensions"))
    }
}
