//! The running jobs and the kept ones.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use lakehouse_storage::Meta;
use lakehouse_types::{Actor, Clock, Code, JobId, Members, Progress, RequestId};
use parking_lot::Mutex;
use serde_json::Value;

use crate::{Advance, Job, JobError, JobFailure, JobState, Result, Watch};

/// How long a job that has ended is kept.
pub const KEPT_HOURS: i64 = 24;
/// Jobs at once.
pub const MAX_RUNNING: usize = 32;
/// How often ended jobs are looked through for those whose time is over.
const FORGET_EVERY: Duration = Duration::from_mins(10);
/// How often the end of a job is written again when the metadata store fails.
const END_TRIES: u32 = 5;
const END_PAUSE: Duration = Duration::from_millis(200);

/// All jobs of this host. Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    shared: Arc<Shared>,
}

struct Shared {
    meta: Meta,
    clock: Arc<dyn Clock>,
    jobs: Mutex<HashMap<JobId, Entry>>,
}

#[derive(Clone)]
struct Entry {
    job: Job,
    /// Of a running one.
    watch: Option<Arc<Watch>>,
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").field("jobs", &self.shared.jobs.lock().len()).finish_non_exhaustive()
    }
}

/// A job to start.
#[derive(Debug, Clone)]
pub struct StartJob {
    pub kind: &'static str,
    pub subject: String,
    pub owner: Actor,
    pub request_id: RequestId,
}

impl Jobs {
    /// Reads what is kept. Jobs that ran when the server stopped have failed; over metadata that another host writes they are that
    /// host's, see [`Jobs::reload`].
    ///
    /// # Errors
    /// When the metadata store fails.
    pub async fn open(meta: Meta, clock: Arc<dyn Clock>) -> Result<Self> {
        let mut jobs = HashMap::new();
        for (_, mut job) in meta.collection::<Job>().all().await? {
            if job.state == JobState::Running && !meta.is_reader() {
                let why = "the server stopped while the job ran; what it had committed stands, the rest was undone";
                job.state = JobState::Failed;
                job.ended_at = Some(clock.now());
                job.failure = Some(JobFailure::new(Code::Interrupted, why, Members::new()));
                put(&meta, &job).await?;
            }
            jobs.insert(job.id.clone(), Entry { job, watch: None });
        }
        let shared = Arc::new(Shared { meta: meta.clone(), clock, jobs: Mutex::new(jobs) });
        if !meta.is_reader() {
            shared.forget_old().await?;
            meta.runtime().spawn(forget_every(FORGET_EVERY, Arc::downgrade(&shared)));
        }
        Ok(Self { shared })
    }

    /// Reads the jobs of another host anew.
    ///
    /// # Errors
    /// When the metadata store fails.
    pub async fn reload(&self) -> Result<()> {
        let jobs = self.shared.meta.collection::<Job>().all().await?;
        let entries = jobs.into_iter().map(|(_, job)| (job.id.clone(), Entry { job, watch: None }));
        *self.shared.jobs.lock() = entries.collect();
        Ok(())
    }

