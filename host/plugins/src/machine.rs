//! The engine that runs components, and the clock that interrupts them.
//!
//! **Invariant**: the engine that compiles and the engine that runs share every setting that code depends on; both come from
//! [`settings`]. Whoever has a place finds room in the pool, whatever the component is made of.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use wasmtime::{Config, Engine, EngineWeak, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::limits::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES};

/// How often a running guest looks at its deadline, and gives way to its neighbours.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// Ticks without any instance after which the clock stands still.
const IDLE_TICKS: u32 = 100;

/// Address space per memory: a 32-bit guest cannot reach past it, so that no access needs a bounds check.
const RESERVATION_BYTES: u64 = 4 << 30;
const GUARD_BYTES: u64 = 32 << 20;
/// Stack of a guest; a recursion that is deeper traps.
const STACK_BYTES: usize = 512 << 10;
/// Wiped instead of unmapped when an instance goes, so that the next one does not fault it in anew.
const KEEP_MEMORY_BYTES: usize = 256 << 10;
const KEEP_TABLE_BYTES: usize = 16 << 10;
const KEEP_STACK_BYTES: usize = 32 << 10;
/// Slots kept mapped though nobody uses them.
const WARM_SLOTS: u32 = 64;

/// Everything that compiled code depends on.
fn settings() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .memory_reservation(RESERVATION_BYTES)
        .memory_guard_size(GUARD_BYTES)
        .guard_before_linear_memory(false)
        .memory_may_move(false)
        .max_wasm_stack(STACK_BYTES)
        .relaxed_simd_deterministic(true)
        .wasm_memory64(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_backtrace_max_frames(None);
    config
}

/// The engine of the compiling child: no pool, one thread.
pub(crate) fn compiler() -> wasmtime::Result<Engine> {
    let mut config = settings();
    config.parallel_compilation(false);
    Engine::new(&config)
}

/// The running engine, with its pool and its ticking thread.
pub(crate) struct Machine {
    engine: Engine,
    pulse: Arc<Pulse>,
    ticker: Option<JoinHandle<()>>,
}

/// When the clock ticks: while there are instances, and a little longer.
#[derive(Default)]
struct Pulse {
    instances: AtomicUsize,
    is_parked: AtomicBool,
    stop: AtomicBool,
}

impl Pulse {
    /// Ticks until told to stop, or the engine is gone.
    fn run(&self, engine: &EngineWeak) {
        let mut idle = 0;
        while !self.stop.load(Ordering::SeqCst) {
            idle = if self.instances.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
            if idle > IDLE_TICKS {
                self.is_parked.store(true, Ordering::SeqCst);
                // Whoever comes from here on sees that the clock is parked, and wakes it.
                if self.instances.load(Ordering::SeqCst) == 0 && !self.stop.load(Ordering::SeqCst) {
                    std::thread::park();
                }
                self.is_parked.store(false, Ordering::SeqCst);
                idle = 0;
            }
            std::thread::sleep(TICK);
            let Some(engine) = engine.upgrade() else { break };
            engine.increment_epoch();
        }
    }
}

/// Keeps the clock ticking as long as it lives.
pub(crate) struct Beat(Arc<Pulse>);

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.instances.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Machine {
    /// Room for `instances` at once, each with at most `memory_bytes` per memory.
    pub(crate) fn start(instances: u32, memory_bytes: u64) -> wasmtime::Result<Self> {
        let mut pool = PoolingAllocationConfig::new();
        // As if every instance were of the largest component allowed, so that places alone decide who waits: core instances are a
        // counter here, memories and tables address space that costs nothing until it is used.
        pool.total_component_instances(instances)
            .total_core_instances(instances.saturating_mul(MAX_CORE_INSTANCES))
            .total_memories(instances.saturating_mul(MAX_MEMORIES))
            .total_tables(instances.saturating_mul(MAX_TABLES))
            .total_stacks(instances.saturating_add(4))
            .total_gc_heaps(1)
            .max_core_instances_per_component(MAX_CORE_INSTANCES)
            .max_memories_per_component(MAX_MEMORIES)
            .max_tables_per_component(MAX_TABLES)
            .max_tables_per_module(MAX_TABLES)
            .max_memories_per_module(MAX_MEMORIES)
            .table_elements(MAX_TABLE_ELEMENTS)
            .max_memory_size(usize::try_from(memory_bytes.min(RESERVATION_BYTES)).unwrap_or(usize::MAX))
            .linear_memory_keep_resident(KEEP_MEMORY_BYTES)
            .table_keep_resident(KEEP_TABLE_BYTES)
            .async_stack_keep_resident(KEEP_STACK_BYTES)
            .max_unused_warm_slots(WARM_SLOTS);
        let mut config = settings();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config)?;

        let pulse = Arc::new(Pulse::default());
        let (clock, weak) = (Arc::clone(&pulse), engine.weak());
        let ticker = std::thread::Builder::new().name("plugin-epoch".to_owned()).spawn(move || clock.run(&weak))?;
        Ok(Self { engine, pulse, ticker: Some(ticker) })
    }

    /// For one instance.
    pub(crate) fn beat(&self) -> Beat {
        self.pulse.instances.fetch_add(1, Ordering::SeqCst);
        if self.pulse.is_parked.load(Ordering::SeqCst) {
            self.wake();
        }
        Beat(Arc::clone(&self.pulse))
    }

    fn wake(&self) {
        if let Some(ticker) = &self.ticker {
            ticker.thread().unpark();
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Differs whenever code compiled by another build or for another CPU would not run here.
    pub(crate) fn compatibility(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.pulse.stop.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(ticker) = self.ticker.take() {
            let _ = ticker.join();
        }
    }
}
