//! A component that loops for ever, bound to one view: its own request fails, its neighbours hardly notice.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use super::Stage;
use crate::{
    demo::{ask::quoted, clients::median, narrator::Narrator, spoken, subject::Subject},
    failure::Failure,
};

/// The binding's deadline.
const DEADLINE: Duration = Duration::from_millis(400);
/// How much later the answer may come: the trap, the answer, and a loaded machine.
const DEADLINE_MARGIN: Duration = Duration::from_millis(600);
/// How long the neighbours are timed, with and without.
const TIMED: Duration = Duration::from_millis(2_000);
const PACE: Duration = Duration::from_millis(15);
/// What the neighbours' median may grow by besides half: on two cores, client, server and component share them.
const NEIGHBOUR_MARGIN: Duration = Duration::from_millis(5);

pub(in crate::demo) async fn hostile(narrator: &mut Narrator, stage: &Stage, subject: &Subject) -> Result<(), Failure> {
    narrator.begin("a hostile component: an endless loop behind another view");
    let view = subject.hostile_view();
    let evil = stage.components.read("evil")?;
    stage.admin.json(stage.admin.request(Method::PUT, &["plugins", "evil"]).body(evil)).await?;
    let deadline_ms = u64::try_from(DEADLINE.as_millis()).unwrap_or(u64::MAX);
    let profile = json!({
        "id": "lab",
        "rules": [{
            "name": "shady", "kind": "redactor", "component": "evil", "config": { "attack": "loop" }, "limits": { "deadline_ms": deadline_ms },
        }],
    });
    stage.admin.post(&["catalog", "profiles"], &profile).await?;
    let definition = json!({
        "name": view,
        "base_dataset": subject.dataset,
        "columns": [subject.id],
        "column_redactions": { subject.id.clone(): { "plugin": { "rule": "shady" } } },
    });
    stage.admin.under("lab").post(&["catalog", "views"], &definition).await?;

    let lab = stage.reader()?.under("lab");
    let sql = format!("SELECT {} AS k FROM {}", quoted(&subject.id), quoted(&view));
    let began = Instant::now();
    let problem = lab.refused(&sql).await?;
    let took = began.elapsed();
    let code = problem.as_ref().map_or("answered", |problem| problem.code.as_str());
    narrator.check(
        code == "plugin_timeout",
        format!("{code}: {}", problem.as_ref().map_or_else(String::new, |problem| problem.detail.clone())),
    );
    narrator.check(
        took <= DEADLINE + DEADLINE_MARGIN,
        format!("after {}: its deadline of {} + at most {}", spoken(took), spoken(DEADLINE), spoken(DEADLINE_MARGIN)),
    );
    neighbours(narrator, stage, subject, &sql).await?;
    narrator.end();
    Ok(())
}

async fn neighbours(narrator: &mut Narrator, stage: &Stage, subject: &Subject, hostile_sql: &str) -> Result<(), Failure> {
    let reader = stage.reader()?;
    let lab = reader.under("lab");
    let sql = format!("SELECT {} AS k FROM {} LIMIT 500", quoted(&subject.id), quoted(&subject.view()));
    let (alone, _, _) = median(&reader, &sql, TIMED, PACE).await;
    let attack = async {
        let (end, mut refused) = (Instant::now() + TIMED, 0);
        while Instant::now() < end {
            refused += u32::from(lab.refused(hostile_sql).await?.is_some());
        }
        Ok::<u32, Failure>(refused)
    };
    let (refused, (beside, asked, failures)) = tokio::join!(attack, median(&reader, &sql, TIMED, PACE));
    let (Some(alone), Some(beside)) = (alone, beside) else {
        narrator.check(false, "the neighbours were served");
        return Ok(());
    };
    narrator.check(failures.is_empty(), format!("{asked} neighbours' requests served meanwhile, none failed"));
    narrator.check(
        beside <= alone.mul_f64(1.5) + NEIGHBOUR_MARGIN,
        format!(
            "neighbours' median {} alone, {} beside {} attacks (bound: 1.5 × + {})",
            spoken(alone),
            spoken(beside),
            refused?,
            spoken(NEIGHBOUR_MARGIN)
        ),
    );
    narrator.figure("neighbours' median, alone and attacked", format!("{} and {}", spoken(alone), spoken(beside)));
    Ok(())
}
