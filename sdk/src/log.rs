//! Lines for who tries the rule. A dry run shows them, bounded and with control characters escaped; when requests run the rule the
//! host only counts them, because a line may repeat a value. Natively they are kept for the test that runs the rule.
//!
//! **Invariant**: never fails and never blocks, whatever is logged.

#[cfg(not(target_family = "wasm"))]
use std::cell::RefCell;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Writes a line. No value of the data belongs in it.
pub fn write(level: Level, message: &str) {
    #[cfg(target_family = "wasm")]
    crate::guest::log(level, message);
    #[cfg(not(target_family = "wasm"))]
    LINES.with_borrow_mut(|lines| {
        if lines.len() < MOST_LINES {
            lines.push((level, message.to_owned()));
        }
    });
}

pub fn debug(message: &str) {
    write(Level::Debug, message);
}

pub fn info(message: &str) {
    write(Level::Info, message);
}

pub fn warn(message: &str) {
    write(Level::Warn, message);
}

pub fn error(message: &str) {
    write(Level::Error, message);
}

/// Lines kept per thread natively; later ones are dropped, as they are by a host whose limit is reached.
#[cfg(not(target_family = "wasm"))]
const MOST_LINES: usize = 1000;

#[cfg(not(target_family = "wasm"))]
thread_local! {
    static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

/// What was logged on this thread since the last call. Only natively.
#[cfg(not(target_family = "wasm"))]
pub fn take() -> Vec<(Level, String)> {
    LINES.take()
}
