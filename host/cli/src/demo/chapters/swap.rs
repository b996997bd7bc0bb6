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
/// How long each version is watched, and at most, until it was seen.
const WATCHED: Duration = Duration::from_millis(1_500);
const WATCHED_AT_MOST: Duration = Duration::from_secs(30);
/// Rows of a small answer; every fifth answer is the whole view, or as much of it as a server's row limit lets through.
const SMALL_ROWS: u64 = 500;
const WHOLE_ROWS: u64 = 200_000;

pub(in crate::demo) async fn swap(narrator: &mut Narrator, stage: &Stage, subject: &Subject) -> Result<(), Failure> {
    narrator.begin(&format!("hot swap: version 2 of the mask under {CLIENTS} clients, then rolled back"));
    let component = stage.components.read("redact-mask-v2")?;
    let reader = stage.reader()?;
    let view = quoted(&subject.view());
    let all = reader.number(&format!("SELECT count(*) AS n FROM {view}")).await?;
    let key = quoted(&subject.id);
    let (small, whole) = (first(&key, &view, SMALL_ROWS, all), first(&key, &view, WHOLE_ROWS, all));
    let statements = [small.clone(), small.clone(), small.clone(), small, whole];

    let watched = Rc::new(Watch::default());
    let clients = watch(&reader, CLIENTS, &statements, Rc::clone(&watched));
    let operator = async {
        until_seen(&watched).await;
        let asked = Instant::now();
        let pushed = stage.admin.json(stage.admin.request(Method::PUT, &["plugins", "redact-mask"]).body(component)).await;
        let in_force = Instant::now();
        until_seen(&watched).await;
        let back_asked = Instant::now();
        let rolled = stage.admin.post(&["plugins", "redact-mask", "rollback"], &json!({})).await;
        let back = Instant::now();
        until_seen(&watched).await;
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

/// The first rows of a view that has `all`, and how many they are.
fn first(key: &str, view: &str, rows: u64, all: u64) -> (String, Option<usize>) {
    (format!("SELECT {key} AS k FROM {view} LIMIT {rows}"), Some(count(all.min(rows))))
}

/// Waits for [`WATCHED`], and on until a request that began since was answered: a slow machine is no mistake.
async fn until_seen(watched: &Watch) {
    let since = Instant::now();
    tokio::time::sleep(WATCHED).await;
    while since.elapsed() < WATCHED_AT_MOST && !watched.answered.borrow().iter().any(|answer| answer.began >= since) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn first_failure(failures: &[String]) -> String {
    failures.first().map_or_else(|| "no request failed".into(), |first| format!("no request fails; the first that did: {first}"))
}

fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::{
        rc::Rc,
        time::{Duration, Instant},
    };

    use super::{Answered, Face, WATCHED, WATCHED_AT_MOST, WHOLE_ROWS, Watch, first, until_seen};

    fn answer(began: Instant) -> Answered {
        Answered { began, face: Face::Old, rows: 1 }
    }

    #[test]
    fn no_answer_is_longer_than_a_server_gives() {
        assert_eq!(first("k", "v", WHOLE_ROWS, 3_000_000), ("SELECT k AS k FROM v LIMIT 200000".to_owned(), Some(200_000)));
        assert_eq!(first("k", "v", WHOLE_ROWS, 70).1, Some(70));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_version_is_watched_until_it_was_seen() {
        let watched = Rc::new(Watch::default());
        let begun = Instant::now();
        watched.answered.borrow_mut().push(answer(begun));
        let late = async {
            tokio::time::sleep(WATCHED + Duration::from_millis(300)).await;
            watched.answered.borrow_mut().push(answer(Instant::now()));
        };
        tokio::join!(until_seen(&watched), late);
        assert!((WATCHED + Duration::from_millis(300)..WATCHED_AT_MOST).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }
}
