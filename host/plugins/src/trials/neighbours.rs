//! T-40, T-44: neighbours of a looping guest, and requests during swaps.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use lakehouse_catalog::{RuleBinding, RuleKind};
use serde_json::json;

use super::{attack, evil};
use crate::{
    PluginError,
    testing::{
        Fixture, HONEST, REALLOC, REDACT, REDACT_TO_NULL, eventually, free, name, read, redactor_wat, redactor_wat_beside, rule,
        stamp, texts,
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looping_guests_hold_no_core_from_their_neighbours() {
    let fixture = Fixture::with(&["evil", "redact-mask"]).await;
    let mut loops = Vec::new();
    for _ in 0..4 {
        let mut redactor = evil(&fixture, "loop").await;
        loops.push(tokio::spawn(async move { redactor.redact(&texts(&[Some("BOOM")])).await.unwrap_err() }));
    }
    let mut mask = fixture.redactor("redact-mask", json!({})).await.unwrap();
    let (mut calls, mut longest) = (0, Duration::ZERO);
    while loops.iter().any(|running| !running.is_finished()) {
        let begun = Instant::now();
        let value = texts(&[Some("abc")]);
        tokio::task::yield_now().await;
        mask.redact(&value).await.unwrap();
        longest = longest.max(begun.elapsed());
        calls += 1;
    }
    // Four guests on two cores, each with a second: who does not give way at every tick holds one of them as long.
    assert!(calls > 10 && longest < Duration::from_secs(1), "{calls} calls, the longest {longest:?}");
    for ended in loops {
        assert!(matches!(ended.await.unwrap(), PluginError::DeadlineExceeded { .. }));
    }
}

/// A guest that has spun for long enough to need turns, and sleeps in the host from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_call_that_falls_asleep_leaves_its_turn_to_others() {
    let fixture = Fixture::with(&["evil"]).await;
    // Far more than the test takes: it ends when the honest call does.
    let patient = |binding: &mut RuleBinding| binding.limits.deadline_ms = 30_000;
    let boom = texts(&[Some("BOOM")]);
    let mut sleeper = fixture.limited_redactor("evil", attack("spin-then-sleep"), patient).await.unwrap();
    let column = boom.clone();
    let asleep = tokio::spawn(async move { sleeper.redact(&column).await });
    let lines = || fixture.registry.show(&name("evil")).unwrap().all[0].stats.log_lines_discarded;
    eventually("it falls asleep", || lines() == 1).await;

    let mut honest = fixture.limited_redactor("evil", attack("spin"), patient).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(25), honest.redact(&boom)).await;
    let answer = answer.expect("the sleeper holds the one turn that two threads have").unwrap();
    assert_eq!(read(&answer), [Some("[evil]".to_owned())]);
    assert!(!asleep.is_finished());
    assert_eq!(free(&fixture).1, 1, "a sleeping guest has no turn");
    asleep.abort();
}

/// T-41: what a component is made of decides nothing about who finds a place.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool_of_components_in_many_pieces_has_room_for_all() {
    let fixture = Fixture::open(tempfile::tempdir().unwrap(), |options| options.pool = 48).await;
    let many = format!("(core module $p (table 1 funcref)) {}", "(core instance (instantiate $p))".repeat(18));
    let memories = "(core module $p (memory 1)) (core instance (instantiate $p))".to_owned();
    for (name, more) in [("pieces", many), ("memories", memories)] {
        fixture.push_bytes(name, redactor_wat_beside(&[HONEST, REALLOC, REDACT].concat(), &more)).await.unwrap();
        let all = futures::future::join_all((0..48).map(|_| fixture.redactor(name, json!({})))).await;
        let refused: Vec<_> = all.iter().filter_map(|opened| opened.as_ref().err()).collect();
        assert!(refused.is_empty(), "{name}: {} of 48 were refused: {}", refused.len(), refused[0]);
        assert_eq!(free(&fixture).0, 0, "all of them are alive");
    }
}

