//! A real PostgreSQL server for tests, in a folder of its own.
//!
//! **Invariant**: the server and its folder go with the process that started it, whatever became of that: a shell watches a pipe
//! that closes by itself. As root it runs as `nobody`, since PostgreSQL refuses to be root.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Config, NoTls, SimpleQueryMessage};

use crate::{PasswordFrom, PostgresSource, Tls};

/// Names the folder of `initdb` and `postgres` where they are not to be looked for.
const BIN: &str = "LAKEHOUSE_POSTGRES_BIN";
/// Where Debian and Ubuntu put each major version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// `nobody` and `nogroup`.
const NOBODY: u32 = 65_534;
/// Certificates for `localhost`, good for nothing else, and who signed them.
const CERTIFICATE: &str = include_str!("testing/server.pem");
const CERTIFICATE_KEY: &str = include_str!("testing/server.key");
const AUTHORITY: &str = include_str!("testing/ca.pem");
/// Until a server answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server with the database `shop`, which the user [`PostgresServer::USER`] may use and not own.
#[derive(Debug)]
pub struct PostgresServer {
    folder: PathBuf,
    port: u16,
    /// The shell that watches; its input is the pipe.
    watch: Child,
}

impl PostgresServer {
    pub const DATABASE: &'static str = "shop";
    pub const USER: &'static str = "lake";
    /// In tests only; a server's log and journal must not have it.
    pub const PASSWORD: &'static str = "pw-canary-of-the-shop";

    /// # Panics
    /// When there is no PostgreSQL, or it does not start.
    pub async fn start() -> Self {
        let (bin, folder) = (binaries(), tempfile::Builder::new().prefix("lakehouse-pg-").tempdir().expect("a folder").keep());
        for (name, text) in [
            ("password", "superuser\n"),
            ("server.pem", CERTIFICATE),
            ("server.key", CERTIFICATE_KEY),
            ("ca.pem", AUTHORITY),
            ("lake.password", &format!("{}\n", Self::PASSWORD)),
        ] {
            let path = folder.join(name);
            fs::write(&path, text).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
            give_away(&path);
        }
        give_away(&folder);
        let made = as_nobody(&bin.join("initdb"))
            .args(["--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync", "--auth=scram-sha-256"])
            .arg(format!("--pwfile={}", folder.join("password").display()))
            .arg(folder.join("data"))
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

        let port = free_port();
        let watch = watched(&bin.join("postgres"), &folder, port);
        let server = Self { folder, port, watch };
        server.await_start().await;
        for statement in [
            format!("CREATE ROLE {} LOGIN PASSWORD '{}'", Self::USER, Self::PASSWORD),
            format!("CREATE DATABASE {}", Self::DATABASE),
        ] {
            server.try_in("postgres", &statement).await.expect("a first statement");
        }
        server
    }

