use std::{sync::Arc, time::Duration};

use lakehouse_catalog::RuleKind;
use lakehouse_journal::{EventKind, Filter, Outcome};
use lakehouse_types::{Code, Fault};
use serde_json::json;

use super::{DryRun, DryRunInput, Origin, PushState};
use crate::{
    PluginError, Verdict,
    testing::{
        Fixture, HONEST, REALLOC, REDACT, REDACT_TO_NULL, component, eventually, name, read, redactor_wat, rule, stamp, texts,
    },
};

fn old() -> bytes::Bytes {
    redactor_wat(&[HONEST, REALLOC, REDACT].concat())
}

fn new() -> bytes::Bytes {
    redactor_wat(&[HONEST, REALLOC, REDACT_TO_NULL].concat())
}

async fn nulls(fixture: &Fixture, plugin: &str) -> usize {
    let mut redactor = fixture.redactor(plugin, json!({})).await.unwrap();
    redactor.redact(&texts(&[Some("a"), Some("b")])).await.unwrap().null_count()
}

async fn mask(fixture: &Fixture) -> String {
    let mut redactor = fixture.redactor("redact-mask", json!({ "keep_prefix": 3, "keep_suffix": 2 })).await.unwrap();
    read(&redactor.redact(&texts(&[Some("CAND-000001")])).await.unwrap())[0].clone().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_plugin_serves_is_listed_and_survives_a_restart() {
    let fixture = Fixture::start().await;
    let report = fixture.push("redact-mask").await.unwrap();
    assert_eq!(
        (report.name.as_str(), report.state, &report.kinds[..]),
        ("redact-mask", PushState::Active, &[RuleKind::Redactor][..])
    );
    assert!(report.checks.iter().all(|check| check.ok) && report.checks.len() >= 5, "{:?}", report.checks);
    assert_eq!(mask(&fixture).await, "CAN******01");

    let fixture = fixture.restart().await;
    assert_eq!(mask(&fixture).await, "CAN******01");
    let shown = fixture.registry.show(&name("redact-mask")).unwrap();
    assert_eq!(shown.summary.digest, report.digest);
    let version = &shown.all[0];
    assert_eq!((version.record.origin, version.record.pushed_by.as_str(), version.active), (Origin::Upload, "tester", true));
    assert_eq!((version.stats.calls, version.stats.rows, version.stats.errors), (1, 1, 0));
    assert!(version.stats.peak_memory_bytes > 0);
    assert_eq!(fixture.registry.list().plugins.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_count_up_roll_back_and_pin() {
    let fixture = Fixture::start().await;
    let first = fixture.push_bytes("plain", old()).await.unwrap();
    let second = fixture.push_bytes("plain", new()).await.unwrap();
    assert_eq!((&*first.version, &*second.version), ("1", "2"));
    assert_eq!(nulls(&fixture, "plain").await, 2);
    assert_eq!(nulls(&fixture, "plain@1").await, 0);
    assert_eq!(nulls(&fixture, &format!("plain@sha256:{}", first.digest)).await, 0);

    let rolled = fixture.registry.rollback(&stamp(), &name("plain"), None).await.unwrap();
    assert_eq!((&*rolled.version, nulls(&fixture, "plain").await), ("1", 0));
    let fixture = fixture.restart().await;
    assert_eq!(nulls(&fixture, "plain").await, 0);
    let rolled = fixture.registry.rollback(&stamp(), &name("plain"), Some(format!("sha256:{}", second.digest))).await.unwrap();
    assert_eq!((&*rolled.version, nulls(&fixture, "plain").await), ("2", 2));

    let again = fixture.push_bytes("plain", old()).await.unwrap();
    assert_eq!((&*again.version, again.state), ("1", PushState::Active), "known content becomes active again");
    assert_eq!(fixture.registry.show(&name("plain")).unwrap().all.len(), 2);
    for bad in ["9", "sha256:xyz", "", "../1"] {
        let error = fixture.registry.rollback(&stamp(), &name("plain"), Some(bad.to_owned())).await.unwrap_err();
        assert_eq!(error.code(), Code::UnknownVersion, "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_back_with_nothing_before_is_refused() {
    let fixture = Fixture::start().await;
    fixture.push_bytes("plain", old()).await.unwrap();
    let error = fixture.registry.rollback(&stamp(), &name("plain"), None).await.unwrap_err();
    assert!(matches!(error, PluginError::NoEarlierVersion(_)));
    let error = fixture.registry.rollback(&stamp(), &name("ghost"), None).await.unwrap_err();
    assert_eq!(error.code(), Code::UnknownPlugin);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_resolve_fails_closed_and_says_why() {
    let fixture = Fixture::with(&["redact-mask", "condition-required-fields"]).await;
    let why = async |plugin: &str| {
        let error = fixture.redactor(plugin, json!({})).await.unwrap_err();
        assert_eq!(error.code(), Code::UnresolvedRule);
        assert_eq!(error.members()["rule"], "r");
        error.public()
    };
    assert!(why("ghost").await.contains("`ghost` does not exist"));
    assert!(why("redact-mask@99").await.contains("no `redact-mask@99`"));
    assert!(why("condition-required-fields").await.contains("is no redactor"));
    fixture.registry.disable(&stamp(), &name("redact-mask")).await.unwrap();
    assert!(why("redact-mask").await.contains("disabled"));
    let version = fixture.registry.show(&name("redact-mask")).unwrap().summary.version;
    assert!(why(&format!("redact-mask@{version}")).await.contains("disabled"), "a pin is no way around");

    let bindings = fixture.bindings(RuleKind::Redactor, "redact-mask", json!({}), |_| {});
    let unbound = bindings.redactor(&rule("other"), None).await.unwrap_err();
    assert_eq!(unbound.code(), Code::UnresolvedRule);
    let other_kind = bindings.condition(&rule("r"), None).await.unwrap_err();
    assert!(other_kind.public().contains("as `redactor`"));
    drop(bindings);

    let fixture = fixture.restart().await;
    assert!(fixture.redactor("redact-mask", json!({})).await.is_err(), "still disabled");
    fixture.registry.enable(&stamp(), &name("redact-mask")).await.unwrap();
    assert_eq!(mask(&fixture).await, "CAN******01");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_keeps_its_version() {
    let fixture = Fixture::start().await;
    fixture.push_bytes("plain", old()).await.unwrap();
    let bindings = fixture.bindings(RuleKind::Redactor, "plain", json!({}), |_| {});
    fixture.push_bytes("plain", new()).await.unwrap();
    let mut redactor = bindings.redactor(&rule("r"), None).await.unwrap().instance();
    assert_eq!(redactor.redact(&texts(&[Some("a")])).await.unwrap().null_count(), 0);
    fixture.registry.delete(&stamp(), &name("plain")).await.unwrap();
    assert_eq!(redactor.redact(&texts(&[Some("a")])).await.unwrap().null_count(), 0);
    assert!(fixture.redactor("plain", json!({})).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_removes_the_bytes_that_nobody_shares() {
    let fixture = Fixture::start().await;
    let digest = fixture.push_bytes("one", old()).await.unwrap().digest;
    fixture.push_bytes("two", old()).await.unwrap();
    let object = fixture.data.path().join(format!("data/_plugins/sha256/{digest}.wasm"));
    assert!(object.exists());
    fixture.registry.delete(&stamp(), &name("one")).await.unwrap();
    assert!(object.exists() && nulls(&fixture, "two").await == 0);
    fixture.registry.delete(&stamp(), &name("two")).await.unwrap();
    assert!(!object.exists());
    let fixture = fixture.restart().await;
    assert!(fixture.registry.list().plugins.is_empty());
    assert!(fixture.push_bytes("one", old()).await.is_ok(), "it may come back by upload");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_one_journal_event_and_a_flood_of_refusals_a_few() {
    let fixture = Fixture::start().await;
    let plain = name("plain");
    fixture.push_bytes("plain", old()).await.unwrap();
    fixture.push_bytes("plain", new()).await.unwrap();
    fixture.registry.rollback(&stamp(), &plain, None).await.unwrap();
    fixture.registry.disable(&stamp(), &plain).await.unwrap();
    fixture.registry.disable(&stamp(), &plain).await.unwrap();
    fixture.registry.enable(&stamp(), &plain).await.unwrap();
    let junk = bytes::Bytes::from_static(b"junk");
    let digest = crate::store::digest_of(&junk);
    for _ in 0..50 {
        assert!(fixture.push_bytes("plain", junk.clone()).await.is_err());
    }
    fixture.registry.delete(&stamp(), &plain).await.unwrap();
    fixture.journal.flush().await.unwrap();
    let events = fixture.journal.events(&Filter::default(), None, 100).await.unwrap().events;
    let (refused, events): (Vec<_>, Vec<_>) = events.into_iter().partition(|event| event.outcome == Outcome::Refused);
    // The first at once, the others together; two minutes may be touched.
    let counts: Vec<u64> = refused.iter().map(|event| event.details["count"].as_u64().unwrap()).collect();
    assert!((2..=4).contains(&counts.len()) && counts.iter().sum::<u64>() == 50, "{counts:?}");
    for event in &refused {
        assert_eq!((event.kind, event.subject.as_str(), event.actor.as_str()), (EventKind::PluginPush, "plain", "tester"));
        let told = &event.details["refusals"][0];
        assert_eq!((&told["digest"], &told["failed"]), (&json!(digest), &json!(["component"])), "{told}");
    }
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    let expected = ["plugin_push", "plugin_push", "plugin_rollback", "plugin_disable", "plugin_enable", "plugin_delete"];
    let (mut sorted, mut wanted) = (kinds.clone(), expected.to_vec());
    sorted.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(sorted, wanted, "{kinds:?}");
    assert!(events.iter().all(|event| event.subject == "plain" && event.actor.as_str() == "tester"));
}

#[tokio::test(flavor = "multi_thread")]
async fn shipped_components_are_installed_once_and_without_events() {
    let fixture = Fixture::start().await;
    let shipped = tempfile::tempdir().unwrap();
    std::fs::write(shipped.path().join("redact-mask.wasm"), component("redact-mask")).unwrap();
    std::fs::write(shipped.path().join("plain.wasm"), old()).unwrap();
    std::fs::write(shipped.path().join("README"), "not a component").unwrap();
    let installed = fixture.registry.install_shipped(shipped.path()).await.unwrap();
    assert_eq!(installed.iter().map(|report| report.name.as_str()).collect::<Vec<_>>(), ["plain", "redact-mask"]);
    assert_eq!(fixture.journal.stats().total_events_created, 0);
    assert!(fixture.registry.install_shipped(shipped.path()).await.unwrap().is_empty());

    // A newer distribution follows where the shipped version is in force, and only there.
    std::fs::write(shipped.path().join("plain.wasm"), new()).unwrap();
    let upgraded = fixture.registry.install_shipped(shipped.path()).await.unwrap();
    assert_eq!((upgraded.len(), upgraded[0].state, nulls(&fixture, "plain").await), (1, PushState::Active, 2));
    let own = redactor_wat(&[HONEST, REALLOC, REDACT, "(func)"].concat());
    fixture.push_bytes("plain", own).await.unwrap();
    std::fs::write(shipped.path().join("plain.wasm"), redactor_wat(&[HONEST, REALLOC, REDACT_TO_NULL, "(func)"].concat()))
        .unwrap();
    let staged = fixture.registry.install_shipped(shipped.path()).await.unwrap();
    assert_eq!((staged[0].state, nulls(&fixture, "plain").await), (PushState::Staged, 0));

    // What an operator deleted does not come back at the next start.
    fixture.registry.delete(&stamp(), &name("redact-mask")).await.unwrap();
    let fixture = fixture.restart().await;
    assert!(fixture.registry.install_shipped(shipped.path()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_dropped_into_the_folder_is_in_force_and_a_bad_one_is_reported() {
    let fixture = Fixture::start().await;
    let folder = tempfile::tempdir().unwrap();
    let watch = fixture.registry.watch_folder(folder.path().to_owned());
    let file = folder.path().join("plain.wasm");
    std::fs::write(&file, old()).unwrap();
    std::fs::write(folder.path().join("bad.wasm"), "no component").unwrap();
    let count = || fixture.registry.list().plugins.len();
    eventually("the file is installed", || count() == 1).await;
    eventually("the bad file is reported", || !fixture.registry.list().failures.is_empty()).await;
    let failure = fixture.registry.list().failures[0].clone();
    assert_eq!((failure.file.as_str(), failure.checks[0].check), ("bad.wasm", "component"));
    assert_eq!(fixture.registry.show(&name("plain")).unwrap().all[0].record.origin, Origin::Folder);

    std::fs::write(&file, new()).unwrap();
    eventually("the change is installed", || fixture.registry.show(&name("plain")).unwrap().all.len() == 2).await;
    fixture.registry.rollback(&stamp(), &name("plain"), None).await.unwrap();
    std::fs::remove_file(folder.path().join("bad.wasm")).unwrap();
    eventually("the report is gone with its file", || fixture.registry.list().failures.is_empty()).await;
    drop(watch);

    // The file in the folder is the version that was rolled back: it stays so, though a file that came later is taken.
    let fixture = fixture.restart().await;
    let watch = fixture.registry.watch_folder(folder.path().to_owned());
    std::fs::write(folder.path().join("zz-later.wasm"), redactor_wat(&[HONEST, REALLOC, REDACT, "(func)"].concat())).unwrap();
    eventually("the later file is installed", || fixture.registry.list().plugins.len() == 2).await;
    assert_eq!(nulls(&fixture, "plain").await, 0);
    drop(watch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_still_grows_is_left_alone() {
    let fixture = Fixture::start().await;
    let folder = tempfile::tempdir().unwrap();
    let watch = fixture.registry.watch_folder(folder.path().to_owned());
    let (whole, file) = (old(), folder.path().join("plain.wasm"));
    // For three times as long as a file must be still, and never still for a tenth of that.
    for step in 1..=30 {
        let length = whole.len() * step / 30;
        std::fs::write(&file, &whole[..length]).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(fixture.registry.list().failures.is_empty(), "{length} bytes were taken");
    }
    eventually("the whole file is installed", || fixture.registry.list().plugins.len() == 1).await;
    assert!(fixture.registry.list().failures.is_empty());
    drop(watch);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_code_is_compiled_again_and_damaged_bytes_are_told() {
    let cache = tempfile::tempdir().unwrap();
    let path = cache.path().to_owned();
    let fixture = Fixture::open(tempfile::tempdir().unwrap(), |options| options.cache_path = path.clone()).await;
    let digest = fixture.push_bytes("plain", old()).await.unwrap().digest;
    let spoil = |entry: &std::path::Path| {
        let mut bytes = std::fs::read(entry).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(entry, bytes).unwrap();
    };
    let entries = || std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
    let cached = entries().find(|entry| entry.to_string_lossy().contains(digest.as_str())).unwrap();
    spoil(&cached);
    let data = fixture.data;
    drop(fixture.registry);
    drop((fixture.journal, fixture.catalog));
    let reopen = |data| Fixture::open(data, |options| options.cache_path = path.clone());
    fixture.meta.close().await.unwrap();
    let fixture = reopen(data).await;
    assert_eq!(nulls(&fixture, "plain").await, 0, "compiled again");

    spoil(&fixture.data.path().join(format!("data/_plugins/sha256/{digest}.wasm")));
    spoil(&cached);
    let data = fixture.data;
    drop(fixture.registry);
    drop((fixture.journal, fixture.catalog));
    fixture.meta.close().await.unwrap();
    let fixture = reopen(data).await;
    let error = fixture.redactor("plain", json!({})).await.unwrap_err();
    assert_eq!(error.code(), Code::Corrupt, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_everything_and_stores_nothing() {
    let fixture = Fixture::with(&["redact-mask", "redact-hash", "condition-required-fields"]).await;
    let events = fixture.journal.stats().total_events_created;
    let run = async |plugin: &str, config, input| {
        let what = DryRun { config, version: None, input, limits: None };
        fixture.registry.dry_run(&name(plugin), what).await
    };
    let values = DryRunInput::Values(vec![json!("CAND-000001"), json!(null)]);
    let report = run("redact-mask", json!({ "keep_prefix": 3, "keep_suffix": 2 }), values.clone()).await.unwrap();
    assert_eq!(report.outputs, [json!("CAN******01"), json!(null)]);
    assert!(report.memory_bytes > 0 && report.duration_us > 0);
    let seven = "7902699be42c8a8e46fbbb4501726517e86b22c56a189f7625a6da49081b2451";
    let integers = run("redact-hash", json!({}), DryRunInput::Values(vec![json!(7)])).await.unwrap();
    assert_eq!(integers.outputs, [json!(seven)], "an integer hashes as its text");
    let contexts = DryRunInput::Contexts(vec![json!({ "client": { "id": 1 } }), json!({})]);
    let report = run("condition-required-fields", json!({ "fields": ["client.id"] }), contexts).await.unwrap();
    assert_eq!(report.outputs[0], json!({ "holds": true }));
    assert!(report.outputs[1]["why"].as_str().unwrap().contains("client.id"));

    let rejected = run("redact-mask", json!({ "keep_perfix": 3 }), values.clone()).await.unwrap_err();
    assert_eq!(rejected.code(), Code::InvalidRuleConfig);
    assert!(rejected.public().contains("keep_perfix"), "{}", rejected.public());
    for (plugin, input) in
        [("redact-mask", DryRunInput::Contexts(vec![])), ("redact-mask", DryRunInput::Values(vec![json!(1), json!("x")]))]
    {
        assert_eq!(run(plugin, json!({}), input).await.unwrap_err().code(), Code::InvalidBody);
    }
    assert_eq!(run("redact-mask", json!([]), values).await.unwrap_err().code(), Code::InvalidBody);
    assert_eq!(fixture.journal.stats().total_events_created, events);
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_is_not_in_force_does_not_stay_in_memory() {
    let fixture = Fixture::start().await;
    let in_memory = || fixture.registry.store.in_memory();
    let versions = 40;
    for n in 0..versions {
        let wasm = redactor_wat(&[HONEST, REALLOC, REDACT, &"(func)".repeat(n + 1)].concat());
        fixture.push_bytes("plain", wasm).await.unwrap();
    }
    assert!(in_memory() < versions / 2, "{} of {versions}", in_memory());
    for version in 1..=versions {
        assert_eq!(nulls(&fixture, &format!("plain@{version}")).await, 0, "still there to be pinned");
    }
    assert!(in_memory() < versions / 2, "{} of {versions}", in_memory());
    // The active one stays whatever is used beside it.
    let active =
        fixture.registry.version(&name("plain"), &fixture.registry.show(&name("plain")).unwrap().summary.digest).unwrap();
    assert!(Arc::ptr_eq(&active.code().await.unwrap(), &active.code().await.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn overlays_merge_and_rejected_configs_tell_the_guests_words() {
    let fixture = Fixture::with(&["redact-mask", "condition-required-fields"]).await;
    let bindings = fixture.bindings(RuleKind::Redactor, "redact-mask", json!({ "keep_prefix": 1, "keep_suffix": 1 }), |_| {});
    let open = async |overlay: Option<serde_json::Value>| bindings.redactor(&rule("r"), overlay.as_ref()).await;
    let masked = async |overlay| {
        let mut redactor = open(overlay).await.unwrap().instance();
        read(&redactor.redact(&texts(&[Some("abcdef")])).await.unwrap())[0].clone().unwrap()
    };
    assert_eq!(masked(None).await, "a****f");
    assert_eq!(masked(Some(json!({ "keep_prefix": 2 }))).await, "ab***f");
    let error = open(Some(json!({ "keep_prefix": "two" }))).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidRuleConfig);
    assert!(error.public().contains("keep_prefix") && error.public().contains("redact-mask@"), "{}", error.public());
    assert!(matches!(open(Some(json!([1]))).await, Err(PluginError::ConfigShape { .. })));

    let bindings = fixture.bindings(RuleKind::Condition, "condition-required-fields", json!({ "fields": ["a"] }), |_| {});
    let mut condition = bindings.condition(&rule("r"), None).await.unwrap();
    let verdicts = condition.evaluate(&[json!({ "a": 1 }), json!({ "a": "" })]).await.unwrap();
    assert_eq!(verdicts[0], Verdict::Holds);
    assert!(matches!(&verdicts[1], Verdict::Fails(why) if why.contains("`a`")));
    assert_eq!(condition.evaluate(&[]).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pushes_at_once_lose_none() {
    let fixture = Fixture::start().await;
    let pushes = (0..12).map(|n| {
        let wasm = redactor_wat(&[HONEST, REALLOC, REDACT, &"(func)".repeat(n + 1)].concat());
        let fixture = &fixture;
        async move { fixture.push_bytes("plain", wasm).await.unwrap().version }
    });
    let mut versions: Vec<u32> = futures::future::join_all(pushes).await.iter().map(|version| version.parse().unwrap()).collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=12).collect::<Vec<_>>());
    let fixture = fixture.restart().await;
    assert_eq!(fixture.registry.show(&name("plain")).unwrap().all.len(), 12);
}
