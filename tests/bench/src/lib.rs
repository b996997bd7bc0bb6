//! What the lakehouse promises, measured. Ratios stand beside the bare thing in the same run; a miss stays visible and makes the
//! run fail.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints")]

mod bar;
mod host;
mod mask;
mod pii;
mod plugins;
mod query;
mod search;
mod server;
mod storage;
mod swap;
mod text;

use std::process::ExitCode;

use bar::Bars;
use host::Failure;

pub use storage::PARTS as STORAGE;

/// Runs the parts that the program's arguments name, of these; all of them when they name none.
pub fn run(program: &str, parts: &[&str]) -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = asked.iter().find(|part| !parts.contains(&part.as_str())) {
        eprintln!("{program}: no part `{unknown}`; there are {}", parts.join(", "));
        return ExitCode::from(2);
    }
    let mut bars = Bars::default();
    let wanted = |part: &str| parts.contains(&part) && (asked.is_empty() || asked.iter().any(|name| name == part));
    match measure(&mut bars, wanted) {
        Err(failure) => {
            eprintln!("{program}: {failure}");
            ExitCode::FAILURE
        }
        Ok(()) if bars.missed().is_empty() => ExitCode::SUCCESS,
        Ok(()) => {
            eprintln!("{program}: missed {}", bars.missed().join(", "));
            ExitCode::FAILURE
        }
    }
}

fn measure(bars: &mut Bars, wanted: impl Fn(&str) -> bool) -> Result<(), Failure> {
    let io = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let cpu = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if wanted("mask") || wanted("pii") || wanted("text") {
        let components = io.block_on(plugins::Components::open(io.handle().clone(), cpu.handle().clone()))?;
        if wanted("mask") {
            cpu.block_on(mask::run(bars, &components))?;
        }
        if wanted("pii") {
            cpu.block_on(pii::run(bars, &components))?;
        }
        if wanted("text") {
            cpu.block_on(text::run(bars, &components))?;
        }
    }
    if wanted("query") {
        io.block_on(query::run(bars))?;
    }
    if wanted("server") {
        io.block_on(server::run(bars))?;
    }
    io.block_on(storage::run(bars, &wanted))?;
    if wanted("search") {
        io.block_on(search::run(bars))?;
    }
    Ok(())
}
