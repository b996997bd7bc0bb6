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
/// The code of the problem that a component meets which does not end.
const TIMED_OUT: &str = "plugin_timeout";
/// How long the neighbours are timed, with and without.
const TIMED: Duration = Duration::from_millis(2_000);
const PACE: Duration = Duration::from_millis(15);
/// What the neighbours' median may grow by besides half: on two cores, client, server and component share them with whatever else
/// this machine does.
const NEIGHBOUR_MARGIN: Duration = Duration::from_millis(25);
/// How often a time is measured before it counts as too long.
const MEASURED: usize = 2;

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
    let mut took = Duration::MAX;
    for _ in 0..MEASURED {
        let began = Instant::now();
        let problem = lab.refused(&sql).await?;
        took = took.min(began.elapsed());
        let code = problem.as_ref().map_or("answered", |problem| problem.code.as_str());
        narrator.check(
            code == TIMED_OUT,
            format!("{code}: {}", problem.as_ref().map_or_else(String::new, |problem| problem.detail.clone())),
        );
        if took <= DEADLINE + DEADLINE_MARGIN {
            break;
        }
    }
    narrator.check(
        took <= DEADLINE + DEADLINE_MARGIN,
        format!("after {}: its deadline of {} + at most {}", spoken(took), spoken(DEADLINE), spoken(DEADLINE_MARGIN)),
    );
    neighbours(narrator, stage, subject, &sql).await?;
    narrator.end();
    Ok(())
}

/// The neighbours' median times, and whom they had beside them.
struct Times {
    alone: Duration,
    beside: Duration,
    attacks: usize,
}

impl Times {
    fn is_within(&self) -> bool {
        self.beside <= self.alone.mul_f64(1.5) + NEIGHBOUR_MARGIN
    }
}

async fn neighbours(narrator: &mut Narrator, stage: &Stage, subject: &Subject, hostile_sql: &str) -> Result<(), Failure> {
    let mut times = measured(narrator, stage, subject, hostile_sql).await?;
    for _ in 1..MEASURED {
        if !times.is_within() {
            times = measured(narrator, stage, subject, hostile_sql).await?;
        }
    }
    narrator.check(
        times.is_within(),
        format!(
            "neighbours' median {} alone, {} beside {} attacks (bound: 1.5 × + {})",
            spoken(times.alone),
            spoken(times.beside),
            times.attacks,
            spoken(NEIGHBOUR_MARGIN)
        ),
    );
    narrator.figure("neighbours' median, alone and attacked", format!("{} and {}", spoken(times.alone), spoken(times.beside)));
    Ok(())
}

/// Times the neighbours without attacks, then with. Each answer is checked, whatever the times are.
async fn measured(narrator: &mut Narrator, stage: &Stage, subject: &Subject, hostile_sql: &str) -> Result<Times, Failure> {
    let reader = stage.reader()?;
    let lab = reader.under("lab");
    let sql = format!("SELECT {} AS k FROM {} LIMIT 500", quoted(&subject.id), quoted(&subject.view()));
    let (alone, _, mut failures) = median(&reader, &sql, TIMED, PACE).await;
    let attack = async {
        let (end, mut codes) = (Instant::now() + TIMED, Vec::new());
        while Instant::now() < end {
            codes.push(lab.refused(hostile_sql).await?.map_or_else(|| "answered".to_owned(), |problem| problem.code));
        }
        Ok::<_, Failure>(codes)
    };
    let (codes, (beside, asked, failed)) = tokio::join!(attack, median(&reader, &sql, TIMED, PACE));
    let codes = codes?;
    failures.extend(failed);
    narrator.check(failures.is_empty() && asked > 0, format!("{asked} neighbours' requests served meanwhile, none failed"));
    let others: Vec<&str> = codes.iter().map(String::as_str).filter(|code| *code != TIMED_OUT).collect();
    narrator.check(others.is_empty(), format!("{} attacks, each ended with {TIMED_OUT}{}", codes.len(), told(&others)));
    Ok(Times { alone: alone.unwrap_or(Duration::ZERO), beside: beside.unwrap_or(Duration::MAX), attacks: codes.len() })
}

fn told(others: &[&str]) -> String {
    if others.is_empty() { String::new() } else { format!(", but for {}", others.join(", ")) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{NEIGHBOUR_MARGIN, Times};

    #[test]
    fn neighbours_may_be_half_as_slow_again_and_a_margin() {
        let alone = Duration::from_millis(100);
        let within = |beside| Times { alone, beside, attacks: 5 }.is_within();
        assert!(within(Duration::from_millis(150) + NEIGHBOUR_MARGIN));
        assert!(!within(Duration::from_millis(151) + NEIGHBOUR_MARGIN));
        assert!(!within(Duration::MAX), "not served at all");
    }
}