    /// Starts work, and answers as soon as it is written down that it runs. The work reports what it tells its [`Watch`]; its
    /// result is kept.
    ///
    /// # Errors
    /// When too many run, or the metadata store fails: then nothing was started.
    pub async fn start<F>(&self, start: StartJob, work: impl FnOnce(Arc<Watch>) -> F) -> Result<Job>
    where
        F: Future<Output = std::result::Result<Value, JobFailure>> + Send + 'static,
    {
        let StartJob { kind, subject, owner, request_id } = start;
        let job = Job {
            id: JobId::fresh(),
            kind: kind.to_owned(),
            subject,
            owner,
            request_id,
            state: JobState::Running,
            created_at: self.shared.clock.now(),
            ended_at: None,
            report: None,
            failure: None,
        };
        let watch = Arc::new(Watch::default());
        {
            let mut jobs = self.shared.jobs.lock();
            if jobs.values().filter(|entry| entry.watch.is_some()).count() >= MAX_RUNNING {
                return Err(JobError::TooMany { limit: MAX_RUNNING });
            }
            jobs.insert(job.id.clone(), Entry { job: job.clone(), watch: Some(Arc::clone(&watch)) });
        }
        if let Err(error) = put(&self.shared.meta, &job).await {
            self.shared.jobs.lock().remove(&job.id);
            return Err(error);
        }
        let (shared, running) = (Arc::clone(&self.shared), job.clone());
        let work = work(Arc::clone(&watch));
        self.shared.meta.runtime().spawn(async move {
            let outcome = AssertUnwindSafe(work).catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|_| Err(JobFailure::new(Code::Internal, "the work panicked", Members::new())));
            shared.end(running, &watch, outcome).await;
        });
        Ok(job)
    }

    /// A job and, while it runs, how far it is.
    ///
    /// # Errors
    /// When there is none of this id.
    pub fn get(&self, id: &JobId) -> Result<(Job, Option<Advance>)> {
        let jobs = self.shared.jobs.lock();
        let entry = jobs.get(id).ok_or_else(|| JobError::Unknown { id: id.clone() })?;
        Ok((entry.job.clone(), entry.watch.as_ref().map(|watch| watch.advance_so_far())))
    }

    /// All jobs, by id: the oldest first.
    pub fn list(&self) -> Vec<(Job, Option<Advance>)> {
        let jobs = self.shared.jobs.lock();
        let entry = |entry: &Entry| (entry.job.clone(), entry.watch.as_ref().map(|watch| watch.advance_so_far()));
        let mut listed: Vec<_> = jobs.values().map(entry).collect();
        listed.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        listed
    }

    /// Tells a job to stop at its next safe place. One that has ended stays as it is.
    ///
    /// # Errors
    /// When there is none of this id.
    pub fn cancel(&self, id: &JobId) -> Result<(Job, Option<Advance>)> {
        {
            let jobs = self.shared.jobs.lock();
            let entry = jobs.get(id).ok_or_else(|| JobError::Unknown { id: id.clone() })?;
            if let Some(watch) = &entry.watch {
                watch.cancel();
            }
        }
        self.get(id)
    }

    /// Tells all to stop, for a shutdown.
    pub fn cancel_all(&self) {
        self.shared.jobs.lock().values().filter_map(|entry| entry.watch.as_ref()).for_each(|watch| watch.cancel());
    }

    /// Waits until none runs.
    pub async fn ended(&self) {
        const LOOK: Duration = Duration::from_millis(10);
        while self.shared.jobs.lock().values().any(|entry| entry.watch.is_some()) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Shared {
    async fn end(&self, mut job: Job, watch: &Watch, outcome: std::result::Result<Value, JobFailure>) {
        job.ended_at = Some(self.clock.now());
        match outcome {
            Ok(report) => {
                job.state = JobState::Done;
                job.report = Some(report);
            }
            Err(failure) => {
                let was_told = watch.is_cancelled() && failure.code == Code::Cancelled.as_str();
                job.state = if was_told { JobState::Cancelled } else { JobState::Failed };
                job.failure = Some(failure);
            }
        }
        for attempt in 1..=END_TRIES {
            match put(&self.meta, &job).await {
                Ok(()) => break,
                // The next start takes it for interrupted.
                Err(error) if attempt == END_TRIES => {
                    tracing::error!(job = %job.id, error = &error as &dyn std::error::Error, "the end of a job could not be kept");
                }
                Err(_) => tokio::time::sleep(END_PAUSE).await,
            }
        }
        self.jobs.lock().insert(job.id.clone(), Entry { job, watch: None });
    }

    fn is_old(&self, ended_at: Option<DateTime<Utc>>) -> bool {
        ended_at.is_some_and(|ended| ended < self.clock.now() - TimeDelta::hours(KEPT_HOURS))
    }

    async fn forget_old(&self) -> Result<()> {
        let old: Vec<JobId> = {
            let jobs = self.jobs.lock();
            jobs.values().filter(|entry| self.is_old(entry.job.ended_at)).map(|entry| entry.job.id.clone()).collect()
        };
        if old.is_empty() {
            return Ok(());
        }
        let mut transaction = self.meta.begin().await?;
        old.iter().for_each(|id| transaction.delete::<Job>(id.as_str()));
        transaction.commit().await?;
        let mut jobs = self.jobs.lock();
        old.iter().for_each(|id| {
            jobs.remove(id);
        });
        Ok(())
    }
}

async fn put(meta: &Meta, job: &Job) -> Result<()> {
    let mut transaction = meta.begin().await?;
    transaction.put(job.id.as_str(), job)?;
    Ok(transaction.commit().await?)
}

async fn forget_every(pause: Duration, shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(pause).await;
        let Some(shared) = shared.upgrade() else { return };
        if let Err(error) = shared.forget_old().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "old jobs stay for now");
        }
    }
}
