//! From a row's key to its place in a segment.
//!
//! **Invariant**: a key is found only where its text is equal; equal hashes of different keys are told apart.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
};

use arrow::array::{Array, StringArray};

/// The rows of a segment by key.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    hashing: RandomState,
    rows: HashMap<u64, u32, BuildHasherDefault<AsItIs>>,
    /// Rows whose hash is another key's.
    others: Vec<u32>,
}

impl Keys {
    /// Of keys that differ from one another.
    pub(crate) fn of(keys: &StringArray) -> Self {
        let mut table = Self::default();
        table.rows.reserve(keys.len());
        for (key, row) in keys.iter().zip(0u32..) {
            let hash = table.hashing.hash_one(key.unwrap_or_default());
            match table.rows.entry(hash) {
                Entry::Occupied(_) => table.others.push(row),
                Entry::Vacant(place) => {
                    place.insert(row);
                }
            }
        }
        table
    }

    /// The row of a key among those that the table was made of.
    pub(crate) fn find(&self, keys: &StringArray, key: &str) -> Option<u32> {
        let row = *self.rows.get(&self.hashing.hash_one(key))?;
        let is_it = |row: u32| keys.value(row as usize) == key;
        if is_it(row) { Some(row) } else { self.others.iter().copied().find(|row| is_it(*row)) }
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.rows.capacity() * 16 + self.others.len() * 4) as u64
    }
}

/// The number is a hash already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only hashes are hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;

    use super::Keys;

    #[test]
    fn each_key_is_found_in_its_row_and_no_other() {
        let keys: StringArray = (0..1_000).map(|n| Some(format!("K-{n}"))).collect();
        let table = Keys::of(&keys);
        for n in 0..1_000u32 {
            assert_eq!(table.find(&keys, &format!("K-{n}")), Some(n));
        }
        assert_eq!(table.find(&keys, "K-1000"), None);
        assert_eq!(table.find(&keys, ""), None);
    }

    #[test]
    fn keys_of_one_hash_are_told_apart() {
        let keys = StringArray::from(vec!["a", "b", "c"]);
        let mut table = Keys::of(&keys);
        // As if the three had one hash.
        let shared = std::hash::BuildHasher::hash_one(&table.hashing, "c");
        table.rows.clear();
        table.rows.insert(shared, 0);
        table.others = vec![1, 2];
        assert_eq!(table.find(&keys, "c"), Some(2));
    }
}
