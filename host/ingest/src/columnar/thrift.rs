//! Thrift's compact protocol, walked without building anything.
//!
//! The Parquet reader allocates what a length claims, before it finds that the bytes are not there. **Invariant**: what was walked
//! claims no string, list or map that is longer than the bytes that are left, and its known fields have the types that the reader
//! takes them for, so that the reader finds the same lengths in the same places.
//!
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>

use std::io::{self, Read};

type Result<T> = std::result::Result<T, super::Source>;

/// Structs, lists and maps inside one another.
const MAX_DEPTH: usize = 32;
/// Structs in one list: parts of a schema, row groups, columns. The reader needs up to a kilobyte for one.
const MAX_STRUCTS: u64 = 1 << 16;

/// What a known field is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Bool,
    Byte,
    /// 16, 32 or 64 bits: written alike.
    Int,
    Double,
    Binary,
    List(&'static Shape),
    Struct(Fields),
}

/// The known fields of a struct, by number. Others may be anything.
pub(super) type Fields = &'static [(i16, Shape)];

impl Shape {
    fn is(self, kind: u8) -> bool {
        match self {
            Self::Bool => matches!(kind, TRUE | FALSE),
            Self::Byte => kind == BYTE,
            Self::Int => matches!(kind, I16 | I32 | I64),
            Self::Double => kind == DOUBLE,
            Self::Binary => kind == BINARY,
            Self::List(_) => kind == LIST,
            Self::Struct(_) => kind == STRUCT,
        }
    }
}

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;
const UUID: u8 = 13;

/// Hears the integers of a struct and of the known structs in it: the number of the field around it (0 at the top), its own number,
/// the value. What is inside of unknown fields is not heard, since it could pass for a known field.
pub(super) type Listener<'a> = &'a mut dyn FnMut(i16, i16, i64);

/// A walk over at most `left` bytes.
pub(super) struct Walk<R> {
    input: R,
    left: u64,
}

impl<R: Read> Walk<R> {
    pub(super) fn new(input: R, left: u64) -> Self {
        Self { input, left }
    }

    /// Bytes that were not walked.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Walks a struct.
    pub(super) fn structure(&mut self, fields: Fields, listener: Listener<'_>) -> Result<()> {
        self.members(fields, 0, MAX_DEPTH, listener)
    }

    fn members(&mut self, fields: Fields, around: i16, depth: usize, listener: Listener<'_>) -> Result<()> {
        let depth = depth.checked_sub(1).ok_or("the metadata is nested too deeply")?;
        let mut number = 0_i16;
        loop {
            let header = self.byte()?;
            let kind = header & 0x0f;
            if kind == 0 {
                return Ok(());
            }
            number = match header >> 4 {
                0 => i16::try_from(self.integer()?)?,
                delta => number.checked_add(i16::from(delta)).ok_or("a field number is too large")?,
            };
            let shape = fields.iter().find(|(known, _)| *known == number).map(|(_, shape)| *shape);
            match kind {
                // The value is in the kind.
                TRUE | FALSE if shape.is_none_or(|shape| shape.is(kind)) => {}
                I16 | I32 | I64 if shape.is_none_or(|shape| shape.is(kind)) => listener(around, number, self.integer()?),
                _ => self.value(kind, shape, number, depth, listener)?,
            }
        }
    }

    fn value(&mut self, kind: u8, shape: Option<Shape>, around: i16, depth: usize, listener: Listener<'_>) -> Result<()> {
        if shape.is_some_and(|shape| !shape.is(kind)) {
            return Err("a field is not of its type".into());
        }
        match (kind, shape) {
            (BYTE, _) => self.skip(1),
            (I16 | I32 | I64, _) => self.integer().map(drop),
            (DOUBLE, _) => self.skip(8),
            (UUID, _) => self.skip(16),
            (BINARY, _) => {
                let bytes = self.varint()?;
                self.skip(bytes)
            }
            (STRUCT, Some(Shape::Struct(fields))) => self.members(fields, around, depth, listener),
            (STRUCT, _) => self.members(&[], around, depth, &mut |_, _, _| {}),
            (LIST | SET, shape) => {
                let element = if let Some(Shape::List(element)) = shape { Some(*element) } else { None };
                self.list(element, around, depth, listener)
            }
            (MAP, _) => self.map(around, depth),
            // Booleans in lists too: readers do not agree on their length, and Parquet's metadata has none.
            _ => Err("a value has no known type".into()),
        }
    }

