//! The event log: who changed what, in order, tamper-evident.
//!
//! **Invariant**: every change and its events are one metadata transaction; sequence numbers have no gaps; each link of the
//! chain covers its predecessor and a salted commitment to its event, so an event's payload can be erased later without
//! breaking the chain, and a row key appears in it only as a keyed hash.

mod chain;
mod denials;
mod error;
mod event;
mod journal;
mod pseudonym;
mod read;
mod system;

pub use error::{JournalError, Result};
pub use event::{Draft, Event, EventKind, Outcome, Proof, Stamp};
pub use journal::{Journal, Stats};
pub use read::{Filter, Page};
pub use system::SystemActor;
