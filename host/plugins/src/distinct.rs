//! Repeated values are computed once, where that is a gain.
//!
//! **Invariant**: only values that occur in the column are handed on. A dictionary may hold values of rows that were filtered
//! out; a rule never sees those.

use std::{hash::BuildHasher, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, UInt32Array},
    compute::{cast, take},
    datatypes::{DataType, UInt32Type},
};

use crate::PluginError;

/// Below this many rows a call costs about what looking for repetition would.
const MIN_ROWS: usize = 512;
/// Rules cheaper than this are not worth a look at their input.
const MIN_NANOS_PER_ROW: u64 = 60;
/// Rows looked at before a whole column is.
const SAMPLE: usize = 128;

/// A column as its distinct values and where they go.
pub(crate) struct Distinct {
    values: ArrayRef,
    rows: UInt32Array,
}

impl Distinct {
    /// Nothing, when the column is better handed over as it is.
    pub(crate) fn of(column: &ArrayRef, nanos_per_row: u64) -> Option<Self> {
        if let DataType::Dictionary(_, _) = column.data_type() {
            return Self::of_dictionary(column);
        }
        if column.len() < MIN_ROWS || nanos_per_row < MIN_NANOS_PER_ROW {
            return None;
        }
        match column.data_type() {
            DataType::Utf8 => {
                let column = column.as_string::<i32>();
                Self::of_repeated(column, column.len(), |row| column.value(row).as_bytes())
            }
            DataType::Utf8View => {
                let column = column.as_string_view();
                Self::of_repeated(column, column.len(), |row| column.value(row).as_bytes())
            }
            _ => None,
        }
    }

    /// The distinct values that occur.
    pub(crate) fn values(&self) -> &ArrayRef {
        &self.values
    }

    /// Puts the answers where their values were; nothing when they would take more than `most_bytes` there. A guest pays for a long
    /// answer once, and the host for every row that it goes to.
    pub(crate) fn spread(&self, answers: &ArrayRef, most_bytes: u64) -> Result<Option<ArrayRef>, PluginError> {
        if self.spread_bytes(answers) > most_bytes {
            return Ok(None);
        }
        take(answers, &self.rows, None).map(Some).map_err(|error| PluginError::host("spreading a rule's answers", error))
    }

    fn spread_bytes(&self, answers: &ArrayRef) -> u64 {
        let offsets = match answers.data_type() {
            DataType::Utf8 => answers.as_string::<i32>().value_offsets(),
            DataType::Binary => answers.as_binary::<i32>().value_offsets(),
            // No answer is longer than what it stands for.
            _ => return 0,
        };
        let length = |row: u32| Some(u64::from(offsets.get(row as usize + 1)?.abs_diff(offsets[row as usize])));
        self.rows.iter().flatten().filter_map(length).sum()
    }

    fn of_dictionary(column: &ArrayRef) -> Option<Self> {
        let dictionary = column.as_any_dictionary_opt()?;
        let keys = cast(dictionary.keys(), &DataType::UInt32).ok()?;
        let keys = keys.as_primitive::<UInt32Type>();
        let mut place = vec![u32::MAX; dictionary.values().len()];
        let mut used = Vec::new();
        let rows: UInt32Array = keys
            .iter()
            .map(|key| {
                let key = key?;
                let place = place.get_mut(key as usize)?;
                if *place == u32::MAX {
                    *place = u32::try_from(used.len()).unwrap_or(u32::MAX);
                    used.push(key);
                }
                Some(*place)
            })
            .collect();
        let values = take(dictionary.values(), &UInt32Array::from(used), None).ok()?;
        Some(Self { values, rows })
    }

    fn of_repeated<'a>(column: &dyn Array, len: usize, value: impl Fn(usize) -> &'a [u8]) -> Option<Self> {
        let hasher = std::hash::RandomState::new();
        let mut seen = Seen::with_capacity(SAMPLE);
        let step = (len / SAMPLE).max(1);
        let sampled = (0..len).step_by(step).filter(|row| column.is_valid(*row));
        let (mut rows, mut fresh) = (0, 0);
        for row in sampled {
            rows += 1;
            fresh += usize::from(seen.insert(hasher.hash_one(value(row)), row, |other| value(other) == value(row)) == row);
        }
        if fresh * 2 > rows {
            return None;
        }
        let mut seen = Seen::with_capacity(len / 2);
        let mut places = vec![0_u32; len];
        let mut first = Vec::new();
        let rows: UInt32Array = (0..len)
            .map(|row| {
                if column.is_null(row) {
                    return None;
                }
                let same = seen.insert(hasher.hash_one(value(row)), row, |other| value(other) == value(row));
                if same == row {
                    places[row] = u32::try_from(first.len()).unwrap_or(u32::MAX);
                    first.push(u32::try_from(row).unwrap_or(u32::MAX));
                }
                Some(places[same])
            })
            .collect();
        let values = take(column, &UInt32Array::from(first), None).ok()?;
        Some(Self { values: Arc::clone(&values), rows })
    }
}

/// Rows by the hash of their value: open addressing, never more than half full.
struct Seen {
    slots: Vec<(u64, u32)>,
    used: usize,
}

impl Seen {
    fn with_capacity(values: usize) -> Self {
        Self { slots: vec![(0, u32::MAX); (values * 2).next_power_of_two().max(16)], used: 0 }
    }

