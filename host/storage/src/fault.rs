//! Faults on purpose, so that tests can see what becomes of them.
//!
//! `LAKEHOUSE_FAULT=kill:before:N` or `kill:after:N` sends SIGKILL to this process before or after the Nth object write of any
//! bucket (puts, completed uploads, copies, renames, deletes; the metadata store's included). `stop:before:N` sends SIGSTOP instead, for
//! a host that wakes later. `count:FILE` keeps the number of
//! writes so far in FILE. `random:SEED:N` has N of a thousand calls fail, reads too: some before they do anything, some after they
//! did it, as an answer gets lost, and as many take their time. Which ones is decided by the seed, the call, its object and how often
//! that was asked for, so that it does not hang on what runs beside it. The answer to a conditional write of the metadata store is not
//! lost: a disk loses none, and the store of a service tells its own writes from others' before they get here. `full` refuses whatever needs room, as a full disk does.
//!
//! With `LAKEHOUSE_FAULT_FROM=FILE` all of that holds only while FILE exists: a start makes a varying number of writes, and a test
//! means those of what it asks afterwards.
//!
//! **Invariant**: compiled only for tests; every call of every bucket passes through [`Faults`].

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart, path::Path,
};

use crate::meta;

const VARIABLE: &str = "LAKEHOUSE_FAULT";
const FROM: &str = "LAKEHOUSE_FAULT_FROM";
/// How long a call takes that takes its time.
const STALL: Duration = Duration::from_millis(150);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Plan {
    KillBefore(u64),
    KillAfter(u64),
    StopBefore(u64),
    Count(PathBuf),
    Random { seed: u64, per_mille: u64 },
    Full,
}

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Call {
    Put,
    /// A conditional write of the metadata store.
    Claim,
    Part,
    Complete,
    Get,
    Delete,
    List,
    Copy,
    Rename,
}

impl Call {
    fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Part)
    }

    fn needs_room(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Delete)
    }
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Well,
    Late,
    Fails,
    /// It is done, and said to have failed.
    AnswerLost,
}

