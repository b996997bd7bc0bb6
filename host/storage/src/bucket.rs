//! Buckets: named places for objects, built once at start from their declarations.
//!
//! **Invariant**: `primary` exists; each bucket has a URL of its own; a local bucket's writes are synced before they are
//! reported; a local bucket is held by one writer, and whoever came to read writes nothing.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use lakehouse_types::BucketName;
use object_store::{GetOptions, ObjectStore};
use tokio::runtime::Handle;
use url::Url;

use crate::{
    BucketCounts, Result, RetryPolicy, S3Spec, StorageError, absent::AbsentStore, compat::CompatStore, lock::WriterLock,
    metrics::Counters, s3::PROBE, store::BucketStore,
};

/// A probe that takes longer counts as failed.
const HEALTH_DEADLINE: Duration = Duration::from_secs(2);

/// What earlier releases called the primary bucket in the records of datasets; they wrote nothing, too.
const LEGACY_PRIMARY: [&str; 2] = ["data", "local"];

/// A bucket as declared.
#[derive(Debug, Clone)]
pub struct BucketSpec {
    pub name: BucketName,
    pub kind: BucketKind,
}

/// Where a bucket keeps its objects.
#[derive(Debug, Clone)]
pub enum BucketKind {
    /// A directory, created when missing.
    Local { path: PathBuf },
    /// This process's memory, for tests and scratch data.
    Memory,
    /// A bucket of an S3-compatible service.
    S3(S3Spec),
    /// Not declared any more: refuses every call, for what is known to be in it.
    Absent,
}

impl BucketKind {
    /// The word of the settings: `local`, `memory`, `s3`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Local { .. } => "local",
            Self::Memory => "memory",
            Self::S3(_) => "s3",
            Self::Absent => "absent",
        }
    }
}

/// What all buckets share.
#[derive(Debug, Clone)]
pub struct BucketOptions {
    /// The runtime that stores run on.
    pub io: Handle,
    /// Of buckets on this machine.
    pub retry: RetryPolicy,
    /// Of buckets behind a network.
    pub remote_retry: RetryPolicy,
    pub claim: Claim,
}

impl BucketOptions {
    /// For the one who writes.
    pub fn new(io: Handle) -> Self {
        Self { io, retry: RetryPolicy::default(), remote_retry: RetryPolicy::remote(), claim: Claim::Write }
    }
}

/// What a host comes to its storage for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// To write, unless another does.
    Write,
    /// To write in the place of whoever does.
    TakeOver,
    /// To read beside the one who writes.
    Read,
}

/// Every bucket of this host, by name. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Buckets {
    all: Arc<BTreeMap<BucketName, Bucket>>,
    primary: Bucket,
}

/// One bucket. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bucket {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: BucketName,
    url: Url,
    store: Arc<BucketStore>,
    compat: Arc<CompatStore>,
    counters: Arc<Counters>,
    io: Handle,
    kind: BucketKind,
    /// The directory of a local bucket.
    root: Option<PathBuf>,
    lock: Option<WriterLock>,
}

/// How a bucket answered a probe.
#[derive(Debug, Clone)]
pub struct BucketHealth {
    pub name: BucketName,
    pub healthy: bool,
    pub latency: Duration,
}

impl Buckets {
    /// Opens every declared bucket and takes the writer's lock of each local one.
    ///
    /// # Errors
    /// [`StorageError::Locked`] while another host, or another bucket of this one, holds a directory that this one came to write to;
    /// [`StorageError::NoPrimary`],
    /// [`StorageError::BucketClash`], [`StorageError::OpenBucket`] with the cause, or [`StorageError::OpenRemote`] with what is wrong,
    /// within seconds.
    pub async fn open(specs: Vec<BucketSpec>, options: BucketOptions) -> Result<Self> {
        let mut hosts = BTreeMap::new();
        for spec in &specs {
            if let Some(first) = hosts.insert(spec.name.url_host(), spec.name.clone()) {
                return Err(StorageError::BucketClash { first, second: spec.name.clone() });
            }
        }
        let io = options.io.clone();
        io.spawn(open_all(specs, options)).await.map_err(|_| StorageError::TaskLost)?
    }

    /// # Errors
    /// [`StorageError::UnknownBucket`] with the names that exist.
    pub fn get(&self, name: &BucketName) -> Result<Bucket> {
        self.all.get(name).cloned().ok_or_else(|| StorageError::UnknownBucket { name: name.clone(), valid: self.names() })
    }

    /// The bucket that a dataset's record names: primary under the names that it had, if no bucket has them now; and for one that is
    /// not declared any more a stand-in that refuses every call.
    pub fn home(&self, name: &BucketName) -> Bucket {
        match self.all.get(name) {
            Some(bucket) => bucket.clone(),
            None if self.is_legacy_primary(name.as_str()) => self.primary(),
            None => {
                let spec = BucketSpec { name: name.clone(), kind: BucketKind::Absent };
                let retry = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
                let opened = Opened::new(Arc::new(AbsentStore), retry);
                Bucket::assemble(spec, opened, Arc::default(), self.primary.io())
            }
        }
    }

