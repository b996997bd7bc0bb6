//! One instance of a component: its store, its limits, its life.
//!
//! **Invariant**: a call that does not end in an answer (trap, deadline, cancellation, broken ABI) kills the instance; nothing is
//! ever called on it again.

use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::error::Elapsed;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline, component::InstancePre};

use crate::{
    Limits, MemoryMeter, PluginError,
    error::{Crash, VersionedName},
    limits::{MAX_HANDLES, MemoryGate, Refusal},
    log::GuestLog,
    machine::Beat,
    sandbox::State,
};

/// Beyond its deadline a guest gets so long to be interrupted in; what then still runs sits in a host call, and is dropped.
const GRACE: Duration = Duration::from_millis(20);
/// A call that has run for so many ticks is a long one: from then on it runs only in a turn of [`Turns`].
const LONG_CALL_TICKS: u32 = 100;
/// Room in an answer for what is not payload: discriminants, pointers, small messages.
const OUTPUT_SLACK_BYTES: usize = 64 << 10;

/// What an instance is started with.
pub(crate) struct Start {
    pub(crate) limits: Limits,
    pub(crate) log: GuestLog,
    pub(crate) meter: Option<Arc<dyn MemoryMeter>>,
    /// The place in the pool; empty for self-tests, which have their own.
    pub(crate) permit: OwnedSemaphorePermit,
    pub(crate) long_calls: Arc<Semaphore>,
    pub(crate) beat: Beat,
}

/// The turn that an instance has, if it has one.
type Turn = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

/// The turns of one instance's long calls: each lasts a tick, and ends before the next is asked for.
pub(crate) struct Turns {
    places: Arc<Semaphore>,
    mine: Turn,
    ticks: u32,
}

impl Turns {
    pub(crate) fn new(places: Arc<Semaphore>) -> Self {
        Self { places, mine: Arc::default(), ticks: 0 }
    }

    fn reset(&mut self) {
        self.ticks = 0;
        *self.mine.lock() = None;
    }

    /// Another tick has passed: gives way, and where the call is a long one, until there is a turn for it.
    fn next(&mut self) -> UpdateDeadline {
        self.ticks = self.ticks.saturating_add(1);
        if self.ticks < LONG_CALL_TICKS {
            return UpdateDeadline::Yield(1);
        }
        *self.mine.lock() = None;
        let (places, mine) = (Arc::clone(&self.places), Arc::clone(&self.mine));
        UpdateDeadline::YieldCustom(
            1,
            Box::pin(async move {
                tokio::task::yield_now().await;
                *mine.lock() = places.acquire_owned().await.ok();
            }),
        )
    }
}

/// What one call is held to.
pub(crate) struct Watch {
    limit: Duration,
    turn: Turn,
}

impl Watch {
    /// Runs the call to its end or its deadline. Whenever it waits it gives its turn back: a guest that sleeps in the host has no
    /// use for one, and runs its next tick only in another.
    pub(crate) async fn over<T>(self, call: impl Future<Output = wasmtime::Result<T>>) -> Result<wasmtime::Result<T>, Elapsed> {
        let Self { limit, turn } = self;
        let mut call = pin!(call);
        let giving_way = poll_fn(|context| {
            let polled = call.as_mut().poll(context);
            if polled.is_pending() {
                *turn.lock() = None;
            }
            polled
        });
        tokio::time::timeout(limit, giving_way).await
    }
}

/// A live instance.
pub(crate) struct Instance {
    pub(crate) store: Store<State>,
    pub(crate) plugin: Arc<VersionedName>,
    limits: Limits,
    alive: bool,
    pool: usize,
    _permit: OwnedSemaphorePermit,
    _beat: Beat,
}

