//! The `lakehouse` binary with fault injection compiled in: what the trials start, kill and start again.

use std::process::ExitCode;

// Linked for its feature `test-util`, which the shipped binary does not have.
use lakehouse_storage as _;

fn main() -> ExitCode {
    lakehouse_cli::run(std::env::args_os())
}
