//! T-40, T-41, T-47: time, memory, stack, handles, output, logs.

use std::{sync::Arc, time::Duration};

use arrow::{
    array::{Array, ArrayRef, DictionaryArray, StringArray},
    datatypes::Int32Type,
};
use lakehouse_catalog::RuleKind;
use lakehouse_types::{Code, Fault};
use parking_lot::Mutex;
use serde_json::json;

use super::{DEADLINE, MARGIN, attack, evil, is_timeout, quick, strike};
use crate::{
    Bindings, Crash, DryRun, DryRunInput, Limits, MemoryMeter, PluginError,
    testing::{Fixture, HONEST, REALLOC, REDACT, eventually, free, name, redactor_wat, rule, texts, within},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_ends_at_its_deadline_wherever_it_is() {
    let fixture = Fixture::with(&["evil"]).await;
    for name in ["loop", "sleep"] {
        let mut redactor = fixture.limited_redactor("evil", attack(name), quick).await.unwrap();
        let boom = texts(&[Some("BOOM")]);
        let error = within(DEADLINE + MARGIN, redactor.redact(&boom)).await.unwrap_err();
        assert!(is_timeout(&error), "{name}: {error}");
        assert!(is_timeout(&strike(&mut redactor).await), "{name}");
    }
    let bindings = fixture.bindings(RuleKind::Redactor, "evil", json!({ "attack": "loop-in-open" }), quick);
    let error = within(DEADLINE + MARGIN, bindings.redactor(&rule("r"), None)).await.unwrap_err();
    assert!(is_timeout(&error), "{error}");

    for name in ["loop", "sleep"] {
        let bindings = fixture.bindings(RuleKind::Condition, "evil", attack(name), quick);
        let mut condition = bindings.condition(&rule("r"), None).await.unwrap();
        let error = within(DEADLINE + MARGIN, condition.evaluate(&[json!({ "a": "BOOM" })])).await.unwrap_err();
        assert!(is_timeout(&error), "{name}: {error}");
        assert_eq!(condition.evaluate(&[json!({})]).await.unwrap().len(), 1, "{name}");
    }
    let stats = fixture.registry.show(&name("evil")).unwrap().all[0].stats;
    assert_eq!((stats.timeouts, stats.errors), (7, 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_in_the_allocator_ends_too() {
    let fixture = Fixture::start().await;
    let realloc = r#"(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (if (i32.gt_u (local.get 3) (i32.const 1000)) (then (loop $ever (br $ever))))
      (call $allocate (local.get 3)))"#;
    fixture.push_bytes("spin", redactor_wat(&[HONEST, realloc, REDACT].concat())).await.unwrap();
    let mut redactor = fixture.limited_redactor("spin", json!({}), quick).await.unwrap();
    assert!(redactor.redact(&texts(&[Some("small")])).await.is_ok());
    let large = "l".repeat(2000);
    let error = within(DEADLINE + MARGIN, redactor.redact(&texts(&[Some(&large)]))).await.unwrap_err();
    assert!(is_timeout(&error), "{error}");
    assert!(redactor.redact(&texts(&[Some("small")])).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_costs_one_call() {
    let fixture = Fixture::with(&["evil"]).await;
    for (attack, crash) in [
        ("unreachable", Crash::Unreachable),
        ("panic", Crash::Unreachable),
        // A guest's own stack lies at the bottom of its memory and ends before the engine's does.
        ("recursion", Crash::OutOfBounds),
        ("exit", Crash::Exit),
    ] {
        match strike(&mut evil(&fixture, attack).await).await {
            PluginError::Crashed { crash: got, .. } => assert_eq!(got, crash, "{attack}"),
            other => panic!("{attack}: {other}"),
        }
    }
    for attack in ["wild-pointer", "handles"] {
        let error = strike(&mut evil(&fixture, attack).await).await;
        assert!(matches!(error, PluginError::Crashed { crash: Crash::Abi(_), .. }), "{attack}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_per_instance() {
    let fixture = Fixture::with(&["evil"]).await;
    let sixteen = |binding: &mut lakehouse_catalog::RuleBinding| binding.limits.memory_mib = 16;
    let mut hoarder = fixture.limited_redactor("evil", attack("memory"), sixteen).await.unwrap();
    let error = strike(&mut hoarder).await;
    assert!(matches!(error, PluginError::MemoryExceeded { limit_bytes: 16_777_216, .. }), "{error}");

    // Growth that is refused is no crime: the guest may live with it.
    let mut grower = fixture.limited_redactor("evil", attack("memory-grow"), sixteen).await.unwrap();
    assert!(grower.redact(&texts(&[Some("BOOM")])).await.is_ok());
    let peak = fixture.registry.show(&name("evil")).unwrap().all[0].stats.peak_memory_bytes;
    assert!((8 << 20..=16 << 20).contains(&peak), "{peak}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_in_a_destructor_holds_nobody_up() {
    let fixture = Fixture::open(tempfile::tempdir().unwrap(), |options| options.pool = 1).await;
    fixture.push("evil").await.unwrap();
    let (boom, calm) = (texts(&[Some("BOOM")]), texts(&[Some("calm")]));
    for _ in 0..3 {
        let mut redactor = evil(&fixture, "loop-in-drop").await;
        assert!(redactor.redact(&boom).await.is_ok(), "the attack is armed");
        within(MARGIN, async move { drop(redactor) }).await;
        assert_eq!(free(&fixture).0, 1, "the place is free at once");
        let mut next = within(MARGIN, evil(&fixture, "loop-in-drop")).await;
        assert!(next.redact(&calm).await.is_ok());
    }
    let bindings = fixture.bindings(RuleKind::Condition, "evil", attack("loop-in-drop"), |_| {});
    let mut condition = bindings.condition(&rule("r"), None).await.unwrap();
    assert!(condition.evaluate(&[json!("BOOM")]).await.is_ok());
    within(MARGIN, async move { drop(condition) }).await;
    assert_eq!(free(&fixture).0, 1);
    let stats = fixture.registry.show(&name("evil")).unwrap().all[0].stats;
    assert_eq!((stats.timeouts, stats.errors), (0, 0), "no destructor has run");
}

/// A redactor that has `tables` tables of `entries` from its start, and grows another one by `grow`; it traps where that fails.
fn with_tables(tables: usize, entries: u32, grow: u32) -> bytes::Bytes {
    let start = format!(
        "(table $t 0 funcref) (func $s (if (i32.eq (table.grow $t (ref.null func) (i32.const {grow})) (i32.const -1)) (then unreachable))) (start $s)"
    );
    let fixed = format!("(table {entries} funcref)").repeat(tables);
    redactor_wat(&[HONEST, REALLOC, REDACT, &fixed, &start].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_bounded_and_paid_for() {
    let fixture = Fixture::start().await;
    // Ten tables, none too long by itself: 60,000 entries of 16 bytes each, and one that grows to as many.
    fixture.push_bytes("fixed", with_tables(10, 60_000, 0)).await.unwrap();
    fixture.push_bytes("grown", with_tables(0, 0, 60_000)).await.unwrap();
    let open = async |plugin: &str, kib: u64| {
        let meter = Arc::new(Meter { limit: usize::MAX, ..Meter::default() });
        let bindings = fixture.bindings(RuleKind::Redactor, plugin, json!({}), |binding| {
            binding.limits.memory_mib = u32::try_from(kib.div_ceil(1 << 10)).unwrap();
        });
        let bindings = bindings.with_meter(Arc::clone(&meter) as _);
        bindings.redactor(&rule("r"), None).await.map(|_| *meter.peak.lock())
    };
    let (memory, ten, one) = (256 << 10, 10 * 60_000 * 16, 60_000 * 16);
    assert_eq!(open("fixed", 10 << 10).await.unwrap(), memory + ten, "the query pays for them");
    assert_eq!(open("grown", 2 << 10).await.unwrap(), memory + one);
    for (plugin, kib) in [("fixed", 9 << 10), ("grown", 1 << 10)] {
        let error = open(plugin, kib).await.unwrap_err();
        assert!(matches!(error, PluginError::MemoryExceeded { .. }), "{plugin}: {error}");
    }
    // Longer than any table may be, within any memory: refused for that, and not a trap of the guest's own.
    let refused = fixture.push_bytes("long", with_tables(0, 0, 70_000)).await.unwrap_err();
    assert!(refused.to_string().contains("bytes of memory"), "{refused}");
}

/// Remembers what was taken and given back.
#[derive(Default)]
struct Meter {
    held: Mutex<usize>,
    peak: Mutex<usize>,
    limit: usize,
}

impl MemoryMeter for Meter {
    fn try_grow(&self, bytes: usize) -> bool {
        let mut held = self.held.lock();
        if *held + bytes > self.limit {
            return false;
        }
        *held += bytes;
        let mut peak = self.peak.lock();
        *peak = (*peak).max(*held);
        true
    }

    fn shrink(&self, bytes: usize) {
        *self.held.lock() -= bytes;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_pays_for_its_instances() {
    let fixture = Fixture::with(&["evil"]).await;
    let bindings = |limit: usize| {
        let meter = Arc::new(Meter { limit, ..Meter::default() });
        let bindings = fixture.bindings(RuleKind::Redactor, "evil", attack("memory-grow"), |_| {});
        (bindings.with_meter(Arc::clone(&meter) as _), meter)
    };
    let (rules, meter) = bindings(256 << 20);
    let mut redactor = rules.redactor(&rule("r"), None).await.unwrap().instance();
    let before = *meter.held.lock();
    redactor.redact(&texts(&[Some("BOOM")])).await.unwrap();
    assert!(before > 0 && *meter.held.lock() > before);
    drop((redactor, rules));
    assert_eq!(*meter.held.lock(), 0);

    let (rules, meter) = bindings(1000);
    let error = rules.redactor(&rule("r"), None).await.unwrap_err();
    assert!(matches!(error, PluginError::QueryMemory { .. }), "{error}");
    assert_eq!(*meter.held.lock(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_bounded_before_it_is_copied() {
    let fixture = Fixture::with(&["evil"]).await;
    let four = |binding: &mut lakehouse_catalog::RuleBinding| {
        binding.limits.output_mib = 4;
        binding.limits.memory_mib = 256;
    };
    let mut config = attack("huge-output");
    config["size_mib"] = 8.into();
    let error = strike(&mut fixture.limited_redactor("evil", config.clone(), four).await.unwrap()).await;
    assert!(matches!(error, PluginError::OutputExceeded { limit_bytes: 4_194_304, .. }), "{error}");
    config["size_mib"] = 3.into();
    let mut within_limit = fixture.limited_redactor("evil", config, four).await.unwrap();
    assert!(within_limit.redact(&texts(&[Some("BOOM")])).await.is_ok());

    // Ten thousand strings that share one buffer: small in the guest, 80 GB if copied.
    let mut config = attack("aliased-output");
    config["size_mib"] = 8.into();
    let bindings = fixture.bindings(RuleKind::Condition, "evil", config, |binding| binding.limits.memory_mib = 256);
    let mut condition = bindings.condition(&rule("r"), None).await.unwrap();
    let error = condition.evaluate(&[json!("BOOM")]).await.unwrap_err();
    assert!(matches!(error, PluginError::OutputExceeded { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_is_weighed_by_the_rows_that_it_goes_to() {
    let fixture = Fixture::with(&["evil"]).await;
    let mut config = attack("long-answers");
    config["size_mib"] = 1.into();
    let eight = |binding: &mut lakehouse_catalog::RuleBinding| binding.limits.output_mib = 8;
    let exceeded = |error: &PluginError| matches!(error, PluginError::OutputExceeded { limit_bytes: 8_388_608, .. });
    let rows = |rows: usize, meant: usize| -> Vec<String> {
        (0..rows).map(|row| if row < meant { format!("BOOM {}", row % 4) } else { format!("calm {row}") }).collect()
    };
    let texts = |rows: &[String]| -> ArrayRef { Arc::new(rows.iter().map(Some).collect::<StringArray>()) };

    // Four values of 1 MiB each: half of what may come out, and 600 MiB over 600 rows.
    let repeated = rows(600, 600);
    let dictionary: ArrayRef = Arc::new(repeated.iter().map(|text| Some(text.as_str())).collect::<DictionaryArray<Int32Type>>());
    let mut redactor = fixture.limited_redactor("evil", config.clone(), eight).await.unwrap();
    let error = redactor.redact(&dictionary).await.unwrap_err();
    assert!(exceeded(&error) && error.code() == Code::PluginFailed, "{error}");
    // The first call teaches that this rule is worth a look for repeated values, so that the second hands over four.
    assert_eq!(redactor.redact(&texts(&rows(600, 2))).await.unwrap().len(), 600);
    let error = redactor.redact(&texts(&repeated)).await.unwrap_err();
    assert!(exceeded(&error), "{error}");
    assert_eq!(redactor.redact(&texts(&rows(600, 4))).await.unwrap().len(), 600, "what fits comes out");

    // In parts, each of which would fit.
    let padding = "x".repeat(512 << 10);
    let long: Vec<String> = (0..48).map(|row| format!("BOOM {row} {padding}")).collect();
    let error = redactor.redact(&texts(&long)).await.unwrap_err();
    assert!(exceeded(&error), "{error}");
    let stats = fixture.registry.show(&name("evil")).unwrap().all[0].stats;
    assert_eq!(stats.errors, 3);
}

fn dry(attack_name: &str, size_mib: u32) -> DryRun {
    let mut config = attack(attack_name);
    config["size_mib"] = size_mib.into();
    DryRun {
        config,
        version: None,
        input: DryRunInput::Values(vec![json!("BOOM")]),
        limits: Some(Limits { log_bytes: 10 << 10, memory_bytes: 256 << 20, ..Limits::default() }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_bounded_and_escaped() {
    let fixture = Fixture::with(&["evil"]).await;
    for attack in ["log-flood", "stderr-flood", "log-huge"] {
        let report = fixture.registry.dry_run(&name("evil"), dry(attack, 8)).await.unwrap();
        let kept: usize = report.logs.iter().map(String::len).sum();
        assert!(kept <= (10 << 10) + 4096 && !report.logs.is_empty(), "{attack}: {kept}");
        assert!(attack == "log-huge" || report.logs_dropped > 15_000, "{attack}: {}", report.logs_dropped);
        assert!(report.logs.iter().all(|line| !line.chars().any(char::is_control)), "{attack}");
        assert_eq!(report.outputs, [json!("[evil]")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_bounded_and_escaped() {
    let fixture = Fixture::with(&["evil"]).await;
    for attack in ["huge-error", "control-chars-error"] {
        let error = fixture.registry.dry_run(&name("evil"), dry(attack, 8)).await.unwrap_err();
        let said = error.said().unwrap().as_str().to_owned();
        assert!(said.len() <= 1100 && !said.chars().any(char::is_control), "{attack}: {} bytes", said.len());
        assert!(error.public().contains(&said), "a dry run tells");
    }
    let bindings = fixture.bindings(RuleKind::Redactor, "evil", json!({ "attack": "control-chars-in-open" }), |_| {});
    let error = bindings.redactor(&rule("r"), None).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidRuleConfig);
    assert!(error.public().contains("forged line") && !error.public().chars().any(char::is_control), "{}", error.public());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_above_its_ceiling_is_refused_by_name() {
    let fixture = Fixture::with(&["redact-mask"]).await;
    for (limit, change) in [
        ("memory_mib", (|limits| limits.memory_mib = 513) as fn(&mut lakehouse_catalog::RuleLimits)),
        ("deadline_ms", |limits| limits.deadline_ms = 30_001),
        ("output_mib", |limits| limits.output_mib = 257),
        ("log_kib", |limits| limits.log_kib = 1025),
    ] {
        let bindings = fixture.bindings(RuleKind::Redactor, "redact-mask", json!({}), |binding| change(&mut binding.limits));
        let error = bindings.redactor(&rule("r"), None).await.unwrap_err();
        assert!(matches!(&error, PluginError::AboveCeiling { limit: named, .. } if *named == limit), "{error}");
        assert!(error.public().contains(limit));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool_answers_busy_and_recovers() {
    let fixture = Fixture::open(tempfile::tempdir().unwrap(), |options| options.pool = 2).await;
    fixture.push("redact-mask").await.unwrap();
    fixture.push("evil").await.unwrap();
    let open = || fixture.redactor("redact-mask", json!({}));
    let mut running = Vec::new();
    for _ in 0..2 {
        let mut redactor = evil(&fixture, "loop").await;
        running.push(tokio::spawn(async move { redactor.redact(&texts(&[Some("BOOM")])).await.unwrap_err() }));
    }
    eventually("both places are taken", || free(&fixture).0 == 0).await;
    let error = within(Duration::from_secs(5), open()).await.unwrap_err();
    assert!(matches!(error, PluginError::Busy { pool: 2 }) && error.code() == Code::Busy, "{error}");
    // A new version is still taken while calls hold every place.
    assert!(fixture.push("redact-hash").await.is_ok());
    for call in running {
        assert!(matches!(call.await.unwrap(), PluginError::DeadlineExceeded { .. }));
    }
    // Instances between two calls stand in nobody's way.
    let idle = [open().await.unwrap(), open().await.unwrap(), open().await.unwrap()];
    assert_eq!(idle.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_cancelled_leaves_nothing_behind() {
    let fixture = Fixture::with(&["evil"]).await;
    let mut redactor = evil(&fixture, "loop").await;
    let boom = texts(&[Some("BOOM")]);
    let cancelled = tokio::time::timeout(Duration::from_millis(60), redactor.redact(&boom)).await;
    assert!(cancelled.is_err());
    assert!(redactor.redact(&texts(&[Some("calm")])).await.is_ok());

    let bindings: Bindings = fixture.bindings(RuleKind::Condition, "evil", attack("loop"), |_| {});
    let mut condition = bindings.condition(&rule("r"), None).await.unwrap();
    let boom = [json!("BOOM")];
    assert!(tokio::time::timeout(Duration::from_millis(60), condition.evaluate(&boom)).await.is_err());
    assert!(condition.evaluate(&[json!({})]).await.is_ok());
}
