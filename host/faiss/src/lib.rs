//! Safe FAISS: immutable vector indexes that many threads search at once, and exact search over raw vectors.
//!
//! **Invariant**: an [`Index`] never changes once it is there; a search answers ordinals that exist and are live, nearest first,
//! equal scores by ordinal. FAISS sees only finite numbers and only files whose whole structure was walked before, because it
//! checks neither: damaged bytes are an error or another answer, never a crash.
//!
//! All unsafe code that has to do with FAISS is in this crate: the declarations of the C++ shim (`shim/`), and one block a call.

mod bitmap;
mod builder;
mod error;
pub mod exact;
mod factory;
mod ffi; // the shim's calls, and the only unsafe code
mod format; // FAISS files, walked before they are parsed
mod index;
mod kernel;
mod metric;
mod search;
mod spec;
mod vectors;

pub use bitmap::Bitmap;
pub use builder::Builder;
pub use error::{FaissError, Result};
pub use factory::Factory;
pub use index::{Index, Kind};
pub use metric::{Hit, Metric};
pub use search::{MAX_NEIGHBOURS, SearchParameters};
pub use spec::IndexSpec;
pub use vectors::{MAX_DIMENSIONS, MAX_MAGNITUDE, MAX_VECTORS, Vectors};

// Built and linked for its libraries; its own bindings go unused.
use faiss_sys as _;

#[cfg(target_endian = "big")]
compile_error!("FAISS writes its files in the machine's byte order, and these are read as little-endian");

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
