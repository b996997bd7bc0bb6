//! The `lakehouse` binary with fault injection compiled in: what the trials start, kill and start again.

use std::process::ExitCode;

// Linked for its feature `test-util`, which the shipped binary does not have.
use lakehouse_storage as _;

fn main() -> ExitCode {
    if let (Some(into), Some(of)) = (std::env::var_os("LAKEHOUSE_POWER"), std::env::var_os("LAKEHOUSE_POWER_OF")) {
        lakehouse_power::begin(of.as_ref(), into.as_ref()).expect("what is synced can be recorded");
    }
    lakehouse_cli::run(std::env::args_os())
}
