//! From declarations to buckets.
//!
//! **Invariant**: the locks of another host are taken when nothing else is in the way any more, all of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use lakehouse_types::BucketName;
use object_store::{ObjectStore, local::LocalFileSystem, memory::InMemory};
use tokio::runtime::Handle;

use super::{Bucket, BucketKind, BucketOptions, BucketSpec, Buckets, Claim};
use crate::{
    Result, RetryPolicy, StorageError,
    absent::AbsentStore,
    checksum::{self, ChecksumStore},
    lock::{NextLock, WriterLock},
    metrics::Counters,
    readonly::ReadOnlyStore,
    s3,
    sweep::sweep,
    warm::WarmStore,
};

/// A bucket's own store, before retries, counts and the right runtime.
pub(super) struct Opened {
    pub(super) base: Arc<dyn ObjectStore>,
    pub(super) root: Option<PathBuf>,
    pub(super) lock: Option<WriterLock>,
    /// What becomes the lock when all buckets are open.
    next: Option<NextLock>,
    pub(super) retry: RetryPolicy,
}

impl Opened {
    pub(super) fn new(base: Arc<dyn ObjectStore>, retry: RetryPolicy) -> Self {
        Self { base, root: None, lock: None, next: None, retry }
    }

    /// Takes the place of another host, where that is what this one came for.
    async fn seize(&mut self, name: &BucketName, io: &Handle) -> Result<()> {
        let (Some(next), Some(root)) = (self.next.take(), &self.root) else { return Ok(()) };
        let seized = io.spawn_blocking(move || next.seize()).await.map_err(|_| StorageError::TaskLost)?;
        self.lock = Some(seized.map_err(|error| error.into_storage(name, root))?);
        Ok(())
    }
}

pub(super) async fn open_all(specs: Vec<BucketSpec>, options: BucketOptions) -> Result<Buckets> {
    #[cfg(feature = "test-util")]
    let faults = crate::fault::Faults::from_env();
    let mut every = Vec::new();
    let mut roots = BTreeSet::new();
    for spec in specs {
        let counters = Arc::new(Counters::default());
        let mut opened = open_one(&spec, &options, &counters).await?;
        if let Some(root) = &opened.root
            && !roots.insert(root.clone())
        {
            return Err(StorageError::Locked { path: root.clone() });
        }
        #[cfg(feature = "test-util")]
        if let Some(faults) = &faults {
            opened.base = crate::fault::FaultStore::wrap(opened.base, faults);
        }
        // Above the faults, so that they meet the sums, too. What a service keeps, it checks.
        if opened.root.is_some() {
            opened.base = Arc::new(ChecksumStore::new(opened.base));
        }
        if options.claim == Claim::Read && !matches!(spec.kind, BucketKind::Memory) {
            opened.base = Arc::new(ReadOnlyStore(opened.base));
        }
        every.push((spec, opened, counters));
    }
    if every.iter().all(|(spec, ..)| spec.name != BucketName::primary()) {
        return Err(StorageError::NoPrimary);
    }
    // Only now that no bucket is in the way: a host from whom a part was taken would not notice.
    for (spec, opened, _) in &mut every {
        opened.seize(&spec.name, &options.io).await?;
    }
    let all: BTreeMap<_, _> = every
        .into_iter()
        .map(|(spec, opened, counters)| (spec.name.clone(), Bucket::assemble(spec, opened, counters, &options.io)))
        .collect();
    for bucket in all.values() {
        sweep_in_background(bucket);
    }
    let primary = all.get(&BucketName::primary()).cloned().ok_or(StorageError::NoPrimary)?;
    Ok(Buckets { all: Arc::new(all), primary })
}

async fn open_one(spec: &BucketSpec, options: &BucketOptions, counters: &Arc<Counters>) -> Result<Opened> {
    match &spec.kind {
        BucketKind::Absent => Ok(Opened::new(Arc::new(AbsentStore), options.retry)),
        BucketKind::Memory => Ok(Opened::new(Arc::new(InMemory::new()), options.retry)),
        BucketKind::Local { path } => {
            let (name, path, retry, claim) = (spec.name.clone(), path.clone(), options.retry, options.claim);
            options.io.spawn_blocking(move || open_local(&name, &path, claim, retry)).await.map_err(|_| StorageError::TaskLost)?
        }
        BucketKind::S3(remote) => {
            let base = s3::open(&spec.name, remote, options.remote_retry, counters, options.claim).await?;
            Ok(Opened::new(base, options.remote_retry))
        }
    }
}

/// Only under the lock, where no one else can be writing what looks abandoned.
fn sweep_in_background(bucket: &Bucket) {
    if let (Some(root), Some(lock)) = (bucket.shared.root.clone(), &bucket.shared.lock) {
        let since = lock.since;
        bucket.shared.io.spawn_blocking(move || {
            sweep(&root, since);
            checksum::sweep(&root, since);
        });
    }
}

fn open_local(name: &BucketName, path: &Path, claim: Claim, retry: RetryPolicy) -> Result<Opened> {
    let failed = |source: io::Error| StorageError::OpenBucket { name: name.clone(), path: path.to_owned(), source };
    if claim != Claim::Read {
        create_synced(path).map_err(failed)?;
    }
    let root = path.canonicalize().map_err(failed)?;
    let locked = match claim {
        Claim::Write => WriterLock::take(&root).map(|lock| (Some(lock), None)),
        Claim::TakeOver => NextLock::prepare(&root).map(|next| (None, Some(next))),
        Claim::Read => Ok((None, None)),
    };
    let (lock, next) = locked.map_err(|error| error.into_storage(name, &root))?;
    let store = LocalFileSystem::new_with_prefix(&root)
        .map_err(|error| failed(io::Error::other(error)))?
        .with_fsync(true)
        .with_automatic_cleanup(false);
    let store = WarmStore::new(store, root.clone());
    Ok(Opened { root: Some(root), lock, next, ..Opened::new(Arc::new(store), retry) })
}

/// Creates a directory and its missing ancestors, each entry synced.
fn create_synced(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_synced(parent)?;
    }
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => return Err(error),
        _ => {}
    }
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}
