//! Others' packages, in the Python that `make test` makes for them.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

/// The interpreter with the packages of `.ci/setup`.
pub(crate) fn python() -> PathBuf {
    let exe = std::env::current_exe().expect("a test binary");
    let python = exe.ancestors().nth(3).expect("target/release/deps/trials").join("readers/bin/python");
    assert!(python.exists(), "{} is missing; `make test` makes it", python.display());
    python
}

/// Runs a script to its end, on a thread that may wait, and shows what it said when it fails.
pub(crate) async fn run(script: &'static str, args: Vec<String>) -> Output {
    let told = tokio::task::spawn_blocking(move || Command::new(python()).args(["-c", script]).args(args).output());
    let told = told.await.expect("a thread").expect("Python runs");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(told.status.success(), "{}{}", said(&told.stdout), said(&told.stderr));
    told
}
