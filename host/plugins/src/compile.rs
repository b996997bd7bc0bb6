//! Wasm to native code, in a child that cannot hurt us.
//!
//! **Invariant**: the process that serves requests never runs the compiler on foreign bytes; the child has bounded memory, CPU
//! time, wall time and output, and an empty environment.

mod child;

use std::{ffi::OsString, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

pub use child::compile_child;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    sync::Semaphore,
};

use crate::{
    PluginError,
    compile::child::{HEADER_BYTES, MAGIC, header},
    error::Check,
    message::escape,
};

/// Compiled code may be this much larger than its source.
const EXPANSION: u64 = 40;
/// Artifacts below this size are always allowed.
const MIN_ARTIFACT_BYTES: u64 = 32 << 20;
/// What is kept of a child's complaint.
const MAX_REASON_BYTES: usize = 1000;
/// What may stand before the artifact on standard output.
const MAX_PREAMBLE_BYTES: usize = 4096;

/// How components are compiled: a program that calls [`compile_child`].
#[derive(Debug, Clone)]
pub struct Compiler {
    /// `None`: in this process, without protection; for tests and tools that compile their own components.
    program: Option<PathBuf>,
    args: Vec<OsString>,
    deadline: Duration,
    memory_bytes: u64,
    /// One compilation at a time: the rest of the machine serves requests.
    turn: Arc<Semaphore>,
}

impl Compiler {
    /// This very program, called as `compile-component`.
    ///
    /// # Errors
    /// When the program's own path is unknown.
    pub fn this_program() -> std::io::Result<Self> {
        Ok(Self::program(std::env::current_exe()?, ["compile-component"]))
    }

    /// `program args…`, which must end in [`compile_child`].
    pub fn program(program: impl Into<PathBuf>, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self { program: Some(program.into()), args: args.into_iter().map(Into::into).collect(), ..Self::in_process() }
    }

    /// In this process: no child, no limits. Not for foreign components.
    pub fn in_process() -> Self {
        Self {
            program: None,
            args: Vec::new(),
            deadline: Duration::from_secs(60),
            memory_bytes: 2 << 30,
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// How long one compilation may take (default 60 s), and what it may allocate (default 2 GiB).
    #[must_use]
    pub fn with_limits(mut self, deadline: Duration, memory_bytes: u64) -> Self {
        self.deadline = deadline;
        self.memory_bytes = memory_bytes;
        self
    }

    /// Compiles a component, or says what is wrong with it.
    pub(crate) async fn compile(&self, wasm: bytes::Bytes) -> Result<Vec<u8>, PluginError> {
        let _turn = self.turn.acquire().await.map_err(|error| PluginError::host("the compiler is gone", error))?;
        let outcome = match &self.program {
            Some(program) => self.compile_in(program, &wasm).await?,
            None => tokio::task::spawn_blocking(move || child::compile(&wasm).map_err(|error| error.to_string()))
                .await
                .map_err(|error| PluginError::host("compiling in this process", error))?,
        };
        outcome
            .map_err(|reason| PluginError::Refused { checks: vec![Check::failed("compile", escape(&reason, MAX_REASON_BYTES))] })
    }

    async fn compile_in(&self, program: &PathBuf, wasm: &[u8]) -> Result<Result<Vec<u8>, String>, PluginError> {
        let mut child = Command::new(program)
            .args(&self.args)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| PluginError::host("starting the compiler", error))?;
        let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
            return Err(PluginError::host("starting the compiler", "no pipes"));
        };
        let max_artifact = (wasm.len() as u64).saturating_mul(EXPANSION).max(MIN_ARTIFACT_BYTES);
        let cpu_s = self.deadline.as_secs().max(1) + 1;
        let feed = async {
            // A child that dies early says why on its standard error, and by its status.
            let _ = stdin.write_all(&header(wasm.len() as u64, self.memory_bytes, cpu_s)).await;
            let _ = stdin.write_all(wasm).await;
            drop(stdin);
        };
        let (mut artifact, mut complaint) = (Vec::new(), Vec::new());
        let mut stdout = stdout.take(max_artifact + (MAX_PREAMBLE_BYTES + HEADER_BYTES) as u64);
        let mut stderr = stderr.take(MAX_REASON_BYTES as u64 * 4);
        let work = async {
            let (_, read, _) = tokio::join!(feed, stdout.read_to_end(&mut artifact), stderr.read_to_end(&mut complaint));
            read?;
            drop((stdout, stderr));
            child.wait().await
        };
        let status = match tokio::time::timeout(self.deadline, work).await {
            Err(_) => return Ok(Err(format!("compiling took longer than {:?}", self.deadline))),
            Ok(status) => status.map_err(|error| PluginError::host("waiting for the compiler", error))?,
        };
        let complaint = String::from_utf8_lossy(&complaint);
        if status.success() {
            return Ok(cut_artifact(artifact).ok_or_else(|| "the compiler returned no code".to_owned()));
        }
        if status.code() == Some(child::REFUSED) {
            return Ok(Err(complaint.trim().to_owned()));
        }
        let mib = self.memory_bytes >> 20;
        Ok(Err(format!("the compiler ended without a result ({status}); it may use {mib} MiB and {cpu_s} s of CPU time")))
    }
}

/// The artifact behind its magic number and length; test harnesses print a line of their own before it.
fn cut_artifact(mut output: Vec<u8>) -> Option<Vec<u8>> {
    let start = output.windows(MAGIC.len()).take(MAX_PREAMBLE_BYTES).position(|window| window == MAGIC)? + MAGIC.len();
    let length = u64::from_le_bytes(output.get(start..start + 8)?.try_into().ok()?);
    let body = start + 8;
    let end = body.checked_add(usize::try_from(length).ok()?)?;
    if end > output.len() {
        return None;
    }
    output.truncate(end);
    output.drain(..body);
    Some(output)
}

#[cfg(test)]
pub(crate) mod tests;
