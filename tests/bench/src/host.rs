//! A server process of our own on a free port, in a folder that goes with it.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;

use crate::plugins;

/// The admin key of the bench's servers.
const KEY: &str = "bench-core-admin-key-of-this-run";

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

pub(crate) struct Host {
    binary: PathBuf,
    folder: TempDir,
    child: Option<Child>,
    base: String,
    client: Client,
}

impl Host {
    /// Starts on an empty folder. What is asked again is read again: the benches measure reading.
    pub(crate) async fn start() -> Result<Self, Failure> {
        Self::start_with("[query]\nresult_cache_mib = 0\n").await
    }

    /// Starts on an empty folder with these settings.
    pub(crate) async fn start_with(settings: &str) -> Result<Self, Failure> {
        let binary = std::env::current_exe()?.with_file_name("lakehouse");
        let mut host = Self {
            binary,
            folder: TempDir::new()?,
            child: None,
            base: String::new(),
            client: Client::builder().no_proxy().build()?,
        };
        std::fs::create_dir(host.config())?;
        std::fs::write(host.config().join("lakehouse.toml"), settings)?;
        host.launch().await?;
        Ok(host)
    }

    /// Starts the process and answers how long it took until `/ready` said yes.
    pub(crate) async fn launch(&mut self) -> Result<Duration, Failure> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        self.base = format!("http://127.0.0.1:{port}");
        let start = Instant::now();
        let child = Command::new(&self.binary)
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data"])
            .arg(self.folder.path())
            .arg("--config")
            .arg(self.config())
            .arg("--plugins")
            .arg(plugins::distribution()?)
            .env("LAKEHOUSE_ADMIN_KEY", KEY)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.child = Some(child);
        loop {
            if let Ok(answer) = self.request(Method::GET, "/ready").send().await
                && answer.status().is_success()
            {
                return Ok(start.elapsed());
            }
            if start.elapsed() > Duration::from_secs(30) {
                return Err("the server was not ready within 30 s".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_at(&self.base, method, path)
    }

    /// The same request to another server.
    pub(crate) fn request_at(&self, base: &str, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{base}{path}")).bearer_auth(KEY)
    }

    /// Sends JSON and expects success.
    pub(crate) async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, Failure> {
        let answer = self.request(method, path).json(body).send().await?;
        checked(answer).await
    }

    pub(crate) async fn push_plugin(&self, name: &str, wasm: Vec<u8>) -> Result<Value, Failure> {
        let answer = self.request(Method::PUT, &format!("/plugins/{name}")).body(wasm).send().await?;
        checked(answer).await
    }

    pub(crate) async fn ingest_csv(&self, dataset: &str, csv: Vec<u8>) -> Result<Value, Failure> {
        self.ingest_as(dataset, "csv", csv).await
    }

    pub(crate) async fn ingest_as(&self, dataset: &str, format: &str, body: Vec<u8>) -> Result<Value, Failure> {
        let path = format!("/ingest/file?dataset={dataset}&format={format}&mode=replace");
        let answer = self.request(Method::POST, &path).body(body).send().await?;
        checked(answer).await
    }

    /// Everything that the server keeps.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Resident memory of the server, MiB.
    pub(crate) fn resident_mib(&self) -> Result<f64, Failure> {
        self.memory_mib("VmRSS:")
    }

    /// The most resident memory that the server ever had, MiB.
    pub(crate) fn peak_mib(&self) -> Result<f64, Failure> {
        self.memory_mib("VmHWM:")
    }

    fn memory_mib(&self, name: &str) -> Result<f64, Failure> {
        let pid = self.child.as_ref().ok_or("no server runs")?.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find(|line| line.starts_with(name)).ok_or("no such figure")?;
        let kib: f64 = line.split_whitespace().nth(1).ok_or("no such figure")?.parse()?;
        Ok(kib / 1_024.0)
    }

    /// A file in place of a dataset's rows, as the command sends it.
    pub(crate) fn ingest_file(&self, dataset: &str, file: &Path) -> Result<(), Failure> {
        let sent = Command::new(&self.binary)
            .args(["ingest", "--url", &self.base, "--key", KEY, "--mode", "replace", "--dataset", dataset])
            .arg(file)
            .stdout(Stdio::null())
            .status()?;
        if sent.success() { Ok(()) } else { Err(format!("{} was not ingested", file.display()).into()) }
    }

    /// Appends rows.
    pub(crate) async fn append(&self, dataset: &str, csv: String) -> Result<Value, Failure> {
        let path = format!("/ingest/file?dataset={dataset}&format=csv");
        let answer = self.request(Method::POST, &path).body(csv).send().await?;
        checked(answer).await
    }

    /// Asks in SQL for an Arrow stream; answers how long it took until all of it was here, and the stream.
    pub(crate) async fn arrow(&self, sql: &str) -> Result<(Duration, Vec<u8>), Failure> {
        let request = self.request(Method::POST, "/query/sql").header("accept", "application/vnd.apache.arrow.stream");
        let begun = Instant::now();
        let answer = request.json(&serde_json::json!({ "sql": sql })).send().await?;
        let status = answer.status();
        let bytes = answer.bytes().await?;
        let took = begun.elapsed();
        if status.is_success() {
            Ok((took, bytes.into()))
        } else {
            Err(format!("{status}: {}", String::from_utf8_lossy(&bytes)).into())
        }
    }

    /// Asks in SQL and answers how long it took.
    pub(crate) async fn timed(&self, sql: &str) -> Result<Duration, Failure> {
        let begun = Instant::now();
        self.send(Method::POST, "/query/sql", &serde_json::json!({ "sql": sql })).await?;
        Ok(begun.elapsed())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn checked(answer: reqwest::Response) -> Result<Value, Failure> {
    let status = answer.status();
    let body: Value = answer.json().await?;
    if status.is_success() { Ok(body) } else { Err(format!("{status}: {body}").into()) }
}
