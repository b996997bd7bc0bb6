//! `lakehouse serve`: the one command that links to the engine.
//!
//! **Invariant**: the line that says where the server listens is printed when it can answer, and not before. One engine at a time takes
//! requests; whichever it is, to write or to read, the address stays.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    path::PathBuf,
    pin::pin,
    process,
    sync::Arc,
    time::Duration,
};

use lakehouse_engine::{Claim, Engine, EngineError, EngineOptions, Turn};
use lakehouse_gateway::{Listeners, Tls};
use lakehouse_settings::Settings;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use crate::{
    args::Serve,
    console,
    failure::{Failure, exit},
    telemetry,
};

/// What the line begins with that says where the server listens.
pub(crate) const LISTENS: &str = "lakehouse listens on ";
/// And where Flight SQL is.
const FLIGHT: &str = "Flight SQL listens on ";
/// The variable that brings the first admin's key.
const ADMIN_KEY: &str = "LAKEHOUSE_ADMIN_KEY";
/// After a storage could not be opened in another host's place.
const AGAIN: Duration = Duration::from_secs(1);

pub(crate) fn serve(command: &Serve) -> Result<(), Failure> {
    let settings = settings(command)?;
    let _telemetry = telemetry::begin(&settings)?;
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
    let claim = match (command.read_only, command.take_over) {
        (true, _) => Claim::Read,
        (_, true) => Claim::TakeOver,
        _ => Claim::Write,
    };
    runtime.block_on(Box::pin(run(settings, claim)))
}

async fn run(settings: Settings, claim: Claim) -> Result<(), Failure> {
    let tls = settings.tls.as_ref().map(Tls::load).transpose().map_err(|error| Failure::Start(console::chain(&error)))?;
    let sockets = Sockets::bind(&settings).await?;
    if let Some(tls) = tls.clone() {
        tokio::spawn(tls.watch());
    }
    let mut shutdown = pin!(shutdown()?);
    let admin_key = std::env::var(ADMIN_KEY).ok().filter(|key| !key.is_empty());
    let generated = admin_key.is_none();
    let open = async |claim| {
        Engine::open(settings.clone(), EngineOptions { admin_key: admin_key.clone(), claim, ..EngineOptions::default() }).await
    };
    let started = |error: EngineError| Failure::Start(console::chain(&error));
    let mut engine = match open(claim).await {
        Err(error) if error.is_held() && claim == Claim::Write => {
            tracing::warn!("another host writes to this storage: this one reads, and takes over when that one is gone");
            open(Claim::Read).await.map_err(started)?
        }
        opened => opened.map_err(started)?,
    };

    // Whoever started the server may have stopped reading: it serves all the same.
    let mut out = io::stdout().lock();
    if let Some(first) = engine.take_first_key().filter(|_| generated) {
        let _ = writeln!(out, "the first admin key, shown this once: {}", first.key);
        let _ = writeln!(out, "  export LAKEHOUSE_KEY={}", first.key);
    }
    let (http, grpc) = if tls.is_some() { ("https", "grpc+tls") } else { ("http", "grpc") };
    if let Some(flight) = &sockets.flight {
        let _ = writeln!(out, "{FLIGHT}{grpc}://{}", flight.local_addr()?);
    }
    let _ = writeln!(out, "{LISTENS}{http}://{}", sockets.http.local_addr()?);
    let _ = out.flush();
    drop(out);

    loop {
        let (stop, stopped) = oneshot::channel::<()>();
        let mut serving = tokio::spawn(lakehouse_gateway::serve(engine.clone(), sockets.listeners(tls.clone())?, async {
            let _ = stopped.await;
        }));
        let next = tokio::select! {
            () = &mut shutdown => None,
            next = successor(&engine, &open, claim == Claim::Read) => Some(next),
            ended = &mut serving => {
                return Err(Failure::Start(format!("serving ended: {}", ended.map_or_else(|error| error.to_string(), told))));
            }
        };
        drop(stop);
        let before = engine.clone();
        let wind_up = async move {
            let _ = serving.await;
            before.shutdown().await
        };
        let Some(next) = next else { return wind_up.await.map_err(started) };
        // What was asked of the engine before is answered while the next one takes what comes. What a host cannot write any more that
        // may not write is no loss.
        tokio::spawn(wind_up);
        engine = next;
    }
}

/// The sockets, whichever engine answers on them.
struct Sockets {
    http: std::net::TcpListener,
    flight: Option<std::net::TcpListener>,
}

impl Sockets {
    async fn bind(settings: &Settings) -> Result<Self, Failure> {
        let flight = match settings.flight.listen {
            Some(wanted) => Some(bind(wanted, "--flight").await?),
            None => None,
        };
        Ok(Self { http: bind(settings.server.listen, "--listen").await?, flight })
    }

    fn listeners(&self, tls: Option<Tls>) -> io::Result<Listeners> {
        let flight = self.flight.as_ref().map(std::net::TcpListener::try_clone).transpose()?;
        Ok(Listeners {
            http: TcpListener::from_std(self.http.try_clone()?)?,
            flight: flight.map(TcpListener::from_std).transpose()?,
            tls,
        })
    }
}

async fn bind(wanted: SocketAddr, option: &str) -> Result<std::net::TcpListener, Failure> {
    let listener = TcpListener::bind(wanted).await.map_err(|error| {
        let is_taken = error.kind() == io::ErrorKind::AddrInUse;
        let hint = if is_taken { format!("; another server? {option} takes another port") } else { String::new() };
        Failure::Start(format!("cannot listen on {wanted}: {error}{hint}"))
    })?;
    Ok(listener.into_std()?)
}

fn told(ended: io::Result<()>) -> String {
    ended.map_or_else(|error| error.to_string(), |()| "nobody asked it to".to_owned())
}

/// The engine that serves in this one's place, once the storage has another writer than before.
async fn successor<F>(engine: &Engine, open: &F, stays_reader: bool) -> Arc<Engine>
where
    F: AsyncFn(Claim) -> Result<Arc<Engine>, EngineError>,
{
    if engine.is_reader() && stays_reader {
        std::future::pending::<()>().await;
    }
    loop {
        let turn = engine.turn().await;
        let opened = open(turn.claim()).await;
        match (turn, opened) {
            (Turn::Read, Ok(next)) => {
                tracing::warn!("another host writes to this storage now: this one only reads");
                return next;
            }
            (_, Ok(next)) => {
                tracing::warn!("this host writes now: the one before is gone");
                return next;
            }
            // A third one was faster.
            (_, Err(error)) if error.is_held() => tracing::info!("another host has come first and writes now"),
            (_, Err(error)) => tracing::error!(error = console::chain(&error), "the storage could not be opened; trying again"),
        }
        tokio::time::sleep(AGAIN).await;
    }
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
    let address = |option: &str, text: &str| {
        text.parse().map_err(|_| Failure::Usage(format!("{option} {text:?}: write ADDRESS:PORT, like 127.0.0.1:3100")))
    };
    if let Some(listen) = &command.listen {
        settings.server.listen = address("--listen", listen)?;
    }
    if let Some(listen) = &command.flight {
        settings.flight.listen = Some(address("--flight", listen)?);
    }
    if settings.is_exposed() {
        let flight = settings.flight.listen.map_or_else(String::new, |address| format!(" --flight {address}"));
        return Err(Failure::Usage(format!(
            "--listen {}{flight}: [auth] enabled is false, so everybody who reaches it would be an admin; listen on a loopback address \
             like 127.0.0.1, or enable keys",
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
