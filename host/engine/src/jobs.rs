//! Jobs: long work whose caller does not wait.

use std::{future::Future, sync::Arc};

use lakehouse_access::{Action, Caller};
use lakehouse_jobs::{Advance, Job, JobError, JobFailure, JobState, StartJob, Watch};
use lakehouse_types::JobId;
use serde_json::Value;

use crate::{Engine, EngineError, Page};

/// The kind of jobs whose reports are certificates.
pub const ERASURE: &str = "erasure";

impl Engine {
    /// Starts work for the caller. Whether it may, the work itself asks.
    ///
    /// # Errors
    /// When too many jobs run, or the metadata store fails.
    pub async fn start_job<F>(
        &self,
        caller: &Caller,
        kind: &'static str,
        subject: String,
        work: impl FnOnce(Arc<Watch>) -> F,
    ) -> Result<Job, EngineError>
    where
        F: Future<Output = Result<Value, JobFailure>> + Send + 'static,
    {
        let start = StartJob { kind, subject, owner: caller.principal.name.clone(), request_id: caller.request_id.clone() };
        Ok(self.jobs.start(start, work).await?)
    }

    /// The caller's jobs; everybody's for those who may read the whole journal. The oldest first.
    pub fn jobs(&self, caller: &Caller, after: Option<&str>, limit: usize) -> Page<(Job, Option<Advance>)> {
        let visible = self.jobs.list().into_iter().filter(|(job, _)| sees(caller, job));
        Page::of(visible, after, limit, |(job, _)| job.id.as_str())
    }

    /// How many jobs run, whosoever they are.
    pub fn jobs_running(&self) -> usize {
        self.jobs.list().iter().filter(|(job, _)| job.state == JobState::Running).count()
    }

    /// One job.
    ///
    /// # Errors
    /// When there is none, or it is another's.
    pub fn job(&self, caller: &Caller, id: &JobId) -> Result<(Job, Option<Advance>), EngineError> {
        let (job, advance) = self.jobs.get(id)?;
        if sees(caller, &job) { Ok((job, advance)) } else { Err(JobError::Unknown { id: id.clone() }.into()) }
    }

    /// Tells a job to stop at its next safe place: one's own, or any for an admin.
    ///
    /// # Errors
    /// When there is none, or it is another's.
    pub fn cancel_job(&self, caller: &Caller, id: &JobId) -> Result<(Job, Option<Advance>), EngineError> {
        let (job, _) = self.job(caller, id)?;
        if job.owner != caller.principal.name && !caller.principal.is_admin() {
            return Err(JobError::Unknown { id: id.clone() }.into());
        }
        Ok(self.jobs.cancel(id)?)
    }
}

/// One's own; those of others for who may read the whole journal, but certificates only for who may erase.
fn sees(caller: &Caller, job: &Job) -> bool {
    let of_others = if job.kind == ERASURE { Action::Erase } else { Action::ReadJournal };
    job.owner == caller.principal.name || caller.principal.may(of_others)
}
