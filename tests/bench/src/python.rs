//! The Python that has what we compare with.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::host::Failure;

/// The variable that names it.
const PYTHON: &str = "LAKEHOUSE_BENCH_PYTHON";

/// The interpreter.
pub(crate) fn python() -> Result<PathBuf, Failure> {
    let named = env::var_os(PYTHON).ok_or_else(|| format!("{PYTHON} names no Python with our peers: `make bench-…` does"))?;
    Ok(named.into())
}

/// A command that was installed beside it.
pub(crate) fn installed(command: &str) -> Result<PathBuf, Failure> {
    // Not resolved: the interpreter of an environment is a link to the machine's own.
    Ok(python()?.parent().unwrap_or(Path::new(".")).join(command))
}
