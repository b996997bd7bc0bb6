//! A query engine of PyPI in a process of its own, which stays: a line in, a line out.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::{host::Failure, python};

const PROGRAM: &str = include_str!("peer.py");

pub(crate) struct Peer {
    name: &'static str,
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
    answers: TempDir,
}

impl Peer {
    /// With as many threads as the server has for queries: one a core.
    pub(super) fn start(name: &'static str) -> Result<Self, Failure> {
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).to_string();
        let mut child = Command::new(python::python()?)
            .args(["-c", PROGRAM, name, &threads])
            .env("TOKIO_WORKER_THREADS", &threads)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let requests = child.stdin.take().ok_or("a peer without stdin")?;
        let replies = BufReader::new(child.stdout.take().ok_or("a peer without stdout")?);
        Ok(Self { name, child, requests, replies, answers: TempDir::new()? })
    }

    /// Names the tables of a folder that has a folder for each; answers the engine's version.
    pub(super) fn open(&mut self, tables: &str, folder: PathBuf) -> Result<String, Failure> {
        let mut folders = Map::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let table = path.file_name().ok_or("a table without a name")?.to_string_lossy().into_owned();
            // Closed with a slash it is a folder to all of them.
            folders.insert(table, format!("{}/", path.display()).into());
        }
        let reply = self.exchange(&json!({ "on": tables, "tables": folders }))?;
        Ok(reply["version"].as_str().unwrap_or_default().to_owned())
    }

    /// Asks, and answers how long it took.
    pub(super) fn timed(&mut self, tables: &str, sql: &str) -> Result<Duration, Failure> {
        let reply = self.exchange(&json!({ "on": tables, "sql": sql }))?;
        let seconds = reply["seconds"].as_f64().ok_or_else(|| format!("{}: no time in {reply}", self.name))?;
        Ok(Duration::try_from_secs_f64(seconds)?)
    }

    /// Asks for the answer as an Arrow stream.
    pub(super) fn answer(&mut self, tables: &str, sql: &str) -> Result<Vec<u8>, Failure> {
        let path = self.answers.path().join("answer.arrow");
        self.exchange(&json!({ "on": tables, "sql": sql, "save": shown(&path) }))?;
        Ok(fs::read(path)?)
    }

    fn exchange(&mut self, request: &Value) -> Result<Value, Failure> {
        writeln!(self.requests, "{request}").and_then(|()| self.requests.flush())?;
        let mut reply = String::new();
        if self.replies.read_line(&mut reply)? == 0 {
            // It has said why on stderr, which is ours too.
            return Err(format!("{} ended over {request}", self.name).into());
        }
        let reply: Value = serde_json::from_str(&reply)?;
        match reply["error"].as_str() {
            None => Ok(reply),
            Some(error) => Err(format!("{}: {error}", self.name).into()),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
