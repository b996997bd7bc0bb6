//! The attacks that do not depend on the kind of rule: on time, memory, the stack, the log.
//!
//! **Invariant**: those that are meant to return leave no trace in the answer.

use std::hint::black_box;

use lakehouse_sdk::log;
use lakehouse_sdk::raw::redactor::lakehouse::plugin::types;

use crate::config::{Attack, Evil};

const LINES: usize = 20_000;
const LINE_BYTES: usize = 1024;
const PAGE_BYTES: usize = 1 << 16;

/// Carries out an attack that needs no look at the answer; what it returns goes out as the error of the call.
pub(crate) fn run(evil: &Evil, first_value: &str) -> Result<(), types::Error> {
    match evil.attack {
        Attack::Loop => endless(),
        Attack::Sleep => sleep(),
        Attack::Spin => spin(evil.spin_millions),
        Attack::SpinThenSleep => {
            spin(evil.spin_millions);
            log::info("falling asleep");
            sleep();
        }
        Attack::Memory => memory(),
        Attack::MemoryGrow => memory_grow(),
        Attack::Recursion => {
            black_box(recursion(0));
        }
        Attack::Unreachable => core::arch::wasm32::unreachable(),
        Attack::Panic => panic!("told to panic over {first_value}"),
        Attack::Exit => std::process::exit(0),
        Attack::HugeError => return Err(types::Error::Internal(huge(evil.size_mib, 'e'))),
        Attack::ControlCharsError => return Err(types::Error::Internal(control_characters(first_value))),
        Attack::LogFlood => (0..LINES).for_each(|_| log::info(&"l".repeat(LINE_BYTES))),
        Attack::LogHuge => log::warn(&(control_characters(first_value) + &huge(evil.size_mib, 'l'))),
        Attack::StderrFlood => stderr_flood(),
        _ => {}
    }
    Ok(())
}

/// What a call does first: nothing and false unless it is triggered, then the attack, and true if it is still to lie.
pub(crate) fn begin(evil: &Evil, data: &[u8], rows: usize) -> Result<bool, types::Error> {
    if !evil.is_triggered_by(data, rows) {
        return Ok(false);
    }
    run(evil, &String::from_utf8_lossy(data))?;
    Ok(true)
}

/// Before anything is known but the configuration.
pub(crate) fn at_open(evil: &Evil) -> Result<(), types::Error> {
    match evil.attack {
        Attack::LoopInOpen => endless(),
        Attack::LogThenRefuse => {
            log::info("about to refuse");
            Err(types::Error::InvalidConfig("told to refuse".into()))
        }
        Attack::ControlCharsInOpen => Err(types::Error::InvalidConfig(control_characters("no value"))),
        _ => Ok(()),
    }
}

pub(crate) fn endless() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

fn spin(millions: u32) {
    for turn in 0..u64::from(millions) * 1_000_000 {
        black_box(turn);
    }
}

fn sleep() {
    std::thread::sleep(std::time::Duration::from_secs(3600));
}

pub(crate) fn huge(size_mib: u32, of: char) -> String {
    of.to_string().repeat((size_mib as usize) << 20)
}

/// Ends a line and forges the next, clears a screen, sets a window title, rings, turns the reading direction.
pub(crate) fn control_characters(value: &str) -> String {
    format!("evil\r\nERROR forged line\u{1b}[2J\u{1b}]0;owned\u{7}\u{0}\u{202e}{value}\u{9b}31m")
}

fn memory() {
    let mut hoard = Vec::new();
    loop {
        hoard.push(vec![1_u8; 1 << 20]);
        black_box(&hoard);
    }
}

fn memory_grow() {
    while core::arch::wasm32::memory_grow::<0>((1 << 20) / PAGE_BYTES * 16) != usize::MAX {}
}

#[expect(unconditional_recursion, reason = "that is the attack")]
fn recursion(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recursion(frame[63] + 1) + black_box(frame[0])
}

#[expect(clippy::print_stderr, reason = "that is the attack")]
fn stderr_flood() {
    for _ in 0..LINES {
        eprintln!("{}", "s".repeat(LINE_BYTES));
    }
}
