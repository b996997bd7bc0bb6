//! The hidden child that compiles components: stdin wasm, stdout machine code, limits set by whoever started it.

use std::process::ExitCode;

pub(crate) fn compile_component() -> ExitCode {
    lakehouse_plugins::compile_child()
}
