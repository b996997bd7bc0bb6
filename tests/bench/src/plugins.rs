//! A registry with the shipped components, over storage in memory, without a server around it.

use std::{path::PathBuf, sync::Arc};

use lakehouse_catalog::{ComponentRef, RuleBinding, RuleKind, RuleLimits};
use lakehouse_journal::Journal;
use lakehouse_plugins::{Bindings, Chunker, Compiler, Embedder, Redactor, Registry, RegistryOptions};
use lakehouse_storage::{BucketKind, BucketOptions, BucketSpec, Buckets, Meta, MetaOptions};
use lakehouse_types::{BucketName, RuleName, SystemClock};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::host::Failure;

pub(crate) struct Components {
    registry: Arc<Registry>,
    _cache: TempDir,
}

/// `release/bench-core` → `distribution`, which `make components` fills.
pub(crate) fn distribution() -> Result<PathBuf, Failure> {
    folder("distribution")
}

/// `release/bench-core` → `components`: the shipped ones and those that serve trials.
pub(crate) fn every_component() -> Result<PathBuf, Failure> {
    folder("components")
}

fn folder(name: &str) -> Result<PathBuf, Failure> {
    let exe = std::env::current_exe()?;
    let target = exe.parent().and_then(|release| release.parent()).ok_or("the bench stands in no build folder")?;
    let folder = target.join(name);
    if folder.is_dir() { Ok(folder) } else { Err(format!("{} is missing: run `make components`", folder.display()).into()) }
}

impl Components {
    pub(crate) async fn open(io: Handle, cpu: Handle) -> Result<Self, Failure> {
        let cache = TempDir::new()?;
        let spec = BucketSpec { name: BucketName::primary(), kind: BucketKind::Memory };
        let buckets = Buckets::open(vec![spec], BucketOptions::new(io)).await?;
        let meta = Meta::open(&buckets.primary(), MetaOptions::default()).await?;
        let clock = Arc::new(SystemClock);
        let journal = Journal::open(meta.clone(), clock.clone()).await?;
        let mut options = RegistryOptions::new(buckets.primary(), meta, journal, clock, cpu, cache.path().join("compiled"))?;
        options.compiler = Compiler::in_process();
        let registry = Registry::open(options).await?;
        registry.install_shipped(&distribution()?).await?;
        Ok(Self { registry, _cache: cache })
    }

    /// A warm instance of `component` under `config`, as one partition of a query holds it.
    pub(crate) async fn redactor(&self, component: &str, config: Value) -> Result<Redactor, Failure> {
        let (bindings, name) = self.bindings(RuleKind::Redactor, component, config)?;
        Ok(bindings.redactor(&name, None).await?.instance())
    }

    pub(crate) async fn chunker(&self, component: &str, config: Value) -> Result<Chunker, Failure> {
        let (bindings, name) = self.bindings(RuleKind::Chunker, component, config)?;
        Ok(bindings.chunker(&name, None).await?)
    }

    pub(crate) async fn embedder(&self, component: &str, config: Value) -> Result<Embedder, Failure> {
        let (bindings, name) = self.bindings(RuleKind::Embedder, component, config)?;
        Ok(bindings.embedder(&name, None).await?)
    }

    /// One rule with the default limits, and its name.
    fn bindings(&self, kind: RuleKind, component: &str, config: Value) -> Result<(Bindings, RuleName), Failure> {
        let name = RuleName::new("benched")?;
        let binding = RuleBinding {
            name: name.clone(),
            kind,
            component: component.parse::<ComponentRef>()?,
            config,
            limits: RuleLimits::default(),
            grants: Vec::new(),
        };
        Ok((Bindings::new(self.registry.snapshot(), vec![binding]), name))
    }
}
