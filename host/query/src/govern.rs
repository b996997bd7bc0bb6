//! A relation whose rows and values are governed: tombstones, then the row filter, then redactions.
//!
//! **Invariant**: for the optimizer it is a leaf. User predicates are evaluated on what it gives out, never on what it reads; the
//! one exception is `column op literal` of equal type on columns that are given out as they are, where evaluating early can
//! neither fail nor tell more than evaluating late.

mod deal;
mod exec;
mod filter;
mod pieces;
mod pushdown;
mod relation;
mod rule;
mod stacked;
mod stream;
mod visible;

use exec::GovernExec;
pub(crate) use filter::RowFilter;
pub(crate) use relation::{Governed, OutputColumn};
pub use rule::{Hidden, RowRedactor, RowRule};
pub(crate) use stacked::Upper;

#[cfg(test)]
mod tests;
