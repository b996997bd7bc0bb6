//! Inverted lists around centroids.
//!
//! ```text
//! lists  = "IwFl" start arrays
//!        | "IwSq" start scalar code_bytes:u64 by_residual:u8 arrays
//!        | "IwPQ" start by_residual:u8 code_bytes:u64 product arrays
//!        | "IwPf" start by_residual:u8 code_bytes:u64 block:i32 even_parts:u64 unused:i32 unused:u64 product blocks
//! start  = header lists:u64 nprobe:u64 centroids direct_map:u8 direct:[i64]      centroids are flat or a graph over flat
//! arrays = "ilar" lists:u64 code_bytes:u64 ("full" lengths:[u64] | "sprs" pairs:[u64]) (codes ordinals:i64*)*
//! blocks = "ilbl" lists:u64 unused:u64 vectors_a_block:u64 block_bytes:u64 (ordinals:[i64] codes:[u8])*
//! ```

use super::{Shape, codes, cursor::Cursor, graph, header};
use crate::{Bitmap, Result};

/// Vectors whose codes fast scan interleaves.
const BLOCK: usize = 32;

pub(super) fn index(cursor: &mut Cursor<'_>, tag: [u8; 4]) -> Result<Shape> {
    let (shape, lists) = start(cursor)?;
    let mut ordinals = Ordinals::of(shape.len);
    match &tag {
        b"IwFl" => arrays(cursor, lists, shape.dimensions * size_of::<f32>(), &mut ordinals)?,
        b"IwSq" => {
            let code_bytes = codes::scalar_quantizer(cursor, shape.dimensions)?;
            let stated = cursor.count()?;
            cursor.expect(stated == code_bytes, "codes of another length")?;
            cursor.flag()?;
            arrays(cursor, lists, code_bytes, &mut ordinals)?;
        }
        b"IwPQ" => {
            cursor.flag()?;
            let stated = cursor.count()?;
            let product = codes::product_quantizer(cursor, shape.dimensions)?;
            cursor.expect(stated == product.code_bytes(), "codes of another length")?;
            arrays(cursor, lists, product.code_bytes(), &mut ordinals)?;
        }
        _ => fast_scan(cursor, shape, lists, &mut ordinals)?,
    }
    cursor.expect(ordinals.complete(), "a vector in no list")?;
    Ok(shape)
}

fn start(cursor: &mut Cursor<'_>) -> Result<(Shape, usize)> {
    let shape = header(cursor)?;
    let lists = cursor.count()?;
    cursor.count()?;
    let tag = cursor.tag()?;
    let centroids = match &tag {
        b"IHNf" => graph::index(cursor, tag)?,
        b"IxF2" | b"IxFI" => codes::index(cursor, tag)?.shape,
        _ => return Err(cursor.damaged("centroids of another kind")),
    };
    cursor.expect(lists > 0 && centroids == Shape { len: lists, ..shape }, "the centroids of another index")?;
    let direct = (cursor.u8()?, cursor.vector::<8>()?.len());
    cursor.expect(direct == (0, 0), "a direct map")?;
    Ok((shape, lists))
}

fn fast_scan(cursor: &mut Cursor<'_>, shape: Shape, lists: usize, ordinals: &mut Ordinals) -> Result<()> {
    let by_residual = cursor.flag()?;
    let code_bytes = cursor.count()?;
    let block = cursor.i32()?;
    let even_parts = cursor.count()?;
    let unused = (cursor.i32()?, cursor.count()?);
    let plain = !by_residual && block == BLOCK as i32 && unused == (0, 0);
    cursor.expect(plain, "a fast scan of another kind")?;
    let product = codes::product_quantizer(cursor, shape.dimensions)?;
    let stated = (product.bits, code_bytes, even_parts);
    cursor.expect(stated == (4, product.code_bytes(), product.parts.next_multiple_of(2)), "codes of another length")?;
    blocks(cursor, lists, BLOCK * even_parts / 2, ordinals)
}

fn arrays(cursor: &mut Cursor<'_>, lists: usize, code_bytes: usize, ordinals: &mut Ordinals) -> Result<()> {
    let tag = cursor.tag()?;
    let stated = (cursor.count()?, cursor.count()?);
    cursor.expect(tag == *b"ilar" && stated == (lists, code_bytes), "lists of another kind")?;
    let layout = cursor.tag()?;
    let lengths = cursor.vector::<8>()?;
    let number = |bytes: &[u8; 8]| usize::try_from(u64::from_le_bytes(*bytes)).unwrap_or(usize::MAX);
    let lengths: Vec<usize> = match &layout {
        b"full" => {
            cursor.expect(lengths.len() == lists, "lengths of other lists")?;
            lengths.iter().map(number).collect()
        }
        // Only lists that have something, each with its number.
        b"sprs" => {
            let (pairs, rest) = lengths.as_chunks::<2>();
            let numbers = || pairs.iter().map(|[list, _]| number(list));
            let fits = rest.is_empty() && numbers().is_sorted_by(|a, b| a < b) && numbers().all(|list| list < lists);
            cursor.expect(fits, "lengths of other lists")?;
            pairs.iter().map(|[_, length]| number(length)).collect()
        }
        _ => return Err(cursor.damaged("lengths of another kind")),
    };
    for length in lengths {
        let codes = length.checked_mul(code_bytes).ok_or_else(|| cursor.damaged("an impossible count"))?;
        cursor.items::<1>(codes)?;
        let stored = cursor.items::<8>(length)?;
        ordinals.take(cursor, stored)?;
    }
    Ok(())
}

fn blocks(cursor: &mut Cursor<'_>, lists: usize, block_bytes: usize, ordinals: &mut Ordinals) -> Result<()> {
    let tag = cursor.tag()?;
    let stated_lists = cursor.count()?;
    cursor.i64()?;
    let stated = (stated_lists, cursor.count()?, cursor.count()?);
    cursor.expect(tag == *b"ilbl" && stated == (lists, BLOCK, block_bytes), "lists of another kind")?;
    for _list in 0..lists {
        let stored = cursor.vector::<8>()?;
        let codes = cursor.vector::<1>()?;
        cursor.expect(codes.len() == stored.len().div_ceil(BLOCK) * block_bytes, "codes of other vectors")?;
        ordinals.take(cursor, stored)?;
    }
    Ok(())
}

/// Which ordinals were in a list already.
struct Ordinals {
    seen: Bitmap,
    left: usize,
}

impl Ordinals {
    fn of(len: usize) -> Self {
        Self { seen: Bitmap::empty(len), left: len }
    }

    fn take(&mut self, cursor: &Cursor<'_>, stored: &[[u8; 8]]) -> Result<()> {
        for bytes in stored {
            let ordinal = u32::try_from(i64::from_le_bytes(*bytes)).ok();
            let new = ordinal.is_some_and(|ordinal| self.seen.insert(ordinal).unwrap_or(false));
            cursor.expect(new, "a vector that does not exist, or twice")?;
            self.left -= 1;
        }
        Ok(())
    }

    fn complete(&self) -> bool {
        self.left == 0
    }
}
