//! What DataFusion's own code is told of the query it works for.
//!
//! **Invariant**: the rules and functions of a session reach the deadline and the shares of their own query, through the session's
//! options, and those of no other.

use std::{
    any::Any,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use datafusion::common::Result;
use datafusion::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::execution::memory_pool::MemoryPool;

use crate::{built::Built, error::QueryError, functions::Calls, watch::Watch};

/// One query, as an extension of its session's options. Copies are of the same query.
#[derive(Debug, Clone)]
pub(crate) struct Oversight {
    watch: Arc<Watch>,
    shares: Arc<Shares>,
}

#[derive(Debug)]
struct Shares {
    /// Bytes of the constants that planning has made of calls.
    folded_bytes: AtomicU64,
    /// Calls of the plan; none until it is optimized.
    calls: OnceLock<Calls>,
    built: Built,
}

impl Oversight {
    /// Of a query that takes its memory from `pool`.
    pub(crate) fn of_query(watch: Arc<Watch>, pool: &Arc<dyn MemoryPool>) -> Self {
        let shares = Shares { folded_bytes: AtomicU64::default(), calls: OnceLock::new(), built: Built::of(pool) };
        Self { watch, shares: Arc::new(shares) }
    }

    /// The query whose options these are; none where a definition is checked rather than a query answered.
    pub(crate) fn of(options: &ConfigOptions) -> Option<&Self> {
        options.extensions.get()
    }

    pub(crate) fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    /// Fails once the query is over.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        self.watch.check()
    }

    /// The plan is optimized: from now on, calls are for rows.
    pub(crate) fn planned(&self, calls: Calls) {
        let _ = self.shares.calls.set(calls);
    }

    /// The calls that share what a batch of rows may need; none while constants are folded.
    pub(crate) fn calls(&self) -> Option<Calls> {
        self.shares.calls.get().copied()
    }

    /// What the calls have built.
    pub(crate) fn built(&self) -> &Built {
        &self.shares.built
    }

    /// Counts a constant, unless all together would have more than `limit` bytes.
    pub(crate) fn fold(&self, bytes: u64, limit: u64) -> bool {
        let fits = |folded: u64| folded.checked_add(bytes).filter(|folded| *folded <= limit);
        self.shares.folded_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
    }
}

impl ConfigExtension for Oversight {
    const PREFIX: &'static str = "lakehouse";
}

impl ExtensionOptions for Oversight {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, _key: &str, _value: &str) -> Result<()> {
        datafusion::common::config_err!("this is no option")
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}
