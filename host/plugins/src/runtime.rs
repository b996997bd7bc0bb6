//! What all components share: the engine, the linker, the pool and its queue.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use wasmtime::component::{Component, InstancePre, Linker};

use crate::{
    Ceilings, Limits, MemoryMeter, PluginError,
    error::VersionedName,
    instance::{Instance, Start},
    log::GuestLog,
    machine::Machine,
    sandbox::{State, linker},
    wit::exports::lakehouse::plugin::{chunker, condition, embedder, id_mapper, model_adapter, redactor},
};

/// Places kept aside for self-tests, so that a busy server still takes a new version.
const SELF_TESTS: u32 = 4;

/// Runs compiled components.
pub(crate) struct Runtime {
    machine: Machine,
    linker: Linker<State>,
    places: Arc<Semaphore>,
    /// Calls that wait for a place. Whoever ends a call meanwhile gives its instance up.
    waiting: AtomicUsize,
    /// Where instances wait for their next call; who waits for a place takes one of these.
    idle: Mutex<Vec<Weak<dyn Idle>>>,
    self_tests: Arc<Semaphore>,
    /// Places for calls that run for long: one thread fewer than there are, so that short calls and plans always find one.
    long_calls: Arc<Semaphore>,
    pool: usize,
    /// How long a call waits for a place before it is told to come back.
    queue_wait: Duration,
    pub(crate) ceilings: Ceilings,
    pub(crate) cpu: Handle,
}

/// Where an instance takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Request,
    SelfTest,
}

impl Runtime {
    pub(crate) fn start(pool: usize, queue_wait: Duration, ceilings: Ceilings, cpu: Handle) -> wasmtime::Result<Self> {
        let instances = u32::try_from(pool).unwrap_or(u32::MAX).saturating_add(SELF_TESTS);
        let machine = Machine::start(instances, ceilings.memory_bytes)?;
        let linker = linker(machine.engine())?;
        Ok(Self {
            machine,
            linker,
            places: Arc::new(Semaphore::new(pool)),
            waiting: AtomicUsize::new(0),
            idle: Mutex::default(),
            self_tests: Arc::new(Semaphore::new(SELF_TESTS as usize)),
            long_calls: Arc::new(Semaphore::new(cpu.metrics().num_workers().saturating_sub(1).max(1))),
            pool,
            queue_wait,
            ceilings,
            cpu,
        })
    }

    pub(crate) fn compatibility(&self) -> u64 {
        self.machine.compatibility()
    }

    /// Makes compiled code callable. `artifact` must come from our own compiler; the cache authenticates it.
    pub(crate) fn load(&self, artifact: &[u8]) -> wasmtime::Result<Loaded> {
        #[expect(
            unsafe_code,
            reason = "the artifact is authenticated: compiled by our child, kept under a MAC in a private folder"
        )]
        let component = unsafe { Component::deserialize(self.machine.engine(), artifact)? };
        let pre = self.linker.instantiate_pre(&component)?;
        Ok(Loaded {
            redactor: redactor::GuestIndices::new(&pre).ok(),
            condition: condition::GuestIndices::new(&pre).ok(),
            chunker: chunker::GuestIndices::new(&pre).ok(),
            id_mapper: id_mapper::GuestIndices::new(&pre).ok(),
            embedder: embedder::GuestIndices::new(&pre).ok(),
            model_adapter: model_adapter::GuestIndices::new(&pre).ok(),
            pre,
        })
    }

    /// Starts an instance as soon as there is a place for it.
    pub(crate) async fn instantiate(
        &self,
        loaded: &Loaded,
        plugin: Arc<VersionedName>,
        options: Options,
    ) -> Result<(Instance, wasmtime::component::Instance), PluginError> {
        let places = match options.place {
            Place::Request => &self.places,
            Place::SelfTest => &self.self_tests,
        };
        let permit = match Arc::clone(places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.queue(places, options.place).await?,
        };
        let long_calls = Arc::clone(&self.long_calls);
        let Options { limits, log, meter, .. } = options;
        let start = Start { limits, log, meter, permit, long_calls, beat: self.machine.beat() };
        Instance::start(&loaded.pre, plugin, self.pool, start).await
    }

    async fn queue(&self, places: &Arc<Semaphore>, place: Place) -> Result<OwnedSemaphorePermit, PluginError> {
        let _waiting = (place == Place::Request).then(|| {
            let waiting = Waiting::one_more(&self.waiting);
            self.reclaim();
            waiting
        });
        let waited = tokio::time::timeout(self.queue_wait, Arc::clone(places).acquire_owned()).await;
        waited.ok().and_then(Result::ok).ok_or(PluginError::Busy { pool: self.pool })
    }

    /// Places that nobody holds, and turns that no long call has.
    #[cfg(test)]
    pub(crate) fn free(&self) -> (usize, usize) {
        (self.places.available_permits(), self.long_calls.available_permits())
    }

    /// Whether requests wait for a place.
    pub(crate) fn is_contended(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Makes what `slot` holds between calls known to those who wait.
    pub(crate) fn register(&self, slot: Weak<dyn Idle>) {
        let mut idle = self.idle.lock();
        if idle.len() == idle.capacity() {
            idle.retain(|slot| slot.strong_count() > 0);
        }
        idle.push(slot);
    }

    /// Ends one idle instance, if there is one.
    fn reclaim(&self) {
        let slots: Vec<_> = self.idle.lock().iter().filter_map(Weak::upgrade).collect();
        let _ = slots.iter().any(|slot| slot.give_up());
    }
}

/// Something that may hold an instance that nobody uses now.
pub(crate) trait Idle: Send + Sync {
    /// Ends the instance and frees its place; false when there is none.
    fn give_up(&self) -> bool;
}

/// Counts one who waits, until it no longer does.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn one_more(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("pool", &self.pool).field("ceilings", &self.ceilings).finish_non_exhaustive()
    }
}

/// How an instance is to run.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) limits: Limits,
    pub(crate) log: GuestLog,
    pub(crate) meter: Option<Arc<dyn MemoryMeter>>,
    pub(crate) place: Place,
}

impl Options {
    pub(crate) fn request(limits: Limits, log: GuestLog, meter: Option<Arc<dyn MemoryMeter>>) -> Self {
        Self { limits, log, meter, place: Place::Request }
    }
}

/// A component, linked; where the functions of each kind are that it exports.
pub(crate) struct Loaded {
    pre: InstancePre<State>,
    pub(crate) redactor: Option<redactor::GuestIndices>,
    pub(crate) condition: Option<condition::GuestIndices>,
    pub(crate) chunker: Option<chunker::GuestIndices>,
    pub(crate) id_mapper: Option<id_mapper::GuestIndices>,
    pub(crate) embedder: Option<embedder::GuestIndices>,
    pub(crate) model_adapter: Option<model_adapter::GuestIndices>,
}
