//! The calls of `shim/shim.h`, made safe.
//!
//! **Invariant**: a [`Handle`] owns one index that is never mutated again. Nothing here unwinds into C++, and no C++ exception
//! reaches Rust: the shim catches all of them.

#![expect(unsafe_code, reason = "the one module that calls FAISS")]

use std::{
    ffi::{CString, c_char, c_void},
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::{self, NonNull},
    slice,
};

use crate::{Bitmap, FaissError, Metric, Result, Vectors};

/// The longest message that is taken from FAISS, in bytes.
const MESSAGE_BYTES: usize = 1_024;

const OK: i32 = 0;
const MEMORY: i32 = 2;
const SINK: i32 = 3;

/// `lake_index`.
#[repr(C)]
struct RawIndex {
    _opaque: [u8; 0],
}

/// `lake_message`.
#[repr(C)]
struct RawMessage {
    text: *mut c_char,
    capacity: usize,
}

/// `lake_facts`.
#[repr(C)]
struct RawFacts {
    count: u64,
    bytes: u64,
    flat: *const f32,
    dimensions: i32,
    metric: i32,
    kind: i32,
}

/// `lake_query`.
#[repr(C)]
struct RawQuery {
    vector: *const f32,
    k: usize,
    candidates: usize,
    ef_search: usize,
    nprobe: usize,
    live: *const u64,
    live_bits: usize,
}

type RawSink = unsafe extern "C" fn(context: *mut c_void, bytes: *const u8, length: usize) -> bool;

unsafe extern "C" {
    fn lake_build(
        description: *const c_char,
        dimensions: i32,
        metric: i32,
        ef_construction: i32,
        threads: i32,
        count: u64,
        vectors: *const f32,
        out: *mut *mut RawIndex,
        message: RawMessage,
    ) -> i32;
    fn lake_read(bytes: *const u8, length: usize, out: *mut *mut RawIndex, message: RawMessage) -> i32;
    fn lake_write(index: *const RawIndex, sink: RawSink, context: *mut c_void, message: RawMessage) -> i32;
    fn lake_describe(index: *const RawIndex, out: *mut RawFacts, message: RawMessage) -> i32;
    fn lake_search(
        index: *const RawIndex,
        query: *const RawQuery,
        scores: *mut f32,
        ordinals: *mut i64,
        message: RawMessage,
    ) -> i32;
    fn lake_free(index: *mut RawIndex);
}

/// What an index says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) dimensions: i32,
    pub(crate) metric: i32,
    /// `lake_kind`.
    pub(crate) kind: i32,
}

/// One search, its numbers checked.
pub(crate) struct Query<'a> {
    /// As many components as the index has dimensions.
    pub(crate) vector: &'a [f32],
    /// From 1 to the number of vectors.
    pub(crate) k: usize,
    pub(crate) candidates: usize,
    pub(crate) ef_search: usize,
    pub(crate) nprobe: usize,
    /// Of the index's length.
    pub(crate) live: Option<&'a Bitmap>,
}

/// An owned FAISS index.
pub(crate) struct Handle(NonNull<RawIndex>);

// SAFETY: an index has no tie to the thread that made it: FAISS keeps no thread-local state in one, and deletes it with plain
// `delete`.
unsafe impl Send for Handle {}

// SAFETY: all that takes `&Handle` goes through `const faiss::Index&`, which FAISS documents as safe from many threads as long as
// none mutates; none does, because nothing here takes `&mut`. What a search writes to (visited table, heaps) is thread-local in
// the shim. FAISS's global counters of fast scan are added to without a lock; nothing reads them.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `lake_build` or `lake_read`, is freed only here, and no borrow outlives `self`.
        unsafe { lake_free(self.0.as_ptr()) }
    }
}