    /// The first row with the value of `row`, which is `row` itself when it is new.
    fn insert(&mut self, hash: u64, row: usize, is_same: impl Fn(usize) -> bool) -> usize {
        if self.used * 2 >= self.slots.len() {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut slot = (hash as usize) & mask;
        loop {
            let (other_hash, other) = self.slots[slot];
            if other == u32::MAX {
                self.slots[slot] = (hash, u32::try_from(row).unwrap_or(u32::MAX - 1));
                self.used += 1;
                return row;
            }
            if other_hash == hash && is_same(other as usize) {
                return other as usize;
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let doubled = vec![(0, u32::MAX); self.slots.len() * 2];
        let old = std::mem::replace(&mut self.slots, doubled);
        let mask = self.slots.len() - 1;
        for (hash, row) in old.into_iter().filter(|(_, row)| *row != u32::MAX) {
            let mut slot = (hash as usize) & mask;
            while self.slots[slot].1 != u32::MAX {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = (hash, row);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{Array, ArrayRef, AsArray, BinaryArray, DictionaryArray, Int32Array, StringArray, StringViewArray},
        datatypes::Int32Type,
    };
    use proptest::prelude::*;

    use super::{Distinct, MIN_NANOS_PER_ROW, Seen};

    fn shout(values: &ArrayRef) -> ArrayRef {
        let texts = values
            .as_string_opt::<i32>()
            .map(|texts| texts.iter().map(|text| text.map(str::to_uppercase)).collect::<StringArray>());
        let views = || values.as_string_view().iter().map(|text| text.map(str::to_uppercase)).collect();
        Arc::new(texts.unwrap_or_else(views))
    }

    #[test]
    fn a_dictionary_hands_on_only_what_its_rows_use() {
        let keys = Int32Array::from(vec![Some(2), None, Some(2), Some(0)]);
        let values: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("filtered out"), None]));
        let column: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(keys, values));
        let distinct = Distinct::of(&column, 0).unwrap();
        let handed: Vec<_> = distinct.values().as_string::<i32>().iter().collect();
        assert_eq!(handed, [None, Some("a")]);
        let spread = distinct.spread(&shout(distinct.values()), 1).unwrap().unwrap();
        assert_eq!(spread.as_string::<i32>().iter().collect::<Vec<_>>(), [None, None, None, Some("A")]);
    }

    #[test]
    fn cheap_rules_and_fresh_values_are_left_alone() {
        let repeated: ArrayRef = Arc::new(StringArray::from(vec!["same"; 5000]));
        assert!(Distinct::of(&repeated, MIN_NANOS_PER_ROW).is_some());
        assert!(Distinct::of(&repeated, MIN_NANOS_PER_ROW - 1).is_none());
        let fresh: ArrayRef = Arc::new((0..5000).map(|n| Some(n.to_string())).collect::<StringArray>());
        assert!(Distinct::of(&fresh, 10_000).is_none());
    }

    #[test]
    fn answers_are_weighed_where_they_go() {
        let repeated: ArrayRef = Arc::new((0..1000).map(|row| (row % 4 != 0).then_some("same")).collect::<StringArray>());
        let distinct = Distinct::of(&repeated, 1000).unwrap();
        for answers in [
            Arc::new(StringArray::from(vec!["x".repeat(100)])) as ArrayRef,
            Arc::new(BinaryArray::from(vec!["x".repeat(100).as_bytes()])),
        ] {
            assert!(distinct.spread(&answers, 75_000 - 1).unwrap().is_none(), "100 bytes for each of 750 rows");
            let spread = distinct.spread(&answers, 75_000).unwrap().unwrap();
            assert_eq!((spread.len(), spread.null_count()), (1000, 250));
        }
        // Ten answers of 200 KB are 2 MB, and 1.6 GB on a batch.
        let batch: ArrayRef = Arc::new((0..8192).map(|row| Some((row % 10).to_string())).collect::<StringArray>());
        let distinct = Distinct::of(&batch, 1000).unwrap();
        let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(200_000); 10]));
        assert!(distinct.spread(&long, 64 << 20).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn spreading_the_answers_is_the_same_as_asking_for_each(picks in prop::collection::vec(prop::option::of(0_u8..20), 600), view in any::<bool>()) {
            let texts = picks.iter().map(|pick| pick.map(|pick| format!("value {pick}")));
            let column: ArrayRef = if view { Arc::new(texts.collect::<StringViewArray>()) } else { Arc::new(texts.collect::<StringArray>()) };
            let Some(distinct) = Distinct::of(&column, 1000) else { return Ok(()) };
            prop_assert!(distinct.values().len() <= 40);
            prop_assert_eq!(&distinct.spread(&shout(distinct.values()), u64::MAX).unwrap().unwrap(), &shout(&column));
        }

        /// Even when every hash is the same.
        #[test]
        fn a_seen_value_is_found_again(values in prop::collection::vec(0_u8..30, 1..200), bits in 0_u32..3) {
            let mut seen = Seen::with_capacity(1);
            for (row, value) in values.iter().enumerate() {
                let first = values.iter().position(|other| other == value).unwrap();
                let hash = u64::from(*value) & ((1 << bits) - 1);
                prop_assert_eq!(seen.insert(hash, row, |other| values[other] == *value), first);
            }
        }
    }
}
