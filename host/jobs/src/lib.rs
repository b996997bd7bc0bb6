//! Long work that its caller does not wait for: started, watched, cancelled, and told of for a day after its end.
//!
//! **Invariant**: a job that was answered for is durable, and so is its end. One that a stop of the server interrupted has failed,
//! and says so: none is lost, and none is run twice.

mod error;
mod jobs;
mod record;
mod watch;

pub use error::{JobError, Result};
pub use jobs::{Jobs, KEPT_HOURS, MAX_RUNNING, StartJob};
pub use record::{Job, JobFailure, JobState};
pub use watch::{Advance, Watch};

#[cfg(test)]
mod tests;
