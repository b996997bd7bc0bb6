//! The harness: a real server process in a folder of its own.
//!
//! **Invariant**: a server dies with the test that started it, whatever became of the test: it is killed when dropped, and
//! stops by itself when its stdin closes.

use std::{
    fs,
    io::{BufRead, BufReader},
    ops::Deref,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, OnceLock},
    time::Duration,
};

use lakehouse_cli::Candidates;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{caller::Caller, turn::Turn};

/// The admin's key of every lake.
pub(crate) const ADMIN_KEY: &str = "admin-key-of-the-trials-0123456789";
/// What a distribution holds.
const SHIPPED: [&str; 9] = [
    "redact-mask",
    "redact-hash",
    "redact-null",
    "redact-pii",
    "condition-required-fields",
    "chunk-text",
    "id-prefix",
    "embed-hash",
    "model-openai",
];

/// A running server; asks as the admin.
pub(crate) struct Lake {
    admin: Caller,
    server: Server,
    folder: TempDir,
    options: Options,
    turn: Arc<Turn>,
}

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// The text of `lakehouse.toml`, beside what the harness itself needs.
    pub(crate) config: Option<String>,
    pub(crate) env: Vec<(String, String)>,
    /// Beside those that every server gets.
    pub(crate) args: Vec<&'static str>,
    /// Another folder to begin with than that of a first start.
    pub(crate) copy_of: Option<PathBuf>,
    /// Nothing else runs meanwhile: for what is timed.
    pub(crate) alone: bool,
}

impl Lake {
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// For what is timed.
    pub(crate) async fn start_alone() -> Self {
        Self::start_with(Options { alone: true, ..Options::default() }).await
    }

    pub(crate) async fn start_with(options: Options) -> Self {
        let turn = Arc::new(Turn::take(options.alone).await);
        Self::start_in(turn, options)
    }

    /// A second lake of one test.
    pub(crate) fn start_beside(&self, options: Options) -> Self {
        Self::start_in(Arc::clone(&self.turn), options)
    }

    pub(crate) fn start_in(turn: Arc<Turn>, options: Options) -> Self {
        let folder = TempDir::new().expect("a folder");
        copy(options.copy_of.as_deref().unwrap_or_else(|| first_start()), folder.path());
        let server = Server::start(folder.path(), &options).expect("the server starts");
        let admin = Caller::new(&server.url, Some(ADMIN_KEY));
        Self { admin, server, folder, options, turn }
    }

    /// The dataset `candidates` with this many rows.
    pub(crate) async fn with_candidates(self, rows: u64) -> Self {
        let report =
            self.ingest_with("dataset=candidates&format=csv&key=candidate_id", Candidates { rows }.csv()).await.expect_ok();
        assert_eq!(report["rows"], rows);
        self
    }

    /// The view `candidates_safe`: eight columns, a row filter, the key masked.
    pub(crate) async fn with_safe_view(self) -> Self {
        let view = json!({
            "name": "candidates_safe",
            "base_dataset": "candidates",
            "columns": ["candidate_id", "first_name", "city", "state", "vertical", "years_experience", "hourly_rate", "status"],
            "row_filter": "status <> 'do_not_contact'",
            "column_redactions": { "candidate_id": { "mask": { "keep_prefix": 3, "keep_suffix": 2 } } },
        });
        self.post("/catalog/views", view).await.expect_status(201);
        self
    }

    /// `kill -9`, and a new start on the same folder.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.server.kill();
        self.restart(self.options.env.clone());
    }

    /// SIGTERM, the end awaited, and a new start.
    pub(crate) async fn stop_and_restart(&mut self) {
        self.server.terminate();
        self.restart(self.options.env.clone());
    }

    /// A new start with other variables, after the server died.
    pub(crate) fn restart(&mut self, env: Vec<(String, String)>) {
        self.server.kill();
        self.options.env = env;
        self.server = Server::start(self.folder.path(), &self.options).expect("the server starts again");
        self.admin = Caller::new(&self.server.url, Some(ADMIN_KEY));
    }

    /// `kill -9`, and a new start under other settings.
    pub(crate) fn reconfigure(&mut self, config: &str) {
        self.options.config = Some(config.to_owned());
        self.restart(Vec::new());
    }

    /// What a server says that does not start.
    pub(crate) async fn refuses_to_start(options: Options) -> String {
        let _turn = Turn::beside().await;
        let folder = TempDir::new().expect("a folder");
        copy(first_start(), folder.path());
        let _ = fs::remove_file(folder.path().join("server.log"));
        assert!(Server::start(folder.path(), &options).is_none(), "it starts");
        fs::read_to_string(folder.path().join("server.log")).unwrap_or_default()
    }

    /// Everything that the server keeps.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where Flight SQL is served, by a server that was started with `--flight`.
    pub(crate) fn flight(&self) -> &str {
        self.server.flight.as_deref().expect("it serves Flight SQL")
    }

    /// The server's log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.server.is_alive()
    }

    pub(crate) fn kill(&mut self) {
        self.server.kill();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.server.signal(signal);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.process.id()
    }
}

