//! The heart of it: the rule is replaced, and put back, while eight clients ask.
//!
//! **Invariant**: what is checked is every answer, whole: none failed, none mixed, and none that began after an upload was
//! acknowledged saw the version before.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::json;

use super::Stage;
use crate::{
    demo::{
        ask::quoted,
        clients::{Answered, Face, Watch, watch},
        grouped,
        narrator::Narrator,
        spoken,
        subject::Subject,
    },
    failure::{Failure, plain},
};

const CLIENTS: usize = 8;
/// How long each version is watched.
const WATCHED: Duration = Duration::from_millis(1_500);
/// Rows of a small answer; every fifth answer is the whole view.
const SMALL_ROWS: u64 = 500;

pub(in crate::demo) async fn swap(narrator: &mut Narrator, stage: &Stage, subject: &Subject) -> Result<(), Failure> {
    narrator.begin(&format!("hot swap: version 2 of the mask under {CLIENTS} clients, then rolled back"));
    let component = stage.components.read("redact-mask-v2")?;
    let reader = stage.reader()?;
    let view = quoted(&subject.view());
    let all = reader.number(&format!("SELECT count(*) AS n FROM {view}")).await?;
    let key = quoted(&subject.id);
    let small = (format!("SELECT {key} AS k FROM {view} LIMIT {SMALL_ROWS}"), Some(count(all.min(SMALL_ROWS))));
    let whole = (format!("SELECT {key} AS k FROM {view}"), Some(count(all)));
    let statements = [small.clone(), small.clone(), small.clone(), small, whole];

    let watched = Rc::new(Watch::default());
    let clients = watch(&reader, CLIENTS, &statements, Rc::clone(&watched));
    let operator = async {
        tokio::time::sleep(WATCHED).await;
        let asked = Instant::now();
        let pushed = stage.admin.json(stage.admin.request(Method::PUT, &["plugins", "redact-mask"]).body(component)).await;
        let in_force = Instant::now();
        tokio::time::sleep(WATCHED).await;
        let back_asked = Instant::now();
        let rolled = stage.admin.post(&["plugins", "redact-mask", "rollback"], &json!({})).await;
        let back = Instant::now();
        tokio::time::sleep(WATCHED).await;
        watched.stop.set(true);
        (pushed, rolled, asked, in_force, back_asked, back)
    };
    let ((), (pushed, rolled, asked, in_force, back_asked, back)) = tokio::join!(clients, operator);
    let (pushed, rolled) = (pushed?, rolled?);
    let version = pushed.get("version").map(plain).unwrap_or_default();
    narrator.show(format!(
        "pushed {version} ({}), in force after {}; rolled back to {} in {}",
        pushed.get("digest").map(plain).unwrap_or_default().chars().take(12).collect::<String>(),
        spoken(in_force - asked),
        rolled.get("version").or_else(|| rolled.get("active")).map(plain).unwrap_or_default(),
        spoken(back - back_asked),
    ));

    let (answered, failures) = (watched.answered.borrow(), watched.failures.borrow());
    let of = |face: Face| answered.iter().filter(|answer| answer.face == face).count();
    let (old, new, mixed) = (of(Face::Old), of(Face::New), of(Face::Mixed));
    let rows: usize = answered.iter().map(|answer| answer.rows).sum();
    narrator.show(format!(
        "served {}   failed {}   old {}   new {}   mixed {mixed}   ({} rows)",
        grouped(answered.len() as u64),
        failures.len(),
        grouped(old as u64),
        grouped(new as u64),
        grouped(rows as u64),
    ));
    narrator.check(failures.is_empty(), first_failure(&failures));
    narrator.check(mixed == 0, format!("of {} answers none is mixed", grouped(answered.len() as u64)));
    narrator.check(old > 0 && new > 0, "both versions were seen");
    let only = |from: Instant, to: Instant, face: Face| {
        let mut within = answered.iter().filter(|answer: &&Answered| answer.began >= from && answer.began < to).peekable();
        within.peek().is_some() && within.all(|answer| answer.face == face)
    };
    narrator.check(only(in_force, back_asked, Face::New), "after the upload was acknowledged, every new request saw version 2");
    narrator.check(
        answered.iter().filter(|answer| answer.began >= back).all(|answer| answer.face == Face::Old)
            && answered.iter().any(|answer| answer.began >= back),
        "after the rollback, every new request saw version 1 again",
    );
    narrator.figure(
        "requests during the swap",
        format!("{}, failed {}, mixed {mixed}", grouped(answered.len() as u64), failures.len()),
    );
    narrator.figure("version 2 compiled, checked and in force", spoken(in_force - asked));
    narrator.end();
    Ok(())
}

fn first_failure(failures: &[String]) -> String {
    failures.first().map_or_else(|| "no request failed".into(), |first| format!("no request fails; the first that did: {first}"))
}

fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}
