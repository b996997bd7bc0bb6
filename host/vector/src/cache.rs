//! Parts of segments in memory: what was read and checked once is not read again while there is room for it.
//!
//! **Invariant**: what is kept is no larger than the bound, except for one part that is larger by itself; the part that was used
//! longest ago goes first; a part that somebody still uses stays theirs. A part that is asked for by many is loaded by one.

use std::{collections::HashMap, sync::Arc};

use lakehouse_faiss::{Bitmap, Index};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::{Result, rows::Rows, text::Texts};

/// A part of a segment.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    Rows(Arc<Rows>),
    Texts(Arc<Texts>),
    Vectors(Arc<Vec<f32>>),
    Faiss(Arc<Index>),
    /// Ordinals of live rows.
    Live(Arc<Bitmap>),
}

impl Part {
    fn bytes(&self) -> u64 {
        match self {
            Self::Rows(rows) => rows.bytes(),
            Self::Texts(texts) => texts.bytes(),
            Self::Vectors(vectors) => (vectors.len() * size_of::<f32>()) as u64,
            Self::Faiss(index) => index.memory_bytes(),
            Self::Live(bitmap) => bitmap.len() as u64 / 8,
        }
    }
}

/// Parts by the path of their object.
#[derive(Debug)]
pub(crate) struct Cache {
    most_bytes: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    parts: HashMap<String, Entry>,
    bytes: u64,
    /// Counts uses.
    now: u64,
}

#[derive(Debug, Default)]
struct Entry {
    cell: Arc<OnceCell<Part>>,
    /// 0 until it is loaded.
    bytes: u64,
    used: u64,
}

impl Cache {
    pub(crate) fn new(most_bytes: u64) -> Self {
        Self { most_bytes, kept: Mutex::default() }
    }

    /// The part, from memory or loaded.
    pub(crate) async fn get<F>(&self, path: &str, load: impl FnOnce() -> F) -> Result<Part>
    where
        F: Future<Output = Result<Part>>,
    {
        let cell = {
            let mut kept = self.kept.lock();
            kept.now += 1;
            let now = kept.now;
            let entry = kept.parts.entry(path.to_owned()).or_default();
            entry.used = now;
            Arc::clone(&entry.cell)
        };
        if let Some(part) = cell.get() {
            return Ok(part.clone());
        }
        let loaded = cell.get_or_try_init(|| Box::pin(load())).await.cloned();
        self.settle(path, &cell);
        loaded
    }

    /// Whether the part is in memory.
    pub(crate) fn holds(&self, path: &str) -> bool {
        self.kept.lock().parts.get(path).is_some_and(|entry| entry.cell.initialized())
    }

    /// Drops the parts whose paths begin so.
    pub(crate) fn forget(&self, folder: &str) {
        let mut kept = self.kept.lock();
        let gone: u64 = kept.parts.extract_if(|path, _| path.starts_with(folder)).map(|(_, entry)| entry.bytes).sum();
        kept.bytes -= gone;
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.kept.lock().bytes
    }

    /// Counts what was loaded, and makes room for it.
    fn settle(&self, path: &str, cell: &Arc<OnceCell<Part>>) {
        let mut kept = self.kept.lock();
        let Kept { parts, bytes, .. } = &mut *kept;
        let Some(entry) = parts.get_mut(path).filter(|entry| Arc::ptr_eq(&entry.cell, cell)) else { return };
        let Some(part) = cell.get() else {
            // It failed; who comes next tries again. Others may be trying now.
            if Arc::strong_count(cell) == 2 {
                parts.remove(path);
            }
            return;
        };
        *bytes += part.bytes() - entry.bytes;
        entry.bytes = part.bytes();
        while *bytes > self.most_bytes {
            let oldest =
                parts.iter().filter(|(other, entry)| *other != path && entry.bytes > 0).min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(path, _)| path.clone()) else { return };
            *bytes -= parts.remove(&oldest).map_or(0, |entry| entry.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Cache, Part};
    use crate::VectorError;

    fn part(numbers: usize) -> Part {
        Part::Vectors(Arc::new(vec![0.0; numbers]))
    }

    #[tokio::test]
    async fn what_was_used_longest_ago_goes_first() {
        let cache = Cache::new(100);
        for path in ["a/x", "a/y"] {
            cache.get(path, || async { Ok(part(10)) }).await.unwrap();
        }
        cache.get("a/x", || async { panic!("it is in memory") }).await.unwrap();
        cache.get("b/z", || async { Ok(part(10)) }).await.unwrap();
        assert!(cache.holds("a/x") && cache.holds("b/z") && !cache.holds("a/y"));
        assert_eq!(cache.bytes(), 80);
        cache.forget("a/");
        assert!(!cache.holds("a/x"));
        assert_eq!(cache.bytes(), 40);
        // One that is larger than the bound is kept alone.
        cache.get("c", || async { Ok(part(1_000)) }).await.unwrap();
        assert!(cache.holds("c") && !cache.holds("b/z"));
    }

    #[tokio::test]
    async fn a_failed_load_is_tried_again_and_a_good_one_is_made_once() {
        let cache = Arc::new(Cache::new(1_000));
        assert!(cache.get("a", || async { Err(VectorError::Internal("test")) }).await.is_err());
        assert!(!cache.holds("a"));
        let loads = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let asking = (0..8).map(|_| {
            let (cache, loads) = (Arc::clone(&cache), Arc::clone(&loads));
            tokio::spawn(async move {
                let load = || async {
                    loads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    Ok(part(10))
                };
                cache.get("a", load).await.map(drop)
            })
        });
        for asked in asking.collect::<Vec<_>>() {
            asked.await.unwrap().unwrap();
        }
        assert_eq!((loads.load(std::sync::atomic::Ordering::Relaxed), cache.bytes()), (1, 40));
    }
}
