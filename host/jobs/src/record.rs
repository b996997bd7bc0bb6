//! What is kept of a job.

use chrono::{DateTime, Utc};
use lakehouse_storage::Record;
use lakehouse_types::{Actor, Code, Fault, JobId, Members, RequestId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A job, running or ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub id: JobId,
    /// What kind of work: `compact`, `refresh`, …
    pub kind: String,
    /// What it works on: a dataset, an index, a profile.
    pub subject: String,
    pub owner: Actor,
    /// The request that started it, under which the log speaks of it.
    pub request_id: RequestId,
    pub state: JobState,
    pub created_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    /// What the same call would have answered, had it been waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<JobFailure>,
}

impl Record for Job {
    const COLLECTION: &'static str = "jobs";
    const FORMAT: u32 = 1;
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Running,
    Done,
    Failed,
    /// It was told to stop, and did before it changed anything.
    Cancelled,
}

/// Why a job failed, as a caller is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobFailure {
    /// A problem code.
    pub code: String,
    pub detail: String,
    #[serde(default, skip_serializing_if = "Members::is_empty")]
    pub members: Members,
}

impl JobFailure {
    pub fn new(code: Code, detail: impl Into<String>, members: Members) -> Self {
        Self { code: code.as_str().to_owned(), detail: detail.into(), members }
    }

    /// What a fault tells its caller.
    pub fn of(fault: &dyn Fault) -> Self {
        Self::new(fault.code(), fault.public(), fault.members())
    }
}
