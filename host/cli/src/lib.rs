//! The `lakehouse` command line: a server to start, and a client of its HTTP API for everything else.
//!
//! **Invariant**: only `serve` (and the child that compiles components) runs the engine; every other command, `demo` included,
//! knows nothing but HTTP, and shares with the server no more than names: problem codes, formats of files.

mod args; // what can be typed
mod client; // HTTP, problems
mod commands; // one file per command
mod console; // tables, JSON, exit
mod demo; // the story
mod failure; // what went wrong, said kindly
mod generate; // candidates, made up
mod machine; // processor and limits
mod run; // from arguments to an exit code
mod telemetry; // log lines and spans

pub use generate::{Candidate, Candidates, Tally};
pub use run::run;

/// Queries allocate and free many short-lived buffers on many threads, which is what this allocator is for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
