//! The server of the story: a child process on a free port with a folder of its own.
//!
//! **Invariant**: it never outlives the story: it is killed when dropped, before its folder goes, and stops by itself when its stdin
//! closes.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use lakehouse_types::random_bytes;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::components::Components;
use crate::{client::Client, commands::LISTENS, failure::Failure};

/// How long a start may take; a slow disk needs some of it.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a killed process may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// The end of the log that is shown when a start failed.
const SHOWN_LINES: usize = 8;

pub(super) struct Lake {
    /// Dropped first: it writes into the folder.
    server: Option<Server>,
    folder: TempDir,
    admin_key: String,
}

struct Server {
    process: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.start_kill();
        let killed = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) && killed.elapsed() < KILL_LIMIT {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Lake {
    /// Prepares the folder and starts the server in it.
    pub(super) async fn start(components: &Components) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("lakehouse-demo-").tempdir()?;
        components.ship(&folder.path().join("distribution"))?;
        let admin_key = random_bytes::<24>().iter().fold(String::from("demo-"), |key, byte| key + &format!("{byte:02x}"));
        let mut lake = Self { server: None, folder, admin_key };
        lake.boot().await?;
        Ok(lake)
    }

    pub(super) fn url(&self) -> &str {
        self.server.as_ref().map_or("", |server| &server.url)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client with the admin key.
    pub(super) fn admin(&self) -> Result<Client, Failure> {
        Client::with(self.url(), Some(self.admin_key.clone()), None)
    }

    /// `kill -9`, and a new start on the same folder.
    pub(super) async fn kill_and_restart(&mut self) -> Result<(), Failure> {
        if let Some(mut server) = self.server.take() {
            server.process.kill().await?;
        }
        self.boot().await
    }

    /// Kills the server and removes the folder, unless it is to be kept.
    pub(super) async fn close(mut self, keep: bool) -> Result<Option<PathBuf>, Failure> {
        if let Some(mut server) = self.server.take() {
            server.process.kill().await?;
        }
        if keep {
            return Ok(Some(self.folder.keep()));
        }
        self.folder.close()?;
        Ok(None)
    }

    async fn boot(&mut self) -> Result<(), Failure> {
        let log_path = self.folder.path().join("server.log");
        let log = File::options().create(true).append(true).open(&log_path)?;
        let mut process = Command::new(std::env::current_exe()?)
            .args(["serve", "--listen", "127.0.0.1:0", "--until-stdin-closes", "--data"])
            .arg(self.data())
            .arg("--plugins")
            .arg(self.folder.path().join("distribution"))
            .env("LAKEHOUSE_ADMIN_KEY", &self.admin_key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let started = tokio::time::timeout(START_LIMIT, listening(&mut process)).await;
        match started.ok().flatten() {
            Some(url) => {
                self.server = Some(Server { process, url });
                Ok(())
            }
            None => {
                let log = std::fs::read_to_string(&log_path).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let end = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n  ");
                Err(Failure::Start(format!("the server did not start; the end of its log:\n  {end}")))
            }
        }
    }
}

/// Reads until the line that says where it listens; what it prints later is read and forgotten.
async fn listening(process: &mut Child) -> Option<String> {
    let mut lines = BufReader::new(process.stdout.take()?).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(url) = line.strip_prefix(LISTENS) {
            let url = url.trim().to_owned();
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Some(url);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::process::Command;

    use super::{Lake, Server};

    #[tokio::test]
    async fn a_dropped_server_is_dead_before_its_folder_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let busy = "while :; do i=$((i + 1)); : > \"$0/$i\"; done 2> /dev/null";
        let process = Command::new("sh").args(["-c", busy]).arg(&path).stdin(Stdio::null()).spawn().unwrap();
        while std::fs::read_dir(&path).unwrap().count() < 1_000 {
            tokio::task::yield_now().await;
        }
        drop(Lake { server: Some(Server { process, url: String::new() }), folder, admin_key: String::new() });
        assert!(!path.exists());
    }
}
