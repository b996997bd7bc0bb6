//! The `lakehouse` binary: everything is in the library, so that the trials run the very same code.

use std::process::ExitCode;

fn main() -> ExitCode {
    lakehouse_cli::run(std::env::args_os())
}
