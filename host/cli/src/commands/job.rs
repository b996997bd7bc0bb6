//! `lakehouse jobs`, and commands whose work runs as a job on the server.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde_json::Value;

use super::index::spinner;
use crate::{
    args::{JobCommand, Jobs},
    client::Client,
    console::Console,
    failure::{Failure, Problem},
};

/// How often a job is asked for: soon at first, then at leisure.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

pub(crate) async fn jobs(console: Console, client: Client, command: Jobs) -> Result<(), Failure> {
    match command.command.unwrap_or(JobCommand::List) {
        JobCommand::List => {
            let jobs = client.list(&["jobs"], "jobs").await?;
            console.objects(&jobs, &["id", "kind", "subject", "state", "owner", "created_at", "ended_at"])
        }
        JobCommand::Show { id } => console.object(&client.get(&["jobs", &id]).await?),
        JobCommand::Wait { id } => console.object(&follow(console, &client, &id).await?),
        JobCommand::Cancel { id } => console.object(&client.delete(&["jobs", &id]).await?),
    }
}

/// Starts work as a job, shows how far it is, and answers its report.
pub(super) async fn run(console: Console, client: &Client, path: &[&str], body: &Value) -> Result<Value, Failure> {
    let request = client.request(Method::POST, path).header("Prefer", "respond-async");
    let request = if body.is_null() { request } else { request.json(body) };
    let started = client.json(request).await?;
    let id = started.pointer("/job/id").and_then(Value::as_str).ok_or_else(|| Failure::Answer("no job in it".into()))?;
    follow(console, client, id).await
}

async fn follow(console: Console, client: &Client, id: &str) -> Result<Value, Failure> {
    let bar = spinner(console, "starting");
    let mut pause = FIRST_LOOK;
    let ended = loop {
        let mut job = client.get(&["jobs", id]).await?;
        let text = |name: &str| job.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        match text("state").as_str() {
            "running" => {
                show(&bar, &format!("{} {}", text("kind"), text("subject")), job.get("progress"));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            "done" => break Ok(job.get_mut("report").map(Value::take).unwrap_or_default()),
            _ => {
                let problem = job.get_mut("problem").map(Value::take).unwrap_or_default();
                let read = serde_json::from_value::<Problem>(problem);
                break Err(read.map_or_else(
                    |_| Failure::Answer("a job that failed without a problem".into()),
                    |problem| Failure::Problem(Box::new(problem)),
                ));
            }
        }
    };
    bar.finish_and_clear();
    ended
}

fn show(bar: &ProgressBar, what: &str, progress: Option<&Value>) {
    let number = |name: &str| progress.and_then(|progress| progress.get(name)).and_then(Value::as_u64);
    let unit = progress.and_then(|progress| progress.get("unit")).and_then(Value::as_str).unwrap_or_default();
    bar.set_message(what.to_owned());
    match (number("done"), number("total").filter(|total| *total > 0)) {
        (Some(done), Some(total)) => {
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {bar:30} {pos}/{len} {prefix}") {
                bar.set_style(style);
            }
            bar.set_prefix(unit.to_owned());
            bar.set_length(total);
            bar.set_position(done.min(total));
        }
        (Some(done), None) if !unit.is_empty() => bar.set_message(format!("{what}: {done} {unit}")),
        _ => {}
    }
}
