//! A position in a file that never leaves it.

use crate::{FaissError, Result};

/// The largest number that a file may hold where distances are computed from it. Larger than [`crate::MAX_MAGNITUDE`], because
/// rotations add components up. The same bound as in `shim/search.cpp`.
pub(super) const STORED_LIMIT: f32 = 1e15;

/// Reads what is there and nothing else.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The four letters in front of a structure.
    pub(super) fn tag(&mut self) -> Result<[u8; 4]> {
        self.array()
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.array().map(|[byte]: [u8; 1]| byte)
    }

    pub(super) fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub(super) fn f32(&mut self) -> Result<f32> {
        self.array().map(f32::from_le_bytes)
    }

    /// A u64 that counts something in memory.
    pub(super) fn count(&mut self) -> Result<usize> {
        let count = u64::from_le_bytes(self.array()?);
        usize::try_from(count).map_err(|_| self.damaged("an impossible count"))
    }

    /// A C++ `bool`: any byte but 0 and 1 is undefined behaviour there.
    pub(super) fn flag(&mut self) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.damaged("a flag that is neither 0 nor 1")),
        }
    }

    /// A flag that has to be 1.
    pub(super) fn set_flag(&mut self, problem: &'static str) -> Result<()> {
        let flag = self.flag()?;
        self.expect(flag, problem)
    }

    /// Items of `SIZE` bytes, as many as counted elsewhere.
    pub(super) fn items<const SIZE: usize>(&mut self, count: usize) -> Result<&'a [[u8; SIZE]]> {
        let length = count.checked_mul(SIZE).ok_or_else(|| self.damaged("an impossible count"))?;
        Ok(self.take(length)?.as_chunks().0)
    }

    /// A count and its items.
    pub(super) fn vector<const SIZE: usize>(&mut self) -> Result<&'a [[u8; SIZE]]> {
        let count = self.count()?;
        self.items(count)
    }

    /// A count and as many numbers, which have to be `expected`, finite, and within [`STORED_LIMIT`].
    pub(super) fn floats(&mut self, expected: usize) -> Result<()> {
        let floats = self.vector::<4>()?;
        self.expect(floats.len() == expected, "a number of values that does not fit")?;
        // No early exit within a chunk, so that it becomes vector instructions.
        let fits =
            |chunk: &[[u8; 4]]| chunk.iter().fold(true, |all, bytes| all & (f32::from_le_bytes(*bytes).abs() <= STORED_LIMIT));
        self.expect(floats.chunks(4_096).all(fits), "a value that is not finite or too large")
    }

    pub(super) fn expect(&self, holds: bool, problem: &'static str) -> Result<()> {
        if holds { Ok(()) } else { Err(self.damaged(problem)) }
    }

    /// Refuses what follows the end.
    pub(super) fn finish(self) -> Result<()> {
        self.expect(self.at == self.bytes.len(), "something after the end")
    }

    pub(super) fn damaged(&self, problem: &'static str) -> FaissError {
        FaissError::Damaged { at: self.at, problem }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let taken = self.at.checked_add(length).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| self.damaged("the end in the middle"))?;
        self.at += length;
        Ok(taken)
    }

    fn array<const SIZE: usize>(&mut self) -> Result<[u8; SIZE]> {
        let taken = self.take(SIZE)?;
        Ok(*taken.first_chunk().expect("take gives what was asked for"))
    }
}