    /// Whether a record that says this means the primary bucket and should say so.
    pub fn is_legacy_primary(&self, name: &str) -> bool {
        name.is_empty() || LEGACY_PRIMARY.contains(&name) && !self.all.contains_key(name)
    }

    pub fn primary(&self) -> Bucket {
        self.primary.clone()
    }

    /// Sorted.
    pub fn names(&self) -> Vec<BucketName> {
        self.all.keys().cloned().collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Bucket> {
        self.all.values()
    }

    /// Whether the lock that the writer of a local primary bucket holds is free: then there is none. Other kinds have no such lock.
    pub fn is_lock_free(&self) -> bool {
        self.primary.local_path().is_some_and(WriterLock::is_free)
    }

    /// Probes every bucket at once; answers within two seconds.
    pub async fn health(&self) -> Vec<BucketHealth> {
        futures::future::join_all(self.all.values().map(Bucket::probe)).await
    }
}

impl Bucket {
    pub fn name(&self) -> &BucketName {
        &self.shared.name
    }

    /// The bucket for code of this workspace; local writes are synced.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.shared.store) as _
    }

    /// The bucket for DataFusion and Delta.
    pub fn compat(&self) -> Arc<dyn object_store_13::ObjectStore> {
        Arc::clone(&self.shared.compat) as _
    }

    /// The URL under which DataFusion and Delta register the bucket: `lakehouse://lakehouse-primary/`.
    pub fn url(&self) -> Url {
        self.shared.url.clone()
    }

    /// The directory of a local bucket.
    pub fn local_path(&self) -> Option<&Path> {
        self.shared.root.as_deref()
    }

    /// Whether its objects go when this process ends.
    pub fn is_volatile(&self) -> bool {
        matches!(self.shared.kind, BucketKind::Memory)
    }

    /// Whether it is only known by name, see [`Buckets::home`].
    pub fn is_absent(&self) -> bool {
        matches!(self.shared.kind, BucketKind::Absent)
    }

    pub fn kind(&self) -> &BucketKind {
        &self.shared.kind
    }

    /// Where it is, for people: a directory, a URL, else its kind. Never a credential.
    pub fn location(&self) -> String {
        match (&self.shared.kind, &self.shared.root) {
            (BucketKind::S3(spec), _) => spec.location(),
            (BucketKind::Local { path }, root) => root.as_ref().unwrap_or(path).display().to_string(),
            (kind @ (BucketKind::Memory | BucketKind::Absent), _) => kind.as_str().to_owned(),
        }
    }

    pub fn counts(&self) -> BucketCounts {
        self.shared.counters.snapshot()
    }

    pub(crate) fn io(&self) -> &Handle {
        &self.shared.io
    }

    /// A storage error that names this bucket.
    pub fn error(&self, source: object_store::Error) -> StorageError {
        StorageError::Store { bucket: self.shared.name.clone(), source }
    }

    pub(crate) async fn probe(&self) -> BucketHealth {
        let begun = Instant::now();
        let options = GetOptions { head: true, ..GetOptions::default() };
        // A missing object is no sign of health where a bucket that is gone answers the same.
        let (location, may_be_missing) = match self.shared.kind {
            BucketKind::S3(_) => (PROBE, false),
            _ => ("_health", true),
        };
        let location = location.into();
        let answer = self.shared.store.get_opts(&location, options);
        let answered = match tokio::time::timeout(HEALTH_DEADLINE, answer).await {
            Ok(Ok(_)) => true,
            Ok(Err(object_store::Error::NotFound { .. })) => may_be_missing,
            Ok(Err(_)) | Err(_) => false,
        };
        let present = self.shared.root.as_ref().is_none_or(|root| root.is_dir());
        BucketHealth { name: self.shared.name.clone(), healthy: answered && present, latency: begun.elapsed() }
    }
}

impl Bucket {
    fn assemble(spec: BucketSpec, opened: Opened, counters: Arc<Counters>, io: &Handle) -> Self {
        let BucketSpec { name, kind } = spec;
        let Opened { base, root, lock, retry, .. } = opened;
        let url = Url::parse(&format!("lakehouse://{}/", name.url_host())).expect("a bucket's URL host has URL characters only");
        let store = Arc::new(BucketStore::new(base, io.clone(), retry, Arc::clone(&counters), root.clone()));
        let compat = Arc::new(CompatStore::new(Arc::clone(&store)));
        Self { shared: Arc::new(Shared { name, url, store, compat, counters, io: io.clone(), kind, root, lock }) }
    }
}

mod open; // from declarations to buckets

use open::{Opened, open_all};

#[cfg(test)]
mod tests;
