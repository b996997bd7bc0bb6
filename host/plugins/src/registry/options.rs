//! What a registry is opened with.

use std::{path::PathBuf, sync::Arc, time::Duration};

use lakehouse_catalog::Catalog;
use lakehouse_journal::Journal;
use lakehouse_storage::{Bucket, Meta};
use lakehouse_types::Clock;
use tokio::runtime::Handle;

use crate::{Ceilings, Compiler};

/// What a registry is opened with.
pub struct RegistryOptions {
    /// Holds the components: the primary bucket.
    pub bucket: Bucket,
    pub meta: Meta,
    pub journal: Journal,
    /// Whose rules an upload must not break; absent, none do.
    pub catalog: Option<Arc<Catalog>>,
    pub clock: Arc<dyn Clock>,
    /// Where components run.
    pub cpu: Handle,
    /// Compiled code; private to this host.
    pub cache_path: PathBuf,
    pub compiler: Compiler,
    pub ceilings: Ceilings,
    /// Instances at once, all requests together.
    pub pool: usize,
    /// How long a call waits for a place in the pool before it answers `busy`.
    pub queue_wait: Duration,
    /// The largest component taken.
    pub max_component_bytes: usize,
}

impl RegistryOptions {
    /// With this program as the compiler, no rules to ask, the default ceilings, 256 instances, 5 s of queue and 64 MiB a
    /// component.
    ///
    /// # Errors
    /// When the program's own path is unknown.
    pub fn new(
        bucket: Bucket,
        meta: Meta,
        journal: Journal,
        clock: Arc<dyn Clock>,
        cpu: Handle,
        cache_path: PathBuf,
    ) -> std::io::Result<Self> {
        Ok(Self {
            bucket,
            meta,
            journal,
            catalog: None,
            clock,
            cpu,
            cache_path,
            compiler: Compiler::this_program()?,
            ceilings: Ceilings::default(),
            pool: 256,
            queue_wait: Duration::from_secs(5),
            max_component_bytes: 64 << 20,
        })
    }
}

impl std::fmt::Debug for RegistryOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryOptions").field("pool", &self.pool).field("ceilings", &self.ceilings).finish_non_exhaustive()
    }
}
