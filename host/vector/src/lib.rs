//! Text and vectors made searchable: chunk, embed, keep in segments, search.
//!
//! **Invariants**: a segment's objects never change, and are used only while their checksums hold; an ordinal is the position of a
//! vector, and the ordinals of one row lie side by side; a search answers live rows of the mask that it was given, and never fewer
//! than asked for while there are as many. Who may see a row is decided by whoever makes the mask.

mod cache; // parts of segments in memory, within a bound
mod draft; // a segment on its way
mod embed; // rows → chunks → vectors
mod error;
mod files; // objects with checksums
mod index; // an index in memory
mod keys; // row keys → rows
mod litter; // objects that nobody uses
mod mask; // which ordinals may be found
mod purge; // segments without the rows that are gone
mod refresh; // what changed, embedded
mod rows; // row keys, document ids, spans
mod search;
mod text; // chunks' texts

pub use embed::{Embedding, Source, id_type};
pub use error::{Result, VectorError};
pub use files::Indexes;
pub use index::{Loaded, Need};
pub use litter::{folder_of_index, folder_of_segment, sweep, sweep_folders};
pub use mask::{Mask, MaskBuilder};
pub use purge::{Purged, purge};
pub use refresh::{Counts, Keep, Plan, Refreshed, Structure, refresh};
pub use search::{Chunk, Found, Method, Query, Searched, numbers_to_compare, search};

#[cfg(test)]
mod tests;