impl Deref for Lake {
    type Target = Caller;
    fn deref(&self) -> &Caller {
        &self.admin
    }
}

/// One server process.
struct Server {
    process: Child,
    url: String,
    /// Where Flight SQL is, if it was asked for.
    flight: Option<String>,
}

impl Server {
    /// `None` when it ended before it listened, as one does that is killed while it starts.
    fn start(folder: &Path, options: &Options) -> Option<Self> {
        let config = folder.join("config");
        fs::create_dir_all(&config).expect("a folder");
        fs::write(config.join("lakehouse.toml"), options.config.as_deref().unwrap_or("")).expect("a config");
        let log = fs::File::options().create(true).append(true).open(folder.join("server.log")).expect("a log");
        let mut process = Command::new(env!("CARGO_BIN_EXE_lakehouse-under-test"))
            .args(["serve", "--listen", "127.0.0.1:0", "--until-stdin-closes", "--data"])
            .arg(folder.join("data"))
            .arg("--config")
            .arg(&config)
            .arg("--plugins")
            .arg(folder.join("distribution"))
            .env("LAKEHOUSE_ADMIN_KEY", ADMIN_KEY)
            .args(&options.args)
            .envs(options.env.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        let out = process.stdout.take().expect("a pipe");
        let mut flight = None;
        let url = BufReader::new(out).lines().map_while(Result::ok).find_map(|line| {
            if let Some(at) = line.strip_prefix("Flight SQL listens on ") {
                flight = Some(at.to_owned());
            }
            line.strip_prefix("lakehouse listens on ").map(str::to_owned)
        });
        match url {
            Some(url) => Some(Self { process, url, flight }),
            None => {
                let _ = process.kill();
                let _ = process.wait();
                None
            }
        }
    }

    fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the signal is sent");
    }

    fn terminate(&mut self) {
        // Waiting closes it, and that ends the server at once.
        let _open = self.process.stdin.take();
        self.signal(Signal::TERM);
        let ended = self.process.wait().expect("it ends");
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a server that may die before it listens.
pub(crate) struct Doomed {
    server: Option<Server>,
}

impl Doomed {
    pub(crate) fn start(folder: &Path, env: Vec<(String, String)>) -> Self {
        Self { server: Server::start(folder, &Options { env, ..Options::default() }) }
    }

    /// One more on a folder, with these arguments.
    pub(crate) fn start_as(folder: &Path, args: Vec<&'static str>) -> Self {
        Self { server: Server::start(folder, &Options { args, ..Options::default() }) }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(server) = &self.server {
            server.signal(signal);
        }
    }

    /// Whether the process was stopped by a signal.
    pub(crate) fn is_stopped(&self) -> bool {
        self.server.as_ref().is_some_and(|server| {
            let stat = fs::read_to_string(format!("/proc/{}/stat", server.process.id())).unwrap_or_default();
            stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
        })
    }

    /// The admin, when it lived long enough to listen.
    pub(crate) fn admin(&self) -> Option<Caller> {
        self.server.as_ref().map(|server| Caller::new(&server.url, Some(ADMIN_KEY)))
    }

    pub(crate) fn kill(&mut self) {
        if let Some(server) = &mut self.server {
            server.kill();
        }
    }

    /// Whether the process ends by itself before the patience does.
    pub(crate) async fn ends_within(&mut self, patience: Duration) -> bool {
        let Some(server) = &mut self.server else { return true };
        let until = Instant::now() + patience;
        while server.is_alive() {
            if Instant::now() > until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }
}

/// The folder after a first start, made once: components are compiled in it, so that a test's server starts at once.
pub(crate) fn first_start() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
        sweep(root);
        let folder = root.join(format!("first-start-{}", std::process::id()));
        let distribution = folder.join("distribution");
        fs::create_dir_all(&distribution).expect("a folder");
        for name in SHIPPED {
            fs::write(distribution.join(format!("{name}.wasm")), component(name)).expect("a copy");
        }
        let mut server = Server::start(&folder, &Options::default()).unwrap_or_else(|| {
            panic!("the server does not start: {}", fs::read_to_string(folder.join("server.log")).unwrap_or_default())
        });
        server.terminate();
        folder
    })
}

/// Removes what earlier runs left.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(pid) = name.strip_prefix("first-start-")
            && !Path::new("/proc").join(pid).exists()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The bytes of a component that `make components` built.
pub(crate) fn component(name: &str) -> Vec<u8> {
    let folder = std::env::var_os("LAKEHOUSE_COMPONENTS").map_or_else(
        || {
            let exe = std::env::current_exe().expect("a test binary");
            exe.ancestors().nth(3).expect("target/release/deps/trials").join("components")
        },
        PathBuf::from,
    );
    let path = folder.join(format!("{name}.wasm"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; `make components` builds it", path.display()))
}

/// Every file under a folder, sorted.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Copies a folder and all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status();
    assert!(status.expect("cp runs").success());
}
