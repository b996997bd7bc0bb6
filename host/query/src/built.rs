//! What the calls of a query have built lately and somebody still holds.
//!
//! **Invariant**: what a call builds beyond its share of small change is taken from a pool that all queries share before the next
//! call builds more, each buffer once. It is given back when nobody holds it, or when so many calls have followed that its batch has
//! been passed on: whoever keeps it then, like a sort, counts it itself. So what a hundred copies of one large text need together is
//! never more than the pool gives.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow::array::{Array, ArrayRef};
use arrow::buffer::Buffer;
use arrow::datatypes::DataType;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use parking_lot::Mutex;

use crate::error::QueryError;

/// Bytes of one result that are small change, unless a plan has many calls: then each has its share of [`SMALL_CHANGE_BYTES`].
const FREE_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes of all results of one batch that are small change.
const SMALL_CHANGE_BYTES: u64 = 1024 * 1024 * 1024;
/// Smaller buffers are not worth a place.
const LEAST_BUFFER: usize = 4096;
/// Results that are looked through at each call for those that nobody holds any more; if there are more, only when memory is short.
const FEW: usize = 64;

/// The recent buffers of one query.
#[derive(Debug)]
pub(crate) struct Built {
    reservation: MemoryReservation,
    /// Results so far.
    calls: AtomicU64,
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    /// Of each result the buffers that were new, the oldest first.
    results: VecDeque<(u64, Vec<Buffer>)>,
    /// Where they are.
    places: HashSet<usize>,
}

impl Built {
    pub(crate) fn of(pool: &Arc<dyn MemoryPool>) -> Self {
        let reservation = MemoryConsumer::new("functions").register(pool);
        Self { reservation, calls: AtomicU64::default(), recent: Mutex::default() }
    }

    /// Counts the buffers of `result` that are new, where `calls` of the plan build such results in each of `partitions`.
    ///
    /// # Errors
    /// When the pool has no more.
    pub(crate) fn count(&self, result: &ArrayRef, calls: u64, partitions: usize) -> Result<(), QueryError> {
        let now = self.calls.fetch_add(1, Ordering::Relaxed);
        let free = FREE_BYTES.min(SMALL_CHANGE_BYTES / calls.max(1));
        if is_small(result.data_type()) || result.get_buffer_memory_size() as u64 <= free {
            return Ok(());
        }
        let mut recent = self.recent.lock();
        // So many results there are of one batch in each partition.
        let lasts = calls.max(1).saturating_mul(partitions.max(1) as u64);
        if let Some(last) = now.checked_sub(lasts) {
            self.reservation.shrink(recent.expire(last));
        }
        if recent.results.len() <= FEW {
            self.reservation.shrink(recent.sweep());
        }
        let fresh = recent.fresh(result);
        let bytes = fresh.iter().map(Buffer::capacity).fold(0usize, usize::saturating_add);
        if self.reservation.try_grow(bytes).is_err() {
            self.reservation.shrink(recent.sweep());
            self.reservation.try_grow(bytes).map_err(|_| QueryError::Memory)?;
        }
        recent.places.extend(fresh.iter().map(place));
        recent.results.push_back((now, fresh));
        Ok(())
    }
}

impl Recent {
    /// The large buffers of an array that nobody but it holds, and that are not here.
    fn fresh(&self, result: &ArrayRef) -> Vec<Buffer> {
        let mut fresh = Vec::new();
        let mut parts = vec![result.to_data()];
        while let Some(part) = parts.pop() {
            // One is the array's own, one is this copy of its parts.
            let new = part.buffers().iter().filter(|buffer| {
                buffer.capacity() >= LEAST_BUFFER && buffer.strong_count() <= 2 && !self.places.contains(&place(buffer))
            });
            fresh.extend(new.cloned());
            parts.extend(part.child_data().iter().cloned());
        }
        fresh
    }

    /// Drops the results of the calls up to `last`, and tells how many bytes they had.
    fn expire(&mut self, last: u64) -> usize {
        let mut freed = 0;
        while let Some((_, buffers)) = self.results.pop_front_if(|(call, _)| *call <= last) {
            freed += self.forget(&buffers);
        }
        freed
    }

    /// Drops what nobody else holds any more, and tells how many bytes that was.
    fn sweep(&mut self) -> usize {
        let mut dropped = Vec::new();
        for (_, buffers) in &mut self.results {
            dropped.extend(buffers.extract_if(.., |buffer| buffer.strong_count() == 1));
        }
        self.results.retain(|(_, buffers)| !buffers.is_empty());
        self.forget(&dropped)
    }

    fn forget(&mut self, buffers: &[Buffer]) -> usize {
        let mut bytes = 0;
        for buffer in buffers {
            self.places.remove(&place(buffer));
            bytes += buffer.capacity();
        }
        bytes
    }
}

fn place(buffer: &Buffer) -> usize {
    buffer.data_ptr().as_ptr().addr()
}

/// Whether each value of a type takes a few bytes and no more.
pub(crate) fn is_small(data_type: &DataType) -> bool {
    data_type.primitive_width().is_some() || matches!(data_type, DataType::Boolean | DataType::Null)
}

/// Whether values of a type are where views of them point to: repeating them copies nothing.
pub(crate) fn is_view(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8View | DataType::BinaryView)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray, StringViewArray};
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};

    use super::Built;

    const MIB: usize = 1 << 20;

    fn text(mib: usize) -> ArrayRef {
        Arc::new(StringArray::from(vec!["x".repeat(mib * MIB)]))
    }

    fn pool(mib: usize) -> Arc<dyn MemoryPool> {
        Arc::new(GreedyMemoryPool::new(mib * MIB))
    }

    #[test]
    fn what_is_held_is_paid_for_and_what_is_dropped_is_given_back() {
        let pool = pool(64);
        let built = Built::of(&pool);
        let held: Vec<ArrayRef> = (0..6).map(|_| text(10)).collect();
        for array in &held {
            built.count(array, 100, 2).unwrap();
        }
        assert!(built.count(&text(10), 100, 2).is_err());
        drop(held);
        for _ in 0..20 {
            built.count(&text(10), 100, 2).unwrap();
        }
        drop(built);
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn a_buffer_is_paid_for_once_and_small_change_is_free() {
        let pool = pool(64);
        let built = Built::of(&pool);
        let large = text(40);
        for _ in 0..10 {
            built.count(&large, 100, 2).unwrap();
        }
        assert!((40 * MIB..41 * MIB).contains(&pool.reserved()));
        let views: ArrayRef = Arc::new(StringViewArray::from(large.as_any().downcast_ref::<StringArray>().unwrap()));
        built.count(&views, 100, 2).unwrap();
        let small: Vec<ArrayRef> = (0..100).map(|_| text(3)).collect();
        small.iter().for_each(|array| built.count(array, 100, 2).unwrap());
        assert!(pool.reserved() < 41 * MIB);
    }

    /// A sort keeps all batches and counts them itself, or spills.
    #[test]
    fn a_batch_that_is_passed_on_is_its_keepers() {
        let pool = pool(64);
        let built = Built::of(&pool);
        let kept: Vec<ArrayRef> = (0..50).map(|_| text(10)).collect();
        for array in &kept {
            built.count(array, 2, 2).unwrap();
            // The other call of the plan builds little.
            built.count(&text(1), 2, 2).unwrap();
        }
        assert!(pool.reserved() <= 31 * MIB, "{}", pool.reserved());
    }
}
