use bytes::Bytes;
use lakehouse_catalog::{CatalogError, DatasetRecord, ProfileInput, RuleBinding, RuleKind, ViewInput};
use lakehouse_types::{BucketName, Code, DatasetName, Fault};
use serde_json::{Value, json};

use crate::{
    Check, PluginError,
    testing::{Fixture, component, name, rule, stamp},
};

/// A component with one text in place of another of the same length.
fn patched(name: &str, from: &str, to: &str) -> Bytes {
    assert_eq!(from.len(), to.len());
    let mut wasm = component(name).to_vec();
    let places: Vec<usize> = (0..wasm.len() - from.len()).filter(|at| wasm[*at..].starts_with(from.as_bytes())).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| wasm[at..at + to.len()].copy_from_slice(to.as_bytes()));
    wasm.into()
}

/// `redact-hash` under the name of `redact-mask`: passes every check, and knows no configuration of it.
fn impostor() -> Bytes {
    patched("redact-hash", "redact-hash", "redact-mask")
}

impl Fixture {
    async fn bind(&self, profile: &str, rules: Vec<RuleBinding>) {
        let input: ProfileInput = serde_json::from_value(json!({ "id": profile })).unwrap();
        let by = stamp();
        let profile = ProfileInput { rules, ..input }.into_profile(&by.actor, by.at, None);
        self.catalog.edit::<_, CatalogError>(&by, |_, edit| edit.put_profile(profile)).await.unwrap();
    }

    async fn view(&self, redactions: Value) {
        let by = stamp();
        let people = DatasetName::new("people").unwrap();
        let dataset = DatasetRecord::new(people, BucketName::primary(), by.actor.clone(), by.at);
        let view: ViewInput = serde_json::from_value(
            json!({ "name": "safe", "base_dataset": "people", "columns": ["id"], "column_redactions": redactions }),
        )
        .unwrap();
        let view = view.into_record(&by.actor, by.at, None);
        let put = self.catalog.edit::<_, CatalogError>(&by, |_, edit| {
            edit.put_dataset(dataset)?;
            edit.put_view(view)
        });
        put.await.unwrap();
    }
}

fn bound(component: &str, config: Value) -> RuleBinding {
    RuleBinding { config, component: component.parse().unwrap(), ..RuleBinding::new(rule("ids"), RuleKind::Redactor, name("x")) }
}

/// What the check of bindings said of a refused upload.
async fn refused(fixture: &Fixture, plugin: &str, wasm: Bytes) -> String {
    let before = fixture.registry.show(&name(plugin)).unwrap();
    let error = fixture.push_bytes(plugin, wasm).await.expect_err("it is in force");
    assert_eq!(error.code(), Code::PluginRefused);
    assert_eq!(
        fixture.registry.show(&name(plugin)).unwrap(),
        before,
        "the old version is in force, and nothing is stored or counted"
    );
    let PluginError::Refused { checks } = error else { panic!("{error}") };
    let failed: Vec<Check> = checks.into_iter().filter(|check| !check.ok).collect();
    assert!(failed.iter().all(|check| check.check == "bindings"), "{failed:?}");
    failed.into_iter().map(|check| check.detail).collect::<Vec<_>>().join("; ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_rejects_a_rule_in_force_is_refused_and_the_rule_is_named() {
    let fixture = Fixture::with(&["redact-mask"]).await;
    fixture.bind("hr", vec![bound("redact-mask", json!({ "keep_prefix": 4711 }))]).await;
    let said = refused(&fixture, "redact-mask", impostor()).await;
    assert_eq!(said, "rule `ids` of profile `hr`: plugin `redact-mask@0.1.0` rejected its configuration");

    // The next version of the same rule is taken, and says that it was asked.
    let report = fixture.push_bytes("redact-mask", component("redact-mask-v2")).await.unwrap();
    let asked = report.checks.iter().find(|check| check.check == "bindings").unwrap();
    assert!(asked.ok && asked.detail.starts_with("2 configurations"), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_view_lays_over_a_rule_counts_too_where_a_profile_reaches_the_view() {
    let fixture = Fixture::with(&["redact-mask"]).await;
    assert!(fixture.push_bytes("redact-mask", impostor()).await.is_ok(), "nobody configures it: the short form alone is bare");
    fixture.registry.rollback(&stamp(), &name("redact-mask"), None).await.unwrap();

    fixture.view(json!({ "id": { "mask": { "keep_prefix": 3, "keep_suffix": 2 } } })).await;
    let said = refused(&fixture, "redact-mask", impostor()).await;
    assert!(said.starts_with("rule `mask` of profile `default`, as view `safe` uses it: "), "{said}");
    // Neither the values nor the words of the component, which may repeat them.
    assert!(!said.contains("keep_prefix") && !said.contains('3'), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_without_a_kind_in_use_is_refused() {
    let fixture = Fixture::with(&["evil"]).await;
    fixture.bind("lab", vec![bound("evil", json!({}))]).await;
    // Without the section that names it, it takes any name.
    let nameless = patched("condition-required-fields", "lakehouse:name", "forgotten:name");
    let said = refused(&fixture, "evil", nameless).await;
    assert!(said.contains("rule `ids` of profile `lab`: needs a redactor"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_and_what_is_broken_already_hold_nothing_up() {
    let fixture = Fixture::with(&["redact-mask"]).await;
    fixture.bind("pinned", vec![bound("redact-mask@0.1.0", json!({ "keep_prefix": 1 }))]).await;
    fixture.bind("broken", vec![bound("redact-mask", json!({ "keep": 1 }))]).await;
    let mut greedy = bound("redact-mask", json!({ "keep_prefix": 1 }));
    greedy.limits.memory_mib = 100_000;
    fixture.bind("greedy", vec![greedy]).await;
    fixture.push_bytes("redact-mask", impostor()).await.expect("no rule that works follows it");
}