/// One request: every call through one set of bindings, on two instances. True when it was served by the version that answers with
/// nulls; panics when it saw both.
async fn request(fixture: &Fixture) -> bool {
    let bindings = fixture.bindings(RuleKind::Redactor, "swap", json!({}), |_| {});
    let shared = bindings.redactor(&rule("r"), None).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut redactor = shared.instance();
        for _ in 0..3 {
            let answer = redactor.redact(&texts(&[Some("a"), Some("b"), Some("c")])).await.unwrap();
            seen.push(answer.null_count());
            tokio::task::yield_now().await;
        }
    }
    assert!(seen.iter().all(|nulls| *nulls == seen[0]), "mixed: {seen:?}");
    seen[0] == 3
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_swaps_fail_and_mix_nothing() {
    let fixture = Arc::new(Fixture::start().await);
    let old = redactor_wat(&[HONEST, REALLOC, REDACT].concat());
    let new = redactor_wat(&[HONEST, REALLOC, REDACT_TO_NULL].concat());
    fixture.push_bytes("swap", old).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let (olds, news) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut clients = Vec::new();
    for _ in 0..8 {
        let (fixture, done, olds, news) = (Arc::clone(&fixture), Arc::clone(&done), Arc::clone(&olds), Arc::clone(&news));
        clients.push(tokio::spawn(async move {
            while !done.load(Relaxed) {
                let served = if request(&fixture).await { &news } else { &olds };
                served.fetch_add(1, Relaxed);
            }
        }));
    }
    fixture.push_bytes("swap", new).await.unwrap();
    for swap in 0..100 {
        let to = if swap % 2 == 0 { None } else { Some("2".to_owned()) };
        fixture.registry.rollback(&stamp(), &name("swap"), to).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    done.store(true, Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert!(olds.load(Relaxed) > 20 && news.load(Relaxed) > 20, "{olds:?} {news:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attacks_leave_the_pool_as_it_was() {
    let fixture = Fixture::open(tempfile::tempdir().unwrap(), |options| options.pool = 4).await;
    fixture.push("evil").await.unwrap();
    for name in ["unreachable", "panic", "handles", "short-rows", "recursion", "exit", "bad-utf8"] {
        for _ in 0..8 {
            let mut redactor = evil(&fixture, name).await;
            assert!(redactor.redact(&texts(&[Some("BOOM")])).await.is_err(), "{name}");
        }
    }
    let all: Vec<_> = futures::future::join_all((0..4).map(|_| fixture.redactor("evil", attack("none")))).await;
    assert!(all.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_pool_serves_many_who_hold_redactors() {
    let fixture = Fixture::open(tempfile::tempdir().unwrap(), |options| {
        options.pool = 2;
        options.queue_wait = Duration::from_secs(5);
    })
    .await;
    fixture.push("redact-mask").await.unwrap();
    let bindings = fixture.bindings(RuleKind::Redactor, "redact-mask", json!({ "keep_prefix": 1 }), |_| {});
    let shared = bindings.redactor(&rule("r"), None).await.unwrap();
    let holders = (0..12).map(|_| {
        let mut redactor = shared.instance();
        tokio::spawn(async move {
            for _ in 0..5 {
                redactor.redact(&texts(&[Some("abc")])).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            redactor
        })
    });
    // Whoever is through keeps what it holds: twelve redactors live, and two places served them.
    assert_eq!(futures::future::try_join_all(holders).await.unwrap().len(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_texts_are_handed_over_in_parts() {
    let fixture = Fixture::with(&["redact-mask"]).await;
    let mut redactor = fixture.redactor("redact-mask", json!({ "keep_prefix": 2, "keep_suffix": 1 })).await.unwrap();
    // 48 MiB in a guest of 64 MiB: at once they would not fit twice.
    let long: Vec<String> = (0..96).map(|row| format!("{row:02}{}z", "x".repeat(512 << 10))).collect();
    let rows: Vec<Option<&str>> = long.iter().map(|text| Some(text.as_str())).chain([None]).collect();
    let masked = read(&redactor.redact(&texts(&rows)).await.unwrap());
    assert_eq!(masked.len(), 97);
    for (row, text) in masked[..96].iter().enumerate() {
        let text = text.as_deref().unwrap();
        assert!(text.starts_with(&format!("{row:02}***")) && text.ends_with("**z") && text.len() == long[row].len());
    }
    assert_eq!(masked[96], None);
}
