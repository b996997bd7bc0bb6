//! HTTP in front of the engine: routes, keys, problems, OpenAPI, metrics, limits.
//!
//! **Invariant**: only this crate and the command line know HTTP and wire JSON. Every route is in one table, behind one guard;
//! every failure is a problem written in one file; every answer has a request id.

mod answer; // successes
mod app; // shared state, the router
mod body; // bodies in bounds
mod credentials; // where a key stands in a request
mod envelope; // request id, log line, metrics, panics
mod flight; // the same over gRPC
mod guard; // key, role, profile, size, time
mod head; // heads in bounds
mod later; // long work as a job
mod lineage; // traces that a caller began
mod listeners; // sockets
mod manners; // heads that are no requests
mod metrics;
mod openapi;
mod origin; // which web page asks
mod parting; // answers that break off
mod patience; // writes that do not wait for ever
mod problem; // failures
mod request; // extractors
mod route; // what an entry of the table is
mod routes; // the table
mod serve; // the listener
mod tls; // certificates

#[cfg(test)]
mod tests;

pub use listeners::Listeners;
pub use problem::Problem;
pub use serve::{router, serve};
pub use tls::{Tls, TlsError};
