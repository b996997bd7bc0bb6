//! `bench-core`: what the core promises. `bench-core NAME…` runs only the named parts.

use std::process::ExitCode;

fn main() -> ExitCode {
    lakehouse_bench::run("bench-core", &["mask", "pii", "query", "server"])
}
