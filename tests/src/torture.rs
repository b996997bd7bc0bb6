//! How long the trials go on that could go on for ever, and what they tell at their end.

use std::io::Write;

/// `make torture` sets it.
const VARIABLE: &str = "LAKEHOUSE_TORTURE";

/// So many rounds in `make test`, so many in `make torture`.
pub(crate) fn rounds(tested: u64, tortured: u64) -> u64 {
    if std::env::var_os(VARIABLE).is_some() { tortured } else { tested }
}

/// A line of counts, past the harness that keeps back what a test prints.
pub(crate) fn told(what: &str, counts: &[(&str, u64)]) {
    if std::env::var_os(VARIABLE).is_some() {
        let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let _ = writeln!(std::io::stderr(), "TORTURE {what}: {}", counts.join(", "));
    }
}
