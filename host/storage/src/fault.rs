//! Kill points: ends the process at a chosen write, so that tests can restart at every one of them.
//!
//! `LAKEHOUSE_FAULT=kill:before:N` or `kill:after:N` sends SIGKILL to this process before or after the Nth object write of any
//! bucket (puts, completed uploads, copies, renames, deletes; the metadata store's included). `count:FILE` keeps the number of
//! writes so far in FILE. With `LAKEHOUSE_FAULT_FROM=FILE`, writes count only from when FILE exists: a start makes a varying
//! number of them, and a test means those of what it asks afterwards.
//!
//! **Invariant**: compiled only for tests; every write of every bucket passes through [`Faults::write`].

use std::{
    fmt,
    future::Future,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart, path::Path,
};

const VARIABLE: &str = "LAKEHOUSE_FAULT";
const FROM: &str = "LAKEHOUSE_FAULT_FROM";

#[derive(Debug, Clone, PartialEq, Eq)]
enum Plan {
    KillBefore(u64),
    KillAfter(u64),
    Count(PathBuf),
}

/// The plan of this process and the writes so far.
#[derive(Debug)]
pub(crate) struct Faults {
    plan: Plan,
    /// The file whose existence starts the count; `None` counts from the start.
    from: Option<PathBuf>,
    writes: AtomicU64,
    counting: Mutex<()>,
}

impl Faults {
    /// The plan of the environment, if there is one.
    pub(crate) fn from_env() -> Option<Arc<Self>> {
        let text = std::env::var(VARIABLE).ok()?;
        let plan = parse(&text);
        if plan.is_none() {
            tracing::warn!(variable = VARIABLE, "not understood and ignored");
        }
        plan.map(|plan| Arc::new(Self::new(plan, std::env::var_os(FROM).map(PathBuf::from))))
    }

    fn new(plan: Plan, from: Option<PathBuf>) -> Self {
        Self { plan, from, writes: AtomicU64::new(0), counting: Mutex::new(()) }
    }

    async fn write<T>(&self, write: impl Future<Output = T>) -> T {
        if self.from.as_ref().is_some_and(|file| !file.exists()) {
            return write.await;
        }
        let ordinal = self.writes.fetch_add(1, SeqCst) + 1;
        if self.plan == Plan::KillBefore(ordinal) {
            die().await;
        }
        let outcome = write.await;
        if self.plan == Plan::KillAfter(ordinal) {
            die().await;
        }
        if let Plan::Count(file) = &self.plan {
            // In turn, so that an older count never overwrites a newer one.
            let _turn = self.counting.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = std::fs::write(file, self.writes.load(SeqCst).to_string()) {
                tracing::warn!(%error, "the count of writes was not kept");
            }
        }
        outcome
    }
}

fn parse(text: &str) -> Option<Plan> {
    if let Some(ordinal) = text.strip_prefix("kill:before:") {
        return ordinal.parse().ok().map(Plan::KillBefore);
    }
    if let Some(ordinal) = text.strip_prefix("kill:after:") {
        return ordinal.parse().ok().map(Plan::KillAfter);
    }
    text.strip_prefix("count:").map(|file| Plan::Count(file.into()))
}

async fn die() {
    let outcome = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    tracing::error!(?outcome, "a kill point was reached");
    std::future::pending::<()>().await;
}

/// A store whose writes pass through the plan.
#[derive(Debug)]
pub(crate) struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    faults: Arc<Faults>,
}

impl FaultStore {
    pub(crate) fn wrap(inner: Arc<dyn ObjectStore>, faults: &Arc<Faults>) -> Arc<dyn ObjectStore> {
        Arc::new(Self { inner, faults: Arc::clone(faults) })
    }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.faults.write(self.inner.put_opts(location, payload, opts)).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(FaultUpload { inner, faults: Arc::clone(&self.faults) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, faults) = (Arc::clone(&self.inner), Arc::clone(&self.faults));
        locations
            .and_then(move |location| {
                let (inner, faults) = (Arc::clone(&inner), Arc::clone(&faults));
                async move { faults.write(inner.delete(&location)).await.map(|()| location) }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.faults.write(self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.faults.write(self.inner.rename_opts(from, to, options)).await
    }
}

#[derive(Debug)]
struct FaultUpload {
    inner: Box<dyn MultipartUpload>,
    faults: Arc<Faults>,
}

#[async_trait]
impl MultipartUpload for FaultUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.faults.write(self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::{StreamExt, TryStreamExt};
    use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};

    use super::{FaultStore, Faults, Plan, parse};

    #[tokio::test]
    async fn every_kind_of_write_is_counted_and_no_read_is() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("count");
        let from = root.path().join("from");
        let faults = Arc::new(Faults::new(Plan::Count(file.clone()), Some(from.clone())));
        let store = FaultStore::wrap(Arc::new(InMemory::new()), &faults);
        let count = || std::fs::read_to_string(&file).map_or(0, |text| text.parse::<u64>().unwrap());
        let path = |name: &str| Path::from(name);

        store.put(&path("a"), "a".into()).await.unwrap();
        assert_eq!(count(), 0, "the count has not begun");
        std::fs::write(from, "").unwrap();
        store.put(&path("a"), "a".into()).await.unwrap();
        store.get(&path("a")).await.unwrap();
        store.head(&path("a")).await.unwrap();
        assert_eq!(count(), 1);
        let mut upload = store.put_multipart(&path("b")).await.unwrap();
        upload.put_part("b".into()).await.unwrap();
        assert_eq!(count(), 1);
        upload.complete().await.unwrap();
        store.copy(&path("a"), &path("c")).await.unwrap();
        store.rename(&path("c"), &path("d")).await.unwrap();
        assert_eq!(count(), 4);
        let locations = futures::stream::iter([Ok(path("a")), Ok(path("b"))]).boxed();
        store.delete_stream(locations).try_collect::<Vec<_>>().await.unwrap();
        assert_eq!(count(), 6);
    }

    #[test]
    fn plans_are_read_from_text() {
        assert_eq!(parse("kill:before:3"), Some(Plan::KillBefore(3)));
        assert_eq!(parse("kill:after:12"), Some(Plan::KillAfter(12)));
        assert_eq!(parse("count:/tmp/n"), Some(Plan::Count("/tmp/n".into())));
        assert_eq!(parse("kill:12"), None);
        assert_eq!(parse("kill:after:x"), None);
    }
}