impl Handle {
    /// Trains and fills an index on the calling thread and `threads - 1` more, which OpenMP keeps until the calling one ends.
    pub(crate) fn build(
        description: &str,
        vectors: Vectors<'_>,
        metric: Metric,
        ef_construction: i32,
        threads: i32,
    ) -> Result<Self> {
        let description = CString::new(description).map_err(|_| refused("build an index", "a NUL in the factory string"))?;
        let dimensions = i32::try_from(vectors.dimensions()).expect("Vectors bounds its dimensions");
        let mut out = ptr::null_mut();
        call("build an index", |message| {
            // SAFETY: `description` is NUL-terminated; `vectors` holds `len * dimensions` floats, as Vectors checked; `out` is a
            // valid place for a pointer. All are borrowed for the call alone.
            unsafe {
                lake_build(
                    description.as_ptr(),
                    dimensions,
                    metric.number(),
                    ef_construction,
                    threads,
                    vectors.len() as u64,
                    vectors.values().as_ptr(),
                    &raw mut out,
                    message,
                )
            }
        })?;
        Self::owning(out, "build an index")
    }

    /// Parses an index file whose structure [`crate::format`] has walked: FAISS itself does not look where it reads.
    pub(crate) fn read(walked: &[u8]) -> Result<Self> {
        let mut out = ptr::null_mut();
        call("read an index", |message| {
            // SAFETY: pointer and length are of one slice, borrowed for the call: FAISS copies what it keeps.
            unsafe { lake_read(walked.as_ptr(), walked.len(), &raw mut out, message) }
        })?;
        Self::owning(out, "read an index")
    }

    /// Writes the file; the writer's own error comes back as it was.
    pub(crate) fn write(&self, writer: &mut dyn Write) -> Result<()> {
        let mut sink = Sink { writer, failure: None };
        let status = call("write an index", |message| {
            // SAFETY: the index is alive; `context` is a `Sink` that outlives the call, which is all that `take_bytes` asks for.
            unsafe { lake_write(self.0.as_ptr(), take_bytes, (&raw mut sink).cast(), message) }
        });
        match sink.failure {
            Some(error) => Err(FaissError::Write(error)),
            None => status,
        }
    }

    pub(crate) fn facts(&self) -> Result<Facts> {
        self.raw_facts().map(|facts| Facts {
            count: facts.count,
            bytes: facts.bytes,
            dimensions: facts.dimensions,
            metric: facts.metric,
            kind: facts.kind,
        })
    }

    /// The vectors of an index that is nothing but them.
    pub(crate) fn flat(&self) -> Option<Vectors<'_>> {
        let facts = self.raw_facts().ok().filter(|facts| !facts.flat.is_null())?;
        let dimensions = usize::try_from(facts.dimensions).ok()?;
        let values = usize::try_from(facts.count).ok()?.checked_mul(dimensions)?;
        // SAFETY: the shim says that `flat` points to `count * dimensions` floats that the index owns, in a vector from the
        // allocator, so aligned; the index never changes, and the borrow of `self` keeps it alive.
        let values = unsafe { slice::from_raw_parts(facts.flat, values) };
        Vectors::new(values, dimensions).ok()
    }

    /// Ordinals and scores, nearest first; -1 is no hit.
    pub(crate) fn search(&self, query: &Query<'_>) -> Result<(Vec<i64>, Vec<f32>)> {
        let (mut ordinals, mut scores) = (vec![-1; query.k], vec![0.0; query.k]);
        let raw = RawQuery {
            vector: query.vector.as_ptr(),
            k: query.k,
            candidates: query.candidates,
            ef_search: query.ef_search,
            nprobe: query.nprobe,
            live: query.live.map_or(ptr::null(), |live| live.words().as_ptr()),
            live_bits: query.live.map_or(0, Bitmap::len),
        };
        call("search", |message| {
            // SAFETY: the index is alive; the vector has its dimensions, the bitmap `live_bits` bits, and both results room for
            // `k`, which `Index::search` and the lines above see to. All are borrowed for the call alone.
            unsafe { lake_search(self.0.as_ptr(), &raw const raw, scores.as_mut_ptr(), ordinals.as_mut_ptr(), message) }
        })?;
        Ok((ordinals, scores))
    }

    fn raw_facts(&self) -> Result<RawFacts> {
        let mut facts = RawFacts { count: 0, bytes: 0, flat: ptr::null(), dimensions: 0, metric: 0, kind: 0 };
        call("describe an index", |message| {
            // SAFETY: the index is alive, and `facts` is a valid place for its answer.
            unsafe { lake_describe(self.0.as_ptr(), &raw mut facts, message) }
        })?;
        Ok(facts)
    }

    fn owning(pointer: *mut RawIndex, action: &'static str) -> Result<Self> {
        NonNull::new(pointer).map(Self).ok_or_else(|| refused(action, "no index came back"))
    }
}

