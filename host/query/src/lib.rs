//! Answers SQL under the rules of whoever asks.
//!
//! **Invariants**: only reading statements run; a name that the caller may not read is answered exactly as one that does not exist;
//! hidden rows and raw values never reach an expression of the caller, nor an error, nor a plan that the caller may see; a query
//! sees one version of every dataset, view and rule from its start to its end.

mod account; // memory that DataFusion does not count
mod aside; // joins on threads of their own
mod built; // what functions have built and somebody holds
mod engine; // queries: admission, deadline, memory, rows out
mod error; // what can go wrong, without values
mod explain; // plans as text, for whoever may see them
pub mod format; // answers as bytes
mod functions; // what a statement may call
mod govern; // tombstones, row filters and redactions around a table
mod guard; // which statements are answered at all
#[cfg(test)]
mod harness; // statements over tables in memory
mod history; // what runs and what ran
mod idents; // column names in the case of their source
mod late; // scans that joins inform
mod literals; // statements without what they say of anybody
mod names; // table names for one principal and profile
mod oversight; // what DataFusion is told of the query it works for
mod pages; // answers in pages
mod params; // values of a statement's parameters
mod places; // where in a statement something failed
mod result_cache; // small answers that are given again
mod run; // one query on the CPU runtime
mod session; // the DataFusion session of one request
mod similar; // did-you-mean
mod spill; // where what does not fit into memory goes
mod steps; // equal steps that the optimizer would take for one
mod view; // view definitions: what a base and its rules make of them
mod watch; // deadline and cancellation inside long loops

pub use engine::{
    Described, Governance, Listed, MAX_SAMPLE_ROWS, QueryCounts, QueryEngine, QueryOptions, QueryRequest, ReadRequest, Reading,
    RuleTrial, Sample, Shown, TrialReport, ViewTrial,
};
pub use error::QueryError;
pub use govern::{Hidden, RowRedactor, RowRule};
pub use history::{KEPT, QueryRecord, QueryState, Started};
pub use names::{CATALOG, SCHEMA};
pub use pages::{KEPT_FOR, KEPT_OF_A_KEY};
pub use params::Params;
pub use places::Place;
pub use result_cache::CacheCounts;
pub use run::{Answer, Outcome};
