//! `kill -9`, a new start, and all of it still there.

use std::time::Instant;

use serde_json::{Value, json};

use super::{Stage, stage::health};
use crate::{
    client::Client,
    demo::{
        ask::quoted,
        clients::{Face, classify},
        grouped,
        narrator::Narrator,
        spoken,
        subject::Subject,
    },
    failure::{Failure, plain},
};

/// What must be the same on both sides of the kill.
#[derive(Debug, PartialEq, Eq)]
struct State {
    rows: u64,
    seen: u64,
    buried: u64,
    events: u64,
    masks: Vec<(String, String)>,
    views: Vec<String>,
    profiles: Vec<String>,
    keys: usize,
    /// Row keys that a search finds.
    found: Vec<String>,
}

pub(in crate::demo) async fn restart(narrator: &mut Narrator, stage: &mut Stage, subject: &Subject) -> Result<(), Failure> {
    narrator.begin("kill -9, start again");
    let before = state(stage, subject).await?;
    let began = Instant::now();
    stage.lake.kill_and_restart().await?;
    let took = began.elapsed();
    stage.admin = stage.lake.admin()?;
    let after = state(stage, subject).await?;
    let health = health(&stage.admin).await?;
    narrator.check(health == "ok", format!("killed without warning, answering again after {}: {health}", spoken(took)));
    narrator.check(after.rows == before.rows, format!("{} rows", grouped(after.rows)));
    narrator
        .check(after.seen == before.seen, format!("{} of them through the view, by the reader's old key", grouped(after.seen)));
    narrator.check(after.buried == 0 && before.buried == 0, "the tombstoned keys stay hidden");
    narrator
        .check(after.events >= before.events && before.events > 0, format!("{} events in the journal, none lost", after.events));
    narrator.check(
        after.masks == before.masks && !after.masks.is_empty(),
        format!(
            "components: {}",
            after.masks.iter().map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>().join(", ")
        ),
    );
    narrator.check(
        after.views == before.views && after.profiles == before.profiles && after.keys == before.keys,
        format!("views: {}; profiles: {}; {} keys", after.views.join(", "), after.profiles.join(", "), after.keys),
    );
    if stage.is_indexed {
        narrator.check(
            after.found == before.found && !after.found.is_empty(),
            format!("the same search finds the same {} rows", after.found.len()),
        );
    }
    let reader = stage.reader()?;
    let body = reader.csv(&format!("SELECT {} AS k FROM {} LIMIT 500", quoted(&subject.id), quoted(&subject.view()))).await?;
    narrator.check(classify(&body) == Face::Old, "the rolled back mask is still version 1");
    let whole = json!({ "client": { "id": "CLI-17" }, "role": "welder", "city": "Dayton", "start_date": "2026-07-01" });
    let decision = stage.admin.post(&["truth", "evaluate"], &json!({ "task_class": "fill", "context": whole })).await?;
    narrator.check(decision.get("decision").and_then(Value::as_str) == Some("allow"), "the truth rules decide as before");
    narrator.figure("restart after kill -9, until it answers", spoken(took));
    narrator.end();
    Ok(())
}

async fn state(stage: &Stage, subject: &Subject) -> Result<State, Failure> {
    let (admin, reader) = (&stage.admin, stage.reader()?);
    let base = quoted(&subject.dataset);
    Ok(State {
        rows: admin.count(&subject.dataset).await?,
        seen: reader.count(&subject.view()).await?,
        buried: admin.number(&format!("SELECT count(*) AS n FROM {base} WHERE {}", subject.is_buried())).await?,
        events: admin.events().await?,
        masks: admin
            .list(&["plugins"], "plugins")
            .await?
            .iter()
            .map(|plugin| (member(plugin, "name"), member(plugin, "version")))
            .collect(),
        views: names(admin, &["catalog", "views"], "views", "name").await?,
        profiles: names(admin, &["catalog", "profiles"], "profiles", "id").await?,
        keys: admin.list(&["admin", "keys"], "keys").await?.len(),
        found: found(stage, subject).await?,
    })
}

async fn found(stage: &Stage, subject: &Subject) -> Result<Vec<String>, Failure> {
    if !stage.is_indexed {
        return Ok(Vec::new());
    }
    let body = json!({ "index": subject.index(), "query": "night-shift forklift operator", "k": 20 });
    let hits = stage.recruiter()?.post(&["vectors", "hybrid"], &body).await?;
    Ok(super::search::members(&hits, "hits").iter().map(|hit| super::search::member(hit, "row_key")).collect())
}

async fn names(client: &Client, path: &[&str], field: &str, name: &str) -> Result<Vec<String>, Failure> {
    Ok(client.list(path, field).await?.iter().map(|item| member(item, name)).collect())
}

fn member(item: &Value, name: &str) -> String {
    item.get(name).map(plain).unwrap_or_default()
}