/// What `lake_write` writes to.
struct Sink<'a> {
    writer: &'a mut dyn Write,
    failure: Option<io::Error>,
}

/// Called by the shim with each piece of a file.
///
/// # Safety
/// `context` must point to a [`Sink`] that nothing else uses meanwhile, `bytes` to `length` readable bytes.
unsafe extern "C" fn take_bytes(context: *mut c_void, bytes: *const u8, length: usize) -> bool {
    // SAFETY: this function's own contract, which `Handle::write` keeps.
    let (sink, bytes) = unsafe { (&mut *context.cast::<Sink<'_>>(), slice::from_raw_parts(bytes, length)) };
    // A writer that panics must not unwind through C++.
    let written = catch_unwind(AssertUnwindSafe(|| sink.writer.write_all(bytes)));
    sink.failure = written.unwrap_or_else(|_| Err(io::Error::other("the writer panicked"))).err();
    sink.failure.is_none()
}

/// Makes a call that answers a status, and turns that into a result.
fn call(action: &'static str, shim: impl FnOnce(RawMessage) -> i32) -> Result<()> {
    let mut text = [0u8; MESSAGE_BYTES];
    let status = shim(RawMessage { text: text.as_mut_ptr().cast(), capacity: text.len() });
    match status {
        OK => Ok(()),
        MEMORY => Err(FaissError::OutOfMemory { action }),
        SINK => Err(FaissError::Write(io::ErrorKind::WriteZero.into())),
        _ => {
            let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
            Err(refused(action, &String::from_utf8_lossy(&text[..end])))
        }
    }
}

/// FAISS puts the C++ function, file and line in front of a message; they help nobody here, and name the building machine's folders.
fn refused(action: &'static str, message: &str) -> FaissError {
    const LONGEST: usize = 240;
    let after_place =
        message.rmatch_indices(".cpp:").next().and_then(|(at, _)| message[at..].split_once(": ")).map(|(_, rest)| rest);
    let after_check = after_place.unwrap_or(message);
    let reason = after_check.split_once("failed: ").map_or(after_check, |(_, rest)| rest);
    let printable = |letter: char| if letter.is_control() { ' ' } else { letter };
    FaissError::Refused { action, reason: reason.trim().chars().take(LONGEST).map(printable).collect() }
}

#[cfg(test)]
mod tests {
    use super::refused;

    fn check(message: &str, expected: &str) {
        let text = refused("build an index", message).to_string();
        assert_eq!(text, format!("FAISS refused to build an index: {expected}"));
    }

    #[test]
    fn a_message_keeps_its_reason_and_loses_its_place() {
        check(
            "Error in void faiss::ProductQuantizer::set_derived_values() at /home/x/impl/ProductQuantizer.cpp:51: \
             Error: 'd % M == 0' failed: d should be a multiple of M",
            "d should be a multiple of M",
        );
        check("Error in f() at a.cpp:1: Error in g() at b.cpp:22: not implemented", "not implemented");
        check("plain\nwords", "plain words");
        check(&"x".repeat(1_000), &"x".repeat(240));
    }
}