    fn list(&mut self, element: Option<Shape>, around: i16, depth: usize, listener: Listener<'_>) -> Result<()> {
        let depth = depth.checked_sub(1).ok_or("the metadata is nested too deeply")?;
        let header = self.byte()?;
        // Some writers give an empty list no type.
        if header == 0 {
            return Ok(());
        }
        let kind = header & 0x0f;
        let size = match header >> 4 {
            15 => self.varint()?,
            size => u64::from(size),
        };
        // An element takes a byte at least.
        if size > self.left || kind == STRUCT && size > MAX_STRUCTS {
            return Err("a list claims too many elements".into());
        }
        (0..size).try_for_each(|_| self.value(kind, element, around, depth, listener))
    }

    fn map(&mut self, around: i16, depth: usize) -> Result<()> {
        let depth = depth.checked_sub(1).ok_or("the metadata is nested too deeply")?;
        let size = self.varint()?;
        if size == 0 {
            return Ok(());
        }
        let kinds = self.byte()?;
        if size > self.left {
            return Err("a map claims too many entries".into());
        }
        (0..size).try_for_each(|_| {
            self.value(kinds >> 4, None, around, depth, &mut |_, _, _| {})?;
            self.value(kinds & 0x0f, None, around, depth, &mut |_, _, _| {})
        })
    }

    /// A zigzag number.
    fn integer(&mut self) -> Result<i64> {
        let raw = self.varint()?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number has too many digits".into())
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.take(1)?;
        self.input.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        self.take(bytes)?;
        let skipped = io::copy(&mut self.input.by_ref().take(bytes), &mut io::sink())?;
        if skipped == bytes { Ok(()) } else { Err("the metadata ends early".into()) }
    }

    fn take(&mut self, bytes: u64) -> Result<()> {
        self.left = self.left.checked_sub(bytes).ok_or("a length goes beyond the end")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Fields, MAX_DEPTH, Shape, Walk};

    const KNOWN: Fields = &[(1, Shape::Int), (2, Shape::List(&Shape::Struct(&[(1, Shape::Int)]))), (3, Shape::Bool)];

    fn walked(bytes: &[u8]) -> Result<Vec<(i16, i16, i64)>, String> {
        let mut heard = Vec::new();
        let mut walk = Walk::new(bytes, bytes.len() as u64);
        walk.structure(KNOWN, &mut |around, number, value| heard.push((around, number, value)))
            .map_err(|error| error.to_string())?;
        Ok(heard)
    }

    #[test]
    fn integers_are_heard_with_their_place() {
        // 1: i32 -3; 2: a list of two structs with 1: i64 64; 3: true; 20 (long form): a map of one byte to a text.
        let bytes = [0x15, 5, 0x19, 0x2c, 0x16, 0x80, 1, 0, 0x16, 0x80, 1, 0, 0x11, 0x0b, 40, 1, 0x38, 7, 2, b'h', b'i', 0];
        assert_eq!(walked(&bytes).unwrap(), [(0, 1, -3), (2, 1, 64), (2, 1, 64)]);
        assert!(walked(&[0x29, 0, 0]).unwrap().is_empty(), "an empty list without a type");
        // 9, which nobody knows: a struct with a struct 2 with an i32 1.
        assert!(walked(&[0x9c, 0x2c, 0x15, 5, 0, 0, 0]).unwrap().is_empty(), "an unknown field passes for a known one");
    }

    #[test]
    fn what_claims_more_than_there_is_is_refused() {
        let deep: Vec<u8> = [0x4c].repeat(MAX_DEPTH + 1);
        let cases: [(&[u8], &str); 9] = [
            (&[0x29, 0xfc, 0xff, 0xff, 0xff, 0xff, 7, 0], "a list claims too many elements"),
            (&[0x48, 0xff, 0xff, 0xff, 0xff, 7, 0], "a length goes beyond the end"),
            (&[0x4b, 0xff, 0xff, 0xff, 0xff, 7, 0x33, 0, 0], "a map claims too many entries"),
            (&[0x48, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], "a number has too many digits"),
            (&[0x18, 0, 0], "a field is not of its type"),
            (&[0x29, 0x15, 0, 0], "a field is not of its type"),
            (&[0x49, 0x21, 1, 1, 0], "a value has no known type"),
            (&[0x15], "a length goes beyond the end"),
            (&deep, "the metadata is nested too deeply"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(walked(bytes).unwrap_err(), expected, "{bytes:x?}");
        }
        let mut many = vec![0x49, 0xfc, 0x81, 0x80, 4];
        many.resize(100_000, 0);
        assert_eq!(walked(&many).unwrap_err(), "a list claims too many elements", "structs are counted");
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = walked(&bytes);
        }
    }
}
