//! What the lakehouse promises, measured. Ratios stand beside the bare thing in the same run; a miss stays visible and makes the
//! run fail.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints")]

mod auth;
mod bar;
mod bare;
mod governed;
mod host;
mod mask;
mod one_row;
mod pii;
mod plugins;
mod python;
mod query;
mod search;
mod server;
mod storage;
mod swap;
mod text;
mod tpch;

use std::{path::PathBuf, process::ExitCode};

use bar::Bars;
use host::Failure;

pub use storage::PARTS as STORAGE;

/// Is the server that one part compares with, when the program was started as that.
pub fn serve_bare_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    arguments.next().filter(|first| first == bare::ARGUMENT)?;
    let answer = PathBuf::from(arguments.next()?);
    Some(bare::serve(&answer).map_or_else(
        |failure| {
            eprintln!("{}: {failure}", bare::ARGUMENT);
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    ))
}

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
    if wanted("tpch") || wanted("views") {
        let lake = io.block_on(tpch::Lake::fill())?;
        if wanted("tpch") {
            io.block_on(tpch::run(bars, &lake))?;
        }
        if wanted("views") {
            io.block_on(governed::run(bars, &lake))?;
        }
    }
    if wanted("one_row") {
        io.block_on(one_row::run(bars))?;
    }
    if wanted("auth") {
        io.block_on(auth::run(bars))?;
    }
    Ok(())
}
