//! One file per chapter of the story.
//!
//! **Invariant**: a chapter begins, checks and ends by itself; it knows the server by HTTP alone.

mod erasure;
mod free_text;
mod hostile;
mod ingest;
mod restart;
mod search;
mod stage;
mod swap;
mod tombstones;
mod truth;
mod view;

pub(super) use erasure::erasure;
pub(super) use free_text::free_text;
pub(super) use hostile::hostile;
pub(super) use ingest::{candidates, your_rows};
pub(super) use restart::restart;
pub(super) use search::search;
pub(super) use stage::Stage;
pub(super) use swap::swap;
pub(super) use tombstones::tombstones;
pub(super) use truth::truth;
pub(super) use view::view;