    async fn await_start(&self) {
        let until = Instant::now() + PATIENCE;
        while let Err(error) = self.try_in("postgres", "SELECT 1").await {
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "PostgreSQL does not start: {error}\n{}", log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Runs statements in the database, as its superuser.
    ///
    /// # Panics
    /// When one fails.
    pub async fn run(&self, statements: &str) {
        self.try_in(Self::DATABASE, statements).await.unwrap_or_else(|error| panic!("{statements}: {error}"));
    }

    async fn try_in(&self, database: &str, statements: &str) -> Result<Vec<SimpleQueryMessage>, String> {
        let socket = self.folder.join(format!(".s.PGSQL.{}", self.port));
        let stream = tokio::net::UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
        let mut config = Config::new();
        config.user("postgres").password("superuser").dbname(database).ssl_mode(SslMode::Disable);
        let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(|error| format!("{error:?}"))?;
        let driver = tokio::spawn(connection);
        let answer = client.simple_query(statements).await;
        drop(client);
        let _ = driver.await;
        answer.map_err(|error| format!("{error:?}"))
    }

    /// The first value that a statement answers.
    ///
    /// # Panics
    /// When it fails or answers none.
    pub async fn ask(&self, statement: &str) -> String {
        let answer = self.try_in(Self::DATABASE, statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        let value = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        value.expect("a value")
    }

    /// Queries of [`PostgresServer::USER`] that run now.
    pub async fn running(&self) -> u64 {
        let count = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{}' AND state = 'active'", Self::USER);
        self.ask(&count).await.parse().expect("a number")
    }

    /// Waits until so many queries run.
    ///
    /// # Panics
    /// When they never do.
    pub async fn await_running(&self, count: u64) {
        let until = Instant::now() + PATIENCE;
        while self.running().await != count {
            assert!(Instant::now() < until, "never {count} queries");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends every process of the server at once, as a crash does.
    ///
    /// # Panics
    /// When there is none.
    pub fn crash(&self) {
        let file = fs::read_to_string(self.folder.join("data/postmaster.pid")).expect("a running server");
        let pid = file.lines().next().and_then(|line| line.trim().parse().ok()).and_then(Pid::from_raw).expect("its process id");
        kill_process(pid, Signal::QUIT).expect("the signal is sent");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its Unix socket.
    pub fn socket_folder(&self) -> &Path {
        &self.folder
    }

    /// Who signed its certificate.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A file that holds [`PostgresServer::PASSWORD`].
    pub fn password_file(&self) -> PathBuf {
        self.folder.join("lake.password")
    }

    /// The database as operators declare one.
    ///
    /// # Panics
    /// When the name is none.
    pub fn source(&self) -> PostgresSource {
        PostgresSource {
            name: "shop".parse().expect("a name"),
            host: "127.0.0.1".to_owned(),
            port: self.port,
            database: Self::DATABASE.to_owned(),
            user: Self::USER.to_owned(),
            password: Some(PasswordFrom::File(self.password_file())),
            tls: Tls::Disable,
            connect_timeout: Duration::from_secs(20),
            statement_timeout: Duration::from_mins(1),
        }
    }

    /// The same, to be shared.
    pub fn shared_source(&self) -> Arc<PostgresSource> {
        Arc::new(self.source())
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        let _ = self.watch.wait();
    }
}

/// Starts the server beside a shell that ends it, and removes its folder, when the pipe to it closes.
fn watched(postgres: &Path, folder: &Path, port: u16) -> Child {
    const SCRIPT: &str = "\"$@\" >\"$FOLDER/log\" 2>&1 </dev/null & cat >/dev/null; kill -INT $!; wait; rm -rf \"$FOLDER\"";
    let setting = |name: &str, value: &str| ["-c".to_owned(), format!("{name}={value}")];
    let path = |name: &str| folder.join(name).display().to_string();
    let settings = [
        setting("listen_addresses", "localhost"),
        setting("unix_socket_directories", &folder.display().to_string()),
        setting("shared_buffers", "16MB"),
        setting("max_connections", "40"),
        setting("fsync", "off"),
        setting("autovacuum", "off"),
        setting("ssl", "on"),
        setting("ssl_cert_file", &path("server.pem")),
        setting("ssl_key_file", &path("server.key")),
    ];
    as_nobody(Path::new("/bin/sh"))
        .args(["-c", SCRIPT, "sh"])
        .arg(postgres)
        .args(["-D", &path("data"), "-p", &port.to_string()])
        .args(settings.into_iter().flatten())
        .env("FOLDER", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // An interrupted test run interrupts its whole group; the pipe tells the shell in time.
        .process_group(0)
        .spawn()
        .expect("a shell starts")
}

/// A command that is not root's.
fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/");
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn give_away(path: &Path) {
    if geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give files away");
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// The folder of the server's programs: as the environment says, else the newest of the distribution, else of the path.
fn binaries() -> PathBuf {
    if let Some(folder) = std::env::var_os(BIN) {
        return folder.into();
    }
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let installed = versions.filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let folder = entry.path().join("bin");
        folder.join("initdb").exists().then_some((version, folder))
    });
    let newest = installed.max().map(|(_, folder)| folder);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path =
        || std::env::split_paths(&path).find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists());
    newest.or_else(on_path).unwrap_or_else(|| {
        let _ = writeln!(
            std::io::stderr(),
            "no PostgreSQL here: `make test` installs one on Debian and Ubuntu, or say where in {BIN}"
        );
        panic!("no PostgreSQL")
    })
}
