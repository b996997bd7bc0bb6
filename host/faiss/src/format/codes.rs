//! Vectors one after the other, as they are or rounded, and the two quantizers.
//!
//! ```text
//! codes   = ("IxF2" | "IxFI") header values:[f32]
//!         | "IxSQ" header scalar codes:[u8]
//! scalar  = type:i32 range:i32 range_argument:f32 dimensions:u64 code_bytes:u64 trained:[f32]
//! product = dimensions:u64 parts:u64 bits:u64 centroids:[f32]
//! ```

use super::{Shape, cursor::Cursor, cursor::STORED_LIMIT, header};
use crate::{Metric, Result};

/// Vectors that were walked.
pub(super) struct Codes {
    pub(super) shape: Shape,
    /// Whether every decoded number is finite and within the limit, as a graph needs it.
    pub(super) bounded: bool,
}

/// How a scalar quantizer rounds; the numbers are FAISS's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rounding {
    Bits8 = 0,
    Bits4 = 1,
    Half = 4,
    Bits6 = 6,
    BFloat16 = 7,
}

impl Rounding {
    fn from_number(number: i32) -> Option<Self> {
        [Self::Bits8, Self::Bits4, Self::Half, Self::Bits6, Self::BFloat16]
            .into_iter()
            .find(|rounding| *rounding as i32 == number)
    }

    fn code_bytes(self, dimensions: usize) -> usize {
        match self {
            Self::Bits8 => dimensions,
            Self::Bits4 => dimensions.div_ceil(2),
            Self::Bits6 => (dimensions * 6).div_ceil(8),
            Self::Half | Self::BFloat16 => dimensions * 2,
        }
    }

    /// A minimum and a range for each dimension, where rounding needs them.
    fn trained(self, dimensions: usize) -> usize {
        match self {
            Self::Bits8 | Self::Bits4 | Self::Bits6 => 2 * dimensions,
            Self::Half | Self::BFloat16 => 0,
        }
    }
}

pub(super) fn index(cursor: &mut Cursor<'_>, tag: [u8; 4]) -> Result<Codes> {
    match &tag {
        b"IxF2" => flat(cursor, Metric::L2),
        b"IxFI" => flat(cursor, Metric::InnerProduct),
        b"IxSQ" => rounded(cursor),
        _ => Err(cursor.damaged("a structure of another kind")),
    }
}

fn flat(cursor: &mut Cursor<'_>, metric: Metric) -> Result<Codes> {
    let shape = header(cursor)?;
    cursor.expect(shape.metric == metric, "a metric that its tag denies")?;
    cursor.floats(shape.len * shape.dimensions)?;
    Ok(Codes { shape, bounded: true })
}

fn rounded(cursor: &mut Cursor<'_>) -> Result<Codes> {
    let shape = header(cursor)?;
    let (rounding, code_bytes) = scalar(cursor, shape.dimensions)?;
    let codes = cursor.vector::<1>()?;
    cursor.expect(codes.len() == shape.len * code_bytes, "a number of codes that does not fit")?;
    let bounded = match rounding {
        Rounding::Bits8 | Rounding::Bits4 | Rounding::Bits6 => true,
        // Half precision ends at 65,504: what is beyond became an infinity when it was built.
        Rounding::Half => false,
        Rounding::BFloat16 => {
            let upper_half = |bytes: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
            codes.as_flattened().as_chunks().0.iter().all(|bytes| upper_half(bytes).abs() <= STORED_LIMIT)
        }
    };
    Ok(Codes { shape, bounded })
}

/// The bytes of one code.
pub(super) fn scalar_quantizer(cursor: &mut Cursor<'_>, dimensions: usize) -> Result<usize> {
    scalar(cursor, dimensions).map(|(_, code_bytes)| code_bytes)
}

fn scalar(cursor: &mut Cursor<'_>, dimensions: usize) -> Result<(Rounding, usize)> {
    let rounding = Rounding::from_number(cursor.i32()?).ok_or_else(|| cursor.damaged("an unknown rounding"))?;
    let range = cursor.i32()?;
    cursor.expect((0..=3).contains(&range), "an unknown range")?;
    cursor.f32()?;
    let code_bytes = rounding.code_bytes(dimensions);
    let stated = (cursor.count()?, cursor.count()?);
    cursor.expect(stated == (dimensions, code_bytes), "a rounding of other vectors")?;
    cursor.floats(rounding.trained(dimensions))?;
    Ok((rounding, code_bytes))
}

/// A product quantizer that was walked.
pub(super) struct Product {
    pub(super) parts: usize,
    pub(super) bits: usize,
}

impl Product {
    /// The bytes of one code.
    pub(super) fn code_bytes(&self) -> usize {
        (self.parts * self.bits).div_ceil(8)
    }
}

pub(super) fn product_quantizer(cursor: &mut Cursor<'_>, dimensions: usize) -> Result<Product> {
    let stated = cursor.count()?;
    let (parts, bits) = (cursor.count()?, cursor.count()?);
    let fits =
        stated == dimensions && (1..=dimensions).contains(&parts) && dimensions.is_multiple_of(parts) && (1..=8).contains(&bits);
    cursor.expect(fits, "a product quantizer of other vectors")?;
    cursor.floats(dimensions << bits)?;
    Ok(Product { parts, bits })
}
