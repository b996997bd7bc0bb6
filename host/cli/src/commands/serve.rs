//! `lakehouse serve`: the one command that links to the engine.
//!
//! **Invariant**: the line that says where the server listens is printed when it can answer, and not before.

use std::{
    io::{self, IsTerminal, Read, Write},
    path::PathBuf,
    process,
};

use lakehouse_engine::{Engine, EngineOptions};
use lakehouse_settings::{LogFormat, LogSettings, Settings};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

use crate::{
    args::Serve,
    console,
    failure::{Failure, exit},
};

/// What the line begins with that says where the server listens.
pub(crate) const LISTENS: &str = "lakehouse listens on ";
/// The variable that brings the first admin's key.
const ADMIN_KEY: &str = "LAKEHOUSE_ADMIN_KEY";

pub(crate) fn serve(command: &Serve) -> Result<(), Failure> {
    let settings = settings(command)?;
    log_to_stderr(&settings.log);
    if command.until_stdin_closes {
        std::thread::spawn(|| {
            let mut stdin = io::stdin().lock();
            while matches!(stdin.read(&mut [0; 64]), Ok(1..)) {}
            process::exit(0);
        });
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("lakehouse-io")
        .enable_all()
        .build()
        .map_err(|error| Failure::Start(format!("cannot start threads: {error}")))?;
    runtime.block_on(Box::pin(run(settings)))
}

async fn run(settings: Settings) -> Result<(), Failure> {
    let wanted = settings.server.listen;
    let listener = TcpListener::bind(wanted).await.map_err(|error| {
        let hint = if error.kind() == io::ErrorKind::AddrInUse { "; another server? --listen takes another port" } else { "" };
        Failure::Start(format!("cannot listen on {wanted}: {error}{hint}"))
    })?;
    let address = listener.local_addr()?;
    let shutdown = shutdown()?;
    let admin_key = std::env::var(ADMIN_KEY).ok().filter(|key| !key.is_empty());
    let generated = admin_key.is_none();
    let engine = Engine::open(settings, EngineOptions { admin_key, ..EngineOptions::default() })
        .await
        .map_err(|error| Failure::Start(console::chain(&error)))?;

    // Whoever started the server may have stopped reading: it serves all the same.
    let mut out = io::stdout().lock();
    if let Some(first) = engine.take_first_key().filter(|_| generated) {
        let _ = writeln!(out, "the first admin key, shown this once: {}", first.key);
        let _ = writeln!(out, "  export LAKEHOUSE_KEY={}", first.key);
    }
    let _ = writeln!(out, "{LISTENS}http://{address}");
    let _ = out.flush();
    drop(out);

    lakehouse_gateway::serve(engine.clone(), listener, shutdown)
        .await
        .map_err(|error| Failure::Start(format!("serving ended: {error}")))?;
    engine.shutdown().await.map_err(|error| Failure::Start(console::chain(&error)))
}

/// Ready at the first SIGTERM or Ctrl-C from now on; the second one does not wait for anybody.
fn shutdown() -> Result<impl Future<Output = ()>, Failure> {
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
            process::exit(exit::INTERRUPTED.into());
        });
    })
}

fn settings(command: &Serve) -> Result<Settings, Failure> {
    let mut settings = match &command.config {
        Some(dir) => Settings::load(dir).map_err(|error| Failure::Start(console::chain(&error)))?,
        None => Settings::default(),
    };
    if let Some(listen) = &command.listen {
        settings.server.listen = listen
            .parse()
            .map_err(|_| Failure::Usage(format!("--listen {listen:?}: write ADDRESS:PORT, like 127.0.0.1:3100")))?;
    }
    if settings.is_exposed() {
        return Err(Failure::Usage(format!(
            "--listen {}: [auth] enabled is false, so everybody who reaches it would be an admin; listen on a loopback address like \
             127.0.0.1, or enable keys",
            settings.server.listen
        )));
    }
    if let Some(dir) = command.plugins.clone() {
        settings.plugins.distribution = Some(std::path::absolute(dir)?);
    }
    settings.plugins.distribution = settings.plugins.distribution.or_else(distribution);
    Ok(settings.rooted(&command.data))
}

/// The shipped components of a build, else of an installation.
fn distribution() -> Option<PathBuf> {
    let exe = std::env::current_exe().ok()?;
    let built = exe.parent()?.parent()?.join("distribution");
    [built, PathBuf::from("/usr/share/lakehouse/plugins")].into_iter().find(|dir| dir.is_dir())
}

fn log_to_stderr(settings: &LogSettings) {
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(&settings.level)).unwrap_or_default();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
    // A second subscriber is a caller's own, which then stays.
    let _ = match settings.format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.try_init(),
    };
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::settings;
    use crate::args::{Arguments, Command};

    #[test]
    fn a_server_without_keys_is_not_taken_to_the_network_by_an_option() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("lakehouse.toml"), "[auth]\nenabled = false\n").unwrap();
        for (listen, is_fine) in [("127.0.0.1:0", true), ("0.0.0.0:3100", false)] {
            let line = ["lakehouse", "serve", "--config", folder.path().to_str().unwrap(), "--listen", listen];
            let Command::Serve(serve) = Arguments::try_parse_from(line).unwrap().command else { panic!("serve was asked for") };
            assert_eq!(settings(&serve).is_ok(), is_fine, "{listen}");
        }
    }
}