impl Instance {
    /// Instantiates within the limits; start functions run under the deadline like any call.
    pub(crate) async fn start(
        pre: &InstancePre<State>,
        plugin: Arc<VersionedName>,
        pool: usize,
        start: Start,
    ) -> Result<(Self, wasmtime::component::Instance), PluginError> {
        let Start { limits, log, meter, permit, long_calls, beat } = start;
        let memory = MemoryGate::new(limits.memory_bytes, meter);
        let state = State::new(memory, log, Turns::new(long_calls));
        let mut store = Store::new(pre.engine(), state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(usize::try_from(limits.output_bytes).unwrap_or(usize::MAX).saturating_add(OUTPUT_SLACK_BYTES));
        store.set_max_component_handles(MAX_HANDLES);
        store.epoch_deadline_callback(|mut store| {
            let state = store.data_mut();
            Ok(if Instant::now() >= state.deadline { UpdateDeadline::Interrupt } else { state.turns.next() })
        });
        let mut instance = Self { store, plugin, limits, alive: true, pool, _permit: permit, _beat: beat };
        let watch = instance.begin();
        let started = watch.over(pre.instantiate_async(&mut instance.store)).await;
        let exports = instance.end(started)?;
        Ok((instance, exports))
    }

    /// Arms the deadline; the call that follows runs under the returned watch, and its outcome is handed to [`Self::end`].
    pub(crate) fn begin(&mut self) -> Watch {
        self.alive = false;
        let state = self.store.data_mut();
        state.memory.refused = None;
        state.turns.reset();
        state.deadline = Instant::now() + self.limits.deadline;
        let turn = Arc::clone(&state.turns.mine);
        self.store.set_epoch_deadline(1);
        Watch { limit: self.limits.deadline + GRACE, turn }
    }

    /// Takes the outcome of the call since [`Self::begin`]; without an answer the instance stays dead.
    pub(crate) fn end<T>(&mut self, outcome: Result<wasmtime::Result<T>, Elapsed>) -> Result<T, PluginError> {
        self.store.data_mut().turns.reset();
        match outcome {
            Ok(Ok(answer)) => {
                self.alive = true;
                Ok(answer)
            }
            Ok(Err(error)) => Err(self.explain(&error)),
            Err(_) => Err(self.too_late()),
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.alive
    }

    /// Bytes of guest memory held; memory never shrinks.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.store.data().memory.used() as u64
    }

    fn too_late(&self) -> PluginError {
        PluginError::DeadlineExceeded { plugin: (*self.plugin).clone(), deadline: self.limits.deadline }
    }

    fn explain(&self, error: &wasmtime::Error) -> PluginError {
        let plugin = (*self.plugin).clone();
        if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
            return self.too_late();
        }
        if error.is::<PoolConcurrencyLimitError>() {
            return PluginError::Busy { pool: self.pool };
        }
        match self.store.data().memory.refused {
            Some(Refusal::Limit) => return PluginError::MemoryExceeded { plugin, limit_bytes: self.limits.memory_bytes },
            Some(Refusal::Meter) => return PluginError::QueryMemory { plugin },
            None => {}
        }
        let crash = match error.downcast_ref::<Trap>() {
            Some(Trap::UnreachableCodeReached) => Crash::Unreachable,
            Some(Trap::StackOverflow) => Crash::StackOverflow,
            Some(Trap::MemoryOutOfBounds | Trap::TableOutOfBounds) => Crash::OutOfBounds,
            Some(trap) => Crash::Other(trap.to_string()),
            None if error.is::<wasmtime_wasi::I32Exit>() => Crash::Exit,
            None => {
                let root = error.root_cause().to_string();
                if root.contains("fuel allocated for hostcalls") {
                    return PluginError::OutputExceeded { plugin, limit_bytes: self.limits.output_bytes };
                }
                Crash::Abi(broken_abi(&root))
            }
        };
        PluginError::Crashed { plugin, crash }
    }
}

/// What of the canonical ABI was broken. The engine's own words may hold numbers that the guest chose, so they are not repeated.
fn broken_abi(words: &str) -> &'static str {
    const KNOWN: &[(&str, &str)] = &[
        ("utf-8", "text that is not UTF-8"),
        ("out of bounds", "a pointer outside its memory"),
        ("aligned", "a pointer that is not aligned"),
        ("discriminant", "a case that does not exist"),
        ("handle", "a handle too many, or one that does not exist"),
        ("table", "a resource too many, or one that does not exist"),
    ];
    let words = words.to_ascii_lowercase();
    KNOWN.iter().find(|(word, _)| words.contains(word)).map_or("otherwise", |(_, what)| what)
}
