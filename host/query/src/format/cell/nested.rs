//! Values made of values.

use super::{Cell, Column};
use crate::format::json::{self, escape};

/// Items of row `n` are `offsets[n]..offsets[n + 1]`.
pub(super) struct List<'a> {
    pub(super) offsets: Vec<usize>,
    pub(super) items: Column<'a>,
}

impl Cell for List<'_> {
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'[');
        for item in self.offsets[row]..self.offsets[row + 1] {
            if item > self.offsets[row] {
                out.push(b',');
            }
            if self.items.is_null(item) { out.extend_from_slice(b"null") } else { self.items.json(item, out) }
        }
        out.push(b']');
    }
}

pub(super) struct Struct<'a> {
    pub(super) names: Vec<Vec<u8>>,
    pub(super) columns: Vec<Column<'a>>,
}

impl Cell for Struct<'_> {
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        json::object(&self.names, &self.columns, row, out);
    }
}

pub(super) struct Map<'a> {
    pub(super) offsets: Vec<usize>,
    pub(super) keys: Column<'a>,
    pub(super) values: Column<'a>,
}

impl Cell for Map<'_> {
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut key = Vec::new();
        for entry in self.offsets[row]..self.offsets[row + 1] {
            if entry > self.offsets[row] {
                out.push(b',');
            }
            key.clear();
            self.keys.plain(entry, &mut key);
            escape(&key, out);
            out.push(b':');
            if self.values.is_null(entry) { out.extend_from_slice(b"null") } else { self.values.json(entry, out) }
        }
        out.push(b'}');
    }
}

pub(super) struct Dictionary<'a> {
    pub(super) places: Vec<usize>,
    pub(super) values: Column<'a>,
}

impl Cell for Dictionary<'_> {
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        self.values.json(self.places[row], out);
    }

    fn plain(&self, row: usize, out: &mut Vec<u8>) {
        self.values.plain(self.places[row], out);
    }
}
