//! Days, times of day, moments.

use arrow::array::{
    ArrowPrimitiveType, PrimitiveArray,
    types::{Date32Type, Date64Type},
};

use super::{Cell, quoted};
use crate::format::temporal;

pub(super) struct Days<'a>(pub(super) &'a PrimitiveArray<Date32Type>);

impl Cell for Days<'_> {
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        quoted(out, |out| self.plain(row, out));
    }

    fn plain(&self, row: usize, out: &mut Vec<u8>) {
        temporal::date(out, i64::from(self.0.value(row)));
    }
}

pub(super) struct MillisAsDate<'a>(pub(super) &'a PrimitiveArray<Date64Type>);

impl Cell for MillisAsDate<'_> {
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        quoted(out, |out| self.plain(row, out));
    }

    fn plain(&self, row: usize, out: &mut Vec<u8>) {
        temporal::date(out, self.0.value(row).div_euclid(86_400_000));
    }
}

pub(super) struct Clock<'a, T: ArrowPrimitiveType> {
    pub(super) values: &'a PrimitiveArray<T>,
    pub(super) nanos: i64,
}

impl<T: ArrowPrimitiveType> Cell for Clock<'_, T>
where
    T::Native: Into<i64>,
{
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        quoted(out, |out| self.plain(row, out));
    }

    fn plain(&self, row: usize, out: &mut Vec<u8>) {
        let value: i64 = self.values.value(row).into();
        temporal::time(out, value.saturating_mul(self.nanos).rem_euclid(86_400_000_000_000));
    }
}

pub(super) struct Stamp<'a, T: ArrowPrimitiveType> {
    pub(super) values: &'a PrimitiveArray<T>,
    pub(super) per_second: i64,
    pub(super) zoned: bool,
}

impl<T: ArrowPrimitiveType> Cell for Stamp<'_, T>
where
    T::Native: Into<i64>,
{
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        quoted(out, |out| self.plain(row, out));
    }

    fn plain(&self, row: usize, out: &mut Vec<u8>) {
        temporal::timestamp(out, self.values.value(row).into(), self.per_second);
        if self.zoned {
            out.push(b'Z');
        }
    }
}
