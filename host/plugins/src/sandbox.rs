//! What a guest finds around it: a log, and a WASI in which nothing happens.
//!
//! **Invariant**: a guest reaches no file, no socket, no variable, no argument, no real clock and no real randomness; every
//! import outside [`ALLOWED`] is refused at load, by name.

use std::time::{Duration, Instant};

use wasmtime::{
    Engine, StoreContextMut,
    component::{HasData, Linker, ResourceTable, WasmStr},
};
use wasmtime_wasi::{
    Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView,
    cli::{WasiCli, WasiCliView},
    clocks::{WasiClocks, WasiClocksView},
    filesystem::{WasiFilesystem, WasiFilesystemView},
    p2::bindings::{cli, clocks, filesystem, random},
    random::WasiRandom,
};

use crate::{
    instance::Turns,
    limits::{MAX_HANDLES, MemoryGate},
    log::GuestLog,
    wit::lakehouse::plugin::log::Level,
};

/// The interfaces that are linked, without their versions.
const ALLOWED: &[&str] = &[
    "lakehouse:plugin/log",
    "lakehouse:plugin/types",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:clocks/wall-clock",
    "wasi:clocks/monotonic-clock",
    "wasi:random/random",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:filesystem/types",
    "wasi:filesystem/preopens",
];

/// The same bytes for every instance, so that a rule is deterministic.
const SEED: u128 = 0x6c61_6b65_686f_7573_6520_7365_6564_2031;

/// Why `import` is not given, or nothing when it is.
pub(crate) fn refuse_import(import: &str) -> Option<String> {
    let (interface, version) = import.split_once('@').unwrap_or((import, ""));
    if interface.starts_with("wasi:sockets/") || interface.starts_with("wasi:http/") {
        return Some(format!("imports `{import}`: components have no network; the host does I/O"));
    }
    if !ALLOWED.contains(&interface) {
        return Some(format!("imports `{import}`, which this server does not provide"));
    }
    let expected = if interface.starts_with("wasi:") { "0.2." } else { "0.1." };
    if version.starts_with(expected) && !version.contains('-') {
        return None;
    }
    Some(format!("imports `{import}`; this server provides `{interface}@{expected}x`"))
}

/// What belongs to one instance.
pub(crate) struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    pub(crate) memory: MemoryGate,
    pub(crate) log: GuestLog,
    /// When the running call is cut off.
    pub(crate) deadline: Instant,
    pub(crate) turns: Turns,
}

impl State {
    pub(crate) fn new(memory: MemoryGate, log: GuestLog, turns: Turns) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        let wasi = WasiCtx::builder()
            .stdout(log.clone())
            .stderr(log.clone())
            .wall_clock(Stopped)
            .monotonic_clock(Stopped)
            .secure_random(Deterministic::new(SEED.to_le_bytes().to_vec()))
            .insecure_random(Deterministic::new(SEED.to_be_bytes().to_vec()))
            .insecure_random_seed(SEED)
            .max_random_size(1 << 20)
            .allow_tcp(false)
            .allow_udp(false)
            .build();
        Self { wasi, table, memory, log, deadline: Instant::now(), turns }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// A clock that always says the same.
struct Stopped;

impl HostWallClock for Stopped {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }
    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for Stopped {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }
    fn now(&self) -> u64 {
        0
    }
}

struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

/// Everything in [`ALLOWED`], linked once for all components.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::<State>::new(engine);
    let l = &mut linker;
    l.instance("lakehouse:plugin/log@0.1.0")?.func_wrap("write", write_log)?;

    wasmtime_wasi_io::bindings::wasi::io::error::add_to_linker::<State, Io>(l, |state| &mut state.table)?;
    wasmtime_wasi_io::bindings::wasi::io::poll::add_to_linker::<State, Io>(l, |state| &mut state.table)?;
    wasmtime_wasi_io::bindings::wasi::io::streams::add_to_linker::<State, Io>(l, |state| &mut state.table)?;
    clocks::wall_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    clocks::monotonic_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    random::random::add_to_linker::<State, WasiRandom>(l, |state| state.wasi.random())?;
    random::insecure::add_to_linker::<State, WasiRandom>(l, |state| state.wasi.random())?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(l, |state| state.wasi.random())?;
    filesystem::types::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    filesystem::preopens::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    cli::exit::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::environment::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    Ok(linker)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that the linker takes")]
fn write_log(store: StoreContextMut<'_, State>, (level, message): (Level, WasmStr)) -> wasmtime::Result<()> {
    let name = match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    let log = store.data().log.clone();
    log.line(name, &message.to_str(&store)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::refuse_import;

    #[test]
    fn imports_are_allowed_by_name_and_refused_by_name() {
        for good in ["lakehouse:plugin/log@0.1.0", "wasi:io/streams@0.2.6", "wasi:cli/environment@0.2.0"] {
            assert_eq!(refuse_import(good), None, "{good}");
        }
        for bad in [
            "wasi:sockets/tcp@0.2.0",
            "wasi:http/outgoing-handler@0.2.0",
            "wasi:filesystem/types@0.3.0",
            "wasi:io/streams",
            "wasi:io/streams@0.2.0-rc1",
            "lakehouse:plugin/prf@0.1.0",
            "lakehouse:plugin/log@1.0.0",
            "env",
            "acme:secrets/store",
        ] {
            let why = refuse_import(bad).unwrap();
            assert!(why.contains(bad), "{why}");
        }
    }
}
