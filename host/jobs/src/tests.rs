use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use lakehouse_storage::{BucketKind, BucketOptions, BucketSpec, Buckets, Meta, MetaOptions};
use lakehouse_types::{Actor, BucketName, Clock, Code, JobId, ManualClock, Members, Progress, RequestId};
use serde_json::json;
use tokio::{runtime::Handle, sync::oneshot};

use crate::{Job, JobError, JobFailure, JobState, Jobs, KEPT_HOURS, MAX_RUNNING, StartJob};

struct Host {
    jobs: Jobs,
    meta: Meta,
    clock: Arc<ManualClock>,
}

async fn open() -> Host {
    let specs = vec![BucketSpec { name: BucketName::primary(), kind: BucketKind::Memory }];
    let buckets = Buckets::open(specs, BucketOptions::new(Handle::current())).await.unwrap();
    let meta = Meta::open(&buckets.primary(), MetaOptions::default()).await.unwrap();
    let clock = Arc::new(ManualClock::at(DateTime::<Utc>::UNIX_EPOCH));
    let jobs = Jobs::open(meta.clone(), Arc::clone(&clock) as Arc<dyn Clock>).await.unwrap();
    Host { jobs, meta, clock }
}

fn start() -> StartJob {
    StartJob {
        kind: "compact",
        subject: "people".into(),
        owner: Actor::new("ada").unwrap(),
        request_id: RequestId::new("r-1").unwrap(),
    }
}

async fn ended(jobs: &Jobs, id: &JobId) -> Job {
    for _ in 0..1000 {
        let (job, _) = jobs.get(id).unwrap();
        if job.state != JobState::Running {
            return job;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the job never ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_tells_how_far_it_is_and_what_came_of_it() {
    let host = open().await;
    let (go, wait) = oneshot::channel::<()>();
    let started = host.jobs.start(start(), |watch| async move {
        watch.begin("rows", Some(10));
        watch.advance(4);
        let _ = wait.await;
        Ok(json!({ "rows": 10 }))
    });
    let job = started.await.unwrap();
    assert_eq!(job.state, JobState::Running);
    let kept = host.meta.collection::<Job>().get(job.id.as_str()).await.unwrap();
    assert_eq!(kept.as_ref(), Some(&job), "it is durable before it is answered for");
    for _ in 0..1000 {
        if host.jobs.get(&job.id).unwrap().1.is_some_and(|advance| advance.done == 4) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let advance = host.jobs.get(&job.id).unwrap().1.unwrap();
    assert_eq!((advance.done, advance.total, advance.unit), (4, Some(10), "rows"));
    go.send(()).unwrap();
    let done = ended(&host.jobs, &job.id).await;
    assert_eq!((done.state, done.report), (JobState::Done, Some(json!({ "rows": 10 }))));
    assert_eq!(host.meta.collection::<Job>().get(job.id.as_str()).await.unwrap().unwrap().state, JobState::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_failed_and_panicked_jobs_end_as_what_they_are() {
    let host = open().await;
    let waiting = host.jobs.start(start(), |watch| async move {
        while !watch.is_cancelled() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        Err(JobFailure::new(Code::Cancelled, "cancelled", Members::new()))
    });
    let waiting = waiting.await.unwrap();
    host.jobs.cancel(&waiting.id).unwrap();
    assert_eq!(ended(&host.jobs, &waiting.id).await.state, JobState::Cancelled);
    let failing = host.jobs.start(start(), |_| async { Err(JobFailure::new(Code::Busy, "busy", Members::new())) }).await.unwrap();
    let failed = ended(&host.jobs, &failing.id).await;
    assert_eq!((failed.state, failed.failure.unwrap().code.as_str()), (JobState::Failed, "busy"));
    let panicking = host.jobs.start(start(), |_| async { panic!("on purpose") }).await.unwrap();
    assert_eq!(ended(&host.jobs, &panicking.id).await.failure.unwrap().code, "internal");
    assert!(matches!(host.jobs.cancel(&JobId::new("none").unwrap()), Err(JobError::Unknown { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_a_stop_interrupted_has_failed_and_says_so() {
    let host = open().await;
    let job = host.jobs.start(start(), |_| std::future::pending()).await.unwrap();
    let after = Jobs::open(host.meta.clone(), Arc::clone(&host.clock) as Arc<dyn Clock>).await.unwrap();
    let (interrupted, advance) = after.get(&job.id).unwrap();
    assert_eq!((interrupted.state, advance), (JobState::Failed, None));
    assert_eq!(interrupted.failure.unwrap().code, "interrupted");
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_kept_for_a_day_and_jobs_are_bounded() {
    let host = open().await;
    let job = host.jobs.start(start(), |_| async { Ok(json!({})) }).await.unwrap();
    ended(&host.jobs, &job.id).await;
    host.clock.advance(TimeDelta::hours(KEPT_HOURS - 1));
    let reopened = Jobs::open(host.meta.clone(), Arc::clone(&host.clock) as Arc<dyn Clock>).await.unwrap();
    assert!(reopened.get(&job.id).is_ok());
    host.clock.advance(TimeDelta::hours(2));
    let reopened = Jobs::open(host.meta.clone(), Arc::clone(&host.clock) as Arc<dyn Clock>).await.unwrap();
    assert!(matches!(reopened.get(&job.id), Err(JobError::Unknown { .. })));
    assert_eq!(host.meta.collection::<Job>().all().await.unwrap().len(), 0);
    for _ in 0..MAX_RUNNING {
        reopened.start(start(), |_| std::future::pending()).await.unwrap();
    }
    let one_more = reopened.start(start(), |_| std::future::pending()).await;
    assert!(matches!(one_more, Err(JobError::TooMany { .. })), "{one_more:?}");
}
