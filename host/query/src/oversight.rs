//! What DataFusion's own code is told of the query it works for.
//!
//! **Invariant**: the rules and functions of a session reach the deadline and the shares of their own query, through the session's
//! options, and those of no other.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use datafusion::common::Result;
use datafusion::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};

use crate::{error::QueryError, watch::Watch};

/// One query, as an extension of its session's options. Copies are of the same query.
#[derive(Debug, Clone)]
pub(crate) struct Oversight {
    watch: Arc<Watch>,
    shares: Arc<Shares>,
}

#[derive(Debug, Default)]
struct Shares {
    /// Bytes of the constants that planning has made of calls.
    folded_bytes: AtomicU64,
    /// Calls of the plan that build text or lists, and one; 0 until it is optimized.
    calls: AtomicU64,
}

impl Oversight {
    pub(crate) fn of_query(watch: Arc<Watch>) -> Self {
        Self { watch, shares: Arc::default() }
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
    pub(crate) fn planned(&self, calls: u64) {
        self.shares.calls.store(calls.saturating_add(1), Ordering::Release);
    }

    /// How many calls share what a batch of rows may need; none while constants are folded.
    pub(crate) fn calls(&self) -> Option<u64> {
        match self.shares.calls.load(Ordering::Acquire) {
            0 => None,
            calls => Some(calls - 1),
        }
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
