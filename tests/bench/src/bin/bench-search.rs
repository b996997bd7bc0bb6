//! `bench-search`: what search promises. `bench-search NAME…` runs only the named parts.

use std::process::ExitCode;

fn main() -> ExitCode {
    lakehouse_bench::run("bench-search", &["text", "search"])
}
