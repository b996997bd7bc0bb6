//! Compiled code in memory, by content.
//!
//! **Invariant**: what somebody holds is never loaded twice; what nobody holds is kept only while it is among the last
//! [`MAX_RECENT`] that were used, and within [`MAX_RECENT_BYTES`].

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak},
};

use lakehouse_types::Digest;
use parking_lot::Mutex;

/// Components kept though nobody holds them: pinned versions between two requests.
const MAX_RECENT: usize = 16;
/// Their code, bytes.
const MAX_RECENT_BYTES: usize = 128 << 20;

/// Code that is in use, and some that was lately.
pub(crate) struct Shelf<T>(Mutex<Books<T>>);

struct Books<T> {
    known: HashMap<Digest, Weak<T>>,
    /// The latest last, with their bytes.
    recent: VecDeque<(Digest, Arc<T>, usize)>,
}

impl<T> Shelf<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Books { known: HashMap::new(), recent: VecDeque::new() }))
    }

    /// The code, if it is in memory; used now.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Arc<T>> {
        self.0.lock().get(digest)
    }

    /// Takes in code of `bytes`; answers with what is already here of the same content.
    pub(crate) fn put(&self, digest: &Digest, code: T, bytes: usize) -> Arc<T> {
        let mut books = self.0.lock();
        if let Some(present) = books.get(digest) {
            return present;
        }
        let code = Arc::new(code);
        books.known.retain(|_, code| code.strong_count() > 0);
        books.known.insert(digest.clone(), Arc::downgrade(&code));
        books.recent.push_back((digest.clone(), Arc::clone(&code), bytes));
        while books.recent.len() > MAX_RECENT || books.bytes() > MAX_RECENT_BYTES {
            books.recent.pop_front();
        }
        code
    }

    /// No longer keeps the code. Who holds it, keeps it.
    pub(crate) fn forget(&self, digest: &Digest) {
        self.0.lock().recent.retain(|(known, ..)| known != digest);
    }

    /// How many components have their code in memory.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.lock().known.values().filter(|code| code.strong_count() > 0).count()
    }
}

impl<T> Books<T> {
    fn get(&mut self, digest: &Digest) -> Option<Arc<T>> {
        let found = self.known.get(digest)?.upgrade()?;
        if let Some(at) = self.recent.iter().position(|(known, ..)| known == digest)
            && let Some(entry) = self.recent.remove(at)
        {
            self.recent.push_back(entry);
        }
        Some(found)
    }

    fn bytes(&self) -> usize {
        self.recent.iter().map(|(.., bytes)| bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use lakehouse_types::Digest;

    use super::{MAX_RECENT, MAX_RECENT_BYTES, Shelf};

    fn digest(n: usize) -> Digest {
        Digest::from_bytes(&[u8::try_from(n).unwrap(); 32])
    }

    #[test]
    fn the_last_used_are_kept_and_what_is_held_is_found() {
        let shelf = Shelf::new();
        let held = shelf.put(&digest(0), 0, 1);
        for n in 1..=MAX_RECENT + 5 {
            shelf.put(&digest(n), n, 1);
            assert_eq!(shelf.get(&digest(1)).as_deref(), Some(&1), "used after each");
        }
        assert_eq!(shelf.len(), MAX_RECENT + 1, "the recent, and the one that is held");
        assert_eq!(shelf.get(&digest(2)), None);
        assert_eq!(*shelf.put(&digest(0), 99, 1), 0, "what is here is not replaced");
        drop(held);
        assert_eq!(shelf.get(&digest(0)), None);
        shelf.forget(&digest(1));
        assert_eq!(shelf.get(&digest(1)), None);
    }

    #[test]
    fn large_code_is_not_kept_for_nobody() {
        let shelf = Shelf::new();
        for n in 0..4 {
            shelf.put(&digest(n), n, MAX_RECENT_BYTES / 2);
        }
        assert_eq!(shelf.len(), 2);
        let held = shelf.put(&digest(9), 9, MAX_RECENT_BYTES + 1);
        assert_eq!((shelf.len(), *held), (1, 9), "only by whoever holds it");
    }
}
