//! An instance that has accepted its configuration, whatever its kind, and where it waits between two calls.
//!
//! **Invariant**: an instance goes back to its slot only after an honest answer; one that trapped, was late or lied is never asked
//! again. While others wait for a place in the pool, nobody holds an instance between two calls.

use std::{
    sync::{Arc, Weak},
    time::Instant,
};

use lakehouse_catalog::RuleKind;
use parking_lot::Mutex;
use wasmtime::{Store, component::ResourceAny};

use crate::{
    PluginError,
    error::Crash,
    instance::Instance,
    rule::Rule,
    runtime::{Idle, Loaded},
    sandbox::State,
    wit::{
        exports::lakehouse::plugin::{chunker, condition, embedder, id_mapper, model_adapter, redactor},
        lakehouse::plugin::types::Error as Said,
    },
};

/// The typed exports of one kind, as the generated bindings have them.
pub(crate) trait Face: Sized + Send + Sync + 'static {
    const KIND: RuleKind;

    /// The exports of an instance; nothing when they are of another shape.
    fn load(loaded: &Loaded, store: &mut Store<State>, exports: &wasmtime::component::Instance) -> Option<Self>;

    /// Hands the configuration over.
    fn open(
        &self,
        store: &mut Store<State>,
        config: &str,
    ) -> impl Future<Output = wasmtime::Result<Result<ResourceAny, Said>>> + Send;
}

macro_rules! faces {
    ($($interface:ident = $kind:ident, $resource:ident;)+) => {$(
        impl Face for $interface::Guest {
            const KIND: RuleKind = RuleKind::$kind;

            fn load(loaded: &Loaded, store: &mut Store<State>, exports: &wasmtime::component::Instance) -> Option<Self> {
                loaded.$interface.as_ref()?.load(store, exports).ok()
            }

            async fn open(&self, store: &mut Store<State>, config: &str) -> wasmtime::Result<Result<ResourceAny, Said>> {
                self.$resource().call_open(store, config).await
            }
        }
    )+};
}

faces! {
    redactor = Redactor, rule;
    condition = Condition, rule;
    chunker = Chunker, rule;
    id_mapper = IdMapper, rule;
    embedder = Embedder, model;
    model_adapter = ModelAdapter, adapter;
}

/// An instance that has accepted its configuration.
pub(crate) struct Opened<F> {
    pub(crate) instance: Instance,
    pub(crate) guest: F,
    pub(crate) resource: ResourceAny,
}

impl<F> std::fmt::Debug for Opened<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("plugin", &self.instance.plugin).finish_non_exhaustive()
    }
}

impl<F: Face> Opened<F> {
    pub(crate) async fn open(rule: &Rule) -> Result<Self, PluginError> {
        let opened = Self::try_open(rule).await;
        if let Err(error) = &opened {
            rule.version.counters.failed(error);
        }
        opened
    }

    async fn try_open(rule: &Rule) -> Result<Self, PluginError> {
        let shape = || PluginError::Crashed { plugin: rule.plugin(), crash: Crash::Shape(F::KIND.as_str()) };
        let id = Arc::clone(&rule.version.id);
        let (mut instance, exports) = rule.runtime.instantiate(&rule.loaded, id, rule.options.clone()).await?;
        let guest = F::load(&rule.loaded, &mut instance.store, &exports).ok_or_else(shape)?;
        let watch = instance.begin();
        let answer = watch.over(guest.open(&mut instance.store, &rule.config)).await;
        let resource = instance.end(answer)?.map_err(|said| rule.explain(said, "this configuration"))?;
        Ok(Self { instance, guest, resource })
    }

    /// Counts a call of `rows` that has ended in `answer`.
    pub(crate) fn count<T>(&self, rule: &Rule, rows: usize, begun: Instant, answer: &Result<T, PluginError>) {
        rule.version.counters.count(rows, begun.elapsed(), self.instance.memory_bytes(), answer);
    }
}

/// An instance between two calls. Whoever waits for a place in the pool may take it away.
pub(crate) struct Slot<F>(Mutex<Option<Opened<F>>>);

impl<F> std::fmt::Debug for Slot<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Slot").field(&*self.0.lock()).finish()
    }
}

impl<F: Face> Slot<F> {
    pub(crate) fn of(rule: &Rule, opened: Option<Opened<F>>) -> Arc<Self> {
        let slot = Arc::new(Self(Mutex::new(opened)));
        let weak: Weak<Self> = Arc::downgrade(&slot);
        rule.runtime.register(weak);
        slot
    }

    /// A slot with an instance in it: opens the rule on the CPU runtime, so that a bad configuration shows now.
    pub(crate) async fn opened(rule: &Rule) -> Result<Arc<Self>, PluginError> {
        let opening = rule.clone();
        let opened = rule.on_cpu(async move { Opened::open(&opening).await }).await?;
        Ok(Self::of(rule, Some(opened)))
    }

    pub(crate) fn take(&self) -> Option<Opened<F>> {
        self.0.lock().take()
    }

    /// The instance that waits here, else a fresh one. Runs on the CPU runtime.
    pub(crate) async fn take_or_open(&self, rule: &Rule) -> Result<Opened<F>, PluginError> {
        match self.take() {
            Some(opened) => Ok(opened),
            None => Opened::open(rule).await,
        }
    }

    /// Keeps the instance, unless others wait for its place.
    pub(crate) fn keep(&self, rule: &Rule, opened: Opened<F>) {
        *self.0.lock() = Some(opened);
        // Who began to wait before it was here has not found it.
        if rule.runtime.is_contended() {
            self.give_up();
        }
    }
}

impl<F: Face> Idle for Slot<F> {
    fn give_up(&self) -> bool {
        self.take().is_some()
    }
}