/// The plan of this process and the writes so far.
#[derive(Debug)]
pub(crate) struct Faults {
    plan: Plan,
    /// The file while whose existence the plan holds; `None` for always.
    from: Option<PathBuf>,
    writes: AtomicU64,
    counting: Mutex<()>,
    /// How often each call was made.
    made: Mutex<HashMap<u64, u64>>,
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
        Self { plan, from, writes: AtomicU64::new(0), counting: Mutex::default(), made: Mutex::default() }
    }

    async fn through<T>(&self, call: Call, path: &Path, work: impl Future<Output = Result<T>>) -> Result<T> {
        if self.from.as_ref().is_some_and(|file| !file.exists()) {
            return work.await;
        }
        match &self.plan {
            Plan::Full if call.needs_room() => Err(failure(io::ErrorKind::StorageFull)),
            Plan::Random { seed, per_mille } => match self.fate(*seed, *per_mille, call, path) {
                Fate::Well => work.await,
                Fate::Late => {
                    tokio::time::sleep(STALL).await;
                    work.await
                }
                Fate::Fails => Err(failure(io::ErrorKind::TimedOut)),
                Fate::AnswerLost => work.await.and(Err(failure(io::ErrorKind::TimedOut))),
            },
            _ if call.is_write() => self.counted(work).await,
            _ => work.await,
        }
    }

    fn fate(&self, seed: u64, per_mille: u64, call: Call, path: &Path) -> Fate {
        let digest = |more: u64| {
            let mut hasher = DefaultHasher::new();
            (seed, call, path.as_ref(), more).hash(&mut hasher);
            hasher.finish()
        };
        let nth = {
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            let nth = made.entry(digest(0)).or_insert(0);
            *nth += 1;
            *nth
        };
        match digest(nth) % 1000 {
            roll if roll < per_mille / 2 => Fate::Fails,
            roll if roll < per_mille && call == Call::Claim => Fate::Fails,
            roll if roll < per_mille => Fate::AnswerLost,
            roll if roll < 2 * per_mille => Fate::Late,
            _ => Fate::Well,
        }
    }

    async fn counted<T>(&self, write: impl Future<Output = T>) -> T {
        let ordinal = self.writes.fetch_add(1, SeqCst) + 1;
        if self.plan == Plan::KillBefore(ordinal) {
            die().await;
        }
        if self.plan == Plan::StopBefore(ordinal) {
            let outcome = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
            tracing::warn!(?outcome, "woken");
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
    let mut parts = text.splitn(3, ':');
    match (parts.next()?, parts.next(), parts.next()) {
        ("kill", Some("before"), Some(ordinal)) => ordinal.parse().ok().map(Plan::KillBefore),
        ("stop", Some("before"), Some(ordinal)) => ordinal.parse().ok().map(Plan::StopBefore),
        ("kill", Some("after"), Some(ordinal)) => ordinal.parse().ok().map(Plan::KillAfter),
        ("random", Some(seed), Some(share)) => {
            let (seed, per_mille) = (seed.parse().ok()?, share.parse().ok()?);
            (per_mille <= 500).then_some(Plan::Random { seed, per_mille })
        }
        ("full", None, None) => Some(Plan::Full),
        _ => text.strip_prefix("count:").map(|file| Plan::Count(file.into())),
    }
}

fn failure(kind: io::ErrorKind) -> object_store::Error {
    object_store::Error::Generic { store: "fault", source: Box::new(io::Error::from(kind)) }
}

async fn die() {
    let outcome = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    tracing::error!(?outcome, "a kill point was reached");
    std::future::pending::<()>().await;
}

/// A store whose calls pass through the plan.
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
        let call = if meta::holds(location) && matches!(opts.mode, PutMode::Create) { Call::Claim } else { Call::Put };
        self.faults.through(call, location, self.inner.put_opts(location, payload, opts)).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(FaultUpload { inner, faults: Arc::clone(&self.faults), location: location.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.faults.through(Call::Get, location, self.inner.get_opts(location, options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.faults.through(Call::Get, location, self.inner.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, faults) = (Arc::clone(&self.inner), Arc::clone(&self.faults));
        locations
            .and_then(move |location| {
                let (inner, faults) = (Arc::clone(&inner), Arc::clone(&faults));
                async move { faults.through(Call::Delete, &location, inner.delete(&location)).await.map(|()| location) }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let none = Path::default();
        self.faults.through(Call::List, prefix.unwrap_or(&none), self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.faults.through(Call::Copy, to, self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.faults.through(Call::Rename, to, self.inner.rename_opts(from, to, options)).await
    }
}

impl FaultStore {
    /// A listing that fails does so at once.
    fn listed(
        &self,
        prefix: Option<&Path>,
        found: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (faults, prefix) = (Arc::clone(&self.faults), prefix.cloned().unwrap_or_default());
        let begun = async move { faults.through(Call::List, &prefix, async { Ok(found) }).await };
        futures::stream::once(begun).try_flatten().boxed()
    }
}

#[derive(Debug)]
struct FaultUpload {
    inner: Box<dyn MultipartUpload>,
    faults: Arc<Faults>,
    location: Path,
}

#[async_trait]
impl MultipartUpload for FaultUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (faults, location, part) = (Arc::clone(&self.faults), self.location.clone(), self.inner.put_part(data));
        Box::pin(async move { faults.through(Call::Part, &location, part).await })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.faults.through(Call::Complete, &self.location, self.inner.complete()).await
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

    /// The outcomes of the same calls, in an order of their own.
    async fn outcomes(seed: u64, backwards: bool) -> Vec<(u32, bool, bool)> {
        let inner = Arc::new(InMemory::new());
        let faults = Arc::new(Faults::new(Plan::Random { seed, per_mille: 200 }, None));
        let store = FaultStore::wrap(Arc::clone(&inner) as _, &faults);
        let mut told = Vec::new();
        for n in if backwards { (0..200_u32).rev().collect::<Vec<_>>() } else { (0..200).collect() } {
            let path = Path::from(format!("object-{n}"));
            let answered = store.put(&path, "x".into()).await.is_ok();
            told.push((n, answered, inner.head(&path).await.is_ok()));
        }
        told.sort_unstable();
        told
    }

    #[tokio::test(start_paused = true)]
    async fn a_seed_decides_which_calls_fail_and_whether_they_were_done() {
        let first = outcomes(1, false).await;
        assert_eq!(first, outcomes(1, true).await, "whatever the order");
        assert_ne!(first, outcomes(2, false).await);
        let failed = first.iter().filter(|(_, answered, _)| !answered).count();
        let lost_answers = first.iter().filter(|(_, answered, done)| !answered && *done).count();
        assert!((20..60).contains(&failed) && (5..40).contains(&lost_answers), "{failed}, {lost_answers}");
        assert!(first.iter().all(|(_, answered, done)| *done || !answered));
    }

    #[tokio::test]
    async fn a_full_disk_takes_nothing_and_gives_what_it_has() {
        let inner = Arc::new(InMemory::new());
        let path = Path::from("a");
        inner.put(&path, "a".into()).await.unwrap();
        let store = FaultStore::wrap(Arc::clone(&inner) as _, &Arc::new(Faults::new(Plan::Full, None)));
        assert!(store.put(&path, "b".into()).await.is_err());
        assert!(store.get(&path).await.is_ok());
        store.delete(&path).await.unwrap();
    }

    #[test]
    fn plans_are_read_from_text() {
        assert_eq!(parse("kill:before:3"), Some(Plan::KillBefore(3)));
        assert_eq!(parse("kill:after:12"), Some(Plan::KillAfter(12)));
        assert_eq!(parse("count:/tmp/n"), Some(Plan::Count("/tmp/n".into())));
        assert_eq!(parse("random:7:100"), Some(Plan::Random { seed: 7, per_mille: 100 }));
        assert_eq!(parse("stop:before:3"), Some(Plan::StopBefore(3)));
        assert_eq!(parse("full"), Some(Plan::Full));
        assert_eq!(parse("random:7:900"), None);
        assert_eq!(parse("kill:12"), None);
        assert_eq!(parse("kill:after:x"), None);
    }
}
