//! The child's side of compilation.

use std::{
    io::{Read, Write},
    process::ExitCode,
};

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::message::escape;

/// Stands before the artifact on standard output.
pub(super) const MAGIC: &[u8; 16] = b"\x00lakehouse-code\x01";
/// Magic and length.
pub(super) const HEADER_BYTES: usize = MAGIC.len() + 8;
/// The exit code that comes with a reason on standard error.
pub(super) const REFUSED: i32 = 3;
/// Longest reason written. The parent reads no more; a pipe that nobody drains would hold this process, and the compiler's turn,
/// until the deadline.
const MAX_REASON_BYTES: usize = 3000;
/// Files a compilation needs: its three pipes.
const MAX_FILES: u64 = 16;
/// Below the priority of whoever serves requests.
const NICENESS: i32 = 10;

/// What the parent writes before the component: its length, the memory limit in bytes, the CPU limit in seconds.
pub(super) fn header(length: u64, memory_bytes: u64, cpu_s: u64) -> [u8; 24] {
    let mut header = [0; 24];
    for (slot, value) in header.chunks_exact_mut(8).zip([length, memory_bytes, cpu_s]) {
        slot.copy_from_slice(&value.to_le_bytes());
    }
    header
}

/// The whole life of a compiling child: limits itself, reads a component from standard input, writes code to standard output.
///
/// Call it first thing in a process of its own; the process should end with the returned code.
#[expect(clippy::print_stderr, reason = "the parent reads the reason here")]
pub fn compile_child() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{}", escape(&reason, MAX_REASON_BYTES));
            u8::try_from(REFUSED).map_or(ExitCode::FAILURE, ExitCode::from)
        }
    }
}

fn run() -> Result<(), String> {
    let mut input = std::io::stdin().lock();
    let mut header = [0; 24];
    input.read_exact(&mut header).map_err(|error| format!("no header: {error}"))?;
    let number = |at: usize| header[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
    let (length, memory_bytes, cpu_s) = (number(0), number(8), number(16));
    limit(memory_bytes, cpu_s).map_err(|error| format!("limits cannot be set: {error}"))?;

    let mut wasm = Vec::new();
    input.take(length).read_to_end(&mut wasm).map_err(|error| format!("reading the component: {error}"))?;
    if wasm.len() as u64 != length {
        return Err("the component ended early".to_owned());
    }
    let artifact = compile(&wasm).map_err(|error| format!("{error:#}"))?;
    let mut output = std::io::stdout().lock();
    let written = output
        .write_all(MAGIC)
        .and_then(|()| output.write_all(&(artifact.len() as u64).to_le_bytes()))
        .and_then(|()| output.write_all(&artifact))
        .and_then(|()| output.flush());
    written.map_err(|error| format!("writing the code: {error}"))
}

fn limit(memory_bytes: u64, cpu_s: u64) -> rustix::io::Result<()> {
    let hard = |value: u64| Rlimit { current: Some(value), maximum: Some(value) };
    setrlimit(Resource::As, hard(memory_bytes))?;
    setrlimit(Resource::Cpu, hard(cpu_s))?;
    setrlimit(Resource::Nofile, hard(MAX_FILES))?;
    setrlimit(Resource::Core, hard(0))?;
    setrlimit(Resource::Fsize, hard(0))?;
    let _ = rustix::process::nice(NICENESS);
    Ok(())
}

/// Validates and compiles.
pub(super) fn compile(wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
    crate::machine::compiler()?.precompile_component(wasm)
}
