//! What is done to vectors before they are compared.
//!
//! ```text
//! transform = ("rrot" | "LTra") linear | "Pcam" pca linear | "VNrm" norm:f32 end
//! pca       = power:f32 epsilon:f32 rotated:u8 bins:i32 mean:[f32] eigenvalues:[f32] eigenvectors:[f32]
//! linear    = has_bias:u8 matrix:[f32] bias:[f32] end
//! end       = from:i32 to:i32 trained:u8
//! ```

use super::cursor::Cursor;
use crate::Result;

/// Checks one transform of vectors of `from` dimensions, and says how many dimensions come out.
pub(super) fn walk(cursor: &mut Cursor<'_>, from: usize) -> Result<usize> {
    match &cursor.tag()? {
        b"rrot" | b"LTra" => linear(cursor, from),
        b"Pcam" => {
            for _unused in 0..2 {
                cursor.f32()?;
            }
            cursor.flag()?;
            cursor.i32()?;
            // Kept by FAISS, used in training only.
            for _unused in 0..3 {
                cursor.vector::<4>()?;
            }
            linear(cursor, from)
        }
        b"VNrm" => {
            let norm = cursor.f32()?;
            let to = end(cursor, from)?;
            cursor.expect(norm == 2.0 && to == from, "another normalization")?;
            Ok(to)
        }
        _ => Err(cursor.damaged("a transform of another kind")),
    }
}

fn linear(cursor: &mut Cursor<'_>, from: usize) -> Result<usize> {
    let has_bias = cursor.flag()?;
    let (matrix, bias) = (cursor.vector::<4>()?.len(), cursor.vector::<4>()?.len());
    let to = end(cursor, from)?;
    cursor.expect(matrix == from * to && (!has_bias || bias == to), "a matrix of other dimensions")?;
    Ok(to)
}

fn end(cursor: &mut Cursor<'_>, from: usize) -> Result<usize> {
    let (stated, to) = (cursor.dimensions()?, cursor.dimensions()?);
    cursor.expect(stated == from, "a transform of other vectors")?;
    cursor.set_flag("a transform that was never trained")?;
    Ok(to)
}
