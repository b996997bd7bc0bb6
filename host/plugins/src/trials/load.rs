//! T-40, T-43: what must not even load; the old version serves.

use std::time::Duration;

use bytes::Bytes;
use lakehouse_catalog::RuleKind;
use lakehouse_types::{Code, Fault};
use serde_json::json;

use crate::{
    PluginError,
    testing::{Fixture, HONEST, REALLOC, REDACT, component, read, redactor_wat, texts, wat, within},
};

async fn refused(fixture: &Fixture, wasm: Bytes) -> (String, PluginError) {
    let error = fixture.push_bytes("redact-mask", wasm).await.expect_err("it is accepted");
    match &error {
        PluginError::Refused { checks } => {
            let failed = checks.iter().find(|check| !check.ok).unwrap();
            (format!("{}: {}", failed.check, failed.detail), error)
        }
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_uploads_are_refused_and_the_old_version_serves() {
    let fixture = Fixture::open(tempfile::tempdir().unwrap(), |options| {
        options.compiler = crate::compile::tests::child().with_limits(Duration::from_secs(20), 1 << 30);
    })
    .await;
    fixture.push("redact-mask").await.unwrap();
    let honest = component("redact-mask");
    let core = |extra: &str| redactor_wat(&[HONEST, REALLOC, REDACT, extra].concat());
    let no_shape = r#"(component (instance $e) (export "lakehouse:plugin/redactor@0.1.0" (instance $e)))"#;
    for (wasm, why) in [
        (wat("(module)"), "core module"),
        (Bytes::from_static(b"\x7fELF"), "ELF"),
        (Bytes::from_static(b"random bytes"), "not WebAssembly"),
        (honest.slice(..honest.len() / 3), "truncated"),
        (Bytes::from(vec![0; (16 << 20) + 1]), "size"),
        (
            wat(
                r#"(component (import "wasi:sockets/udp@0.2.0" (instance)) (instance $e) (export "lakehouse:plugin/redactor@0.1.0" (instance $e)))"#,
            ),
            "wasi:sockets/udp@0.2.0",
        ),
        (wat(no_shape), "another shape"),
        (core("(func $s unreachable) (start $s)"), "unreachable"),
        (core("(func $s (call $s)) (start $s)"), "overflowed its stack"),
        (core("(memory $more 100000 100000)"), "memor"),
        (component("redact-hash"), "calls itself `redact-hash`"),
    ] {
        let (refusal, error) = refused(&fixture, wasm).await;
        assert!(refusal.contains(why), "{why}: {refusal}");
        assert_eq!(error.code(), Code::PluginRefused);
        assert!(!error.members()["checks"].as_array().unwrap().is_empty());
        let mut mask = fixture.redactor("redact-mask", json!({ "keep_prefix": 1 })).await.unwrap();
        assert_eq!(read(&mask.redact(&texts(&[Some("abc")])).await.unwrap()), [Some("a**".to_owned())], "after {why}");
    }
    assert_eq!(fixture.registry.show(&crate::testing::name("redact-mask")).unwrap().all.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_of_another_shape_is_refused_by_name() {
    let fixture = Fixture::start().await;
    for kind in RuleKind::ALL {
        let hollow = format!(r#"(component (instance $e) (export "lakehouse:plugin/{kind}@0.1.0" (instance $e)))"#);
        let (refusal, _) = refused(&fixture, wat(&hollow)).await;
        assert!(refusal.starts_with(kind.as_str()) && refusal.contains(&format!("{kind} of another shape")), "{refusal}");
    }
    assert!(fixture.registry.list().plugins.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shipped_kind_passes_its_self_test_and_says_what_was_tried() {
    let fixture = Fixture::start().await;
    for (name, says) in [
        ("chunk-text", "cut no documents"),
        ("id-prefix", "mapped no keys and back"),
        ("embed-hash", "in 384 dimensions"),
        ("model-openai", "made a well-formed request"),
    ] {
        let report = fixture.push(name).await.unwrap();
        let kind = report.kinds[0].as_str();
        let check = report.checks.iter().find(|check| check.check == kind).unwrap();
        assert!(check.ok && check.detail.contains(says), "{name}: {check:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_at_start_is_cut_off() {
    let fixture = Fixture::start().await;
    let wasm = redactor_wat(&[HONEST, REALLOC, REDACT, "(func $s (loop $ever (br $ever))) (start $s)"].concat());
    let (refusal, _) = within(Duration::from_secs(3), refused(&fixture, wasm)).await;
    assert!(refusal.contains("deadline"), "{refusal}");
    let slow_open = HONEST.replace("(i32.store8 (i32.const 64) (i32.const 0))", "(loop $ever (br $ever))");
    let (refusal, _) =
        within(Duration::from_secs(3), refused(&fixture, redactor_wat(&[&slow_open, REALLOC, REDACT].concat()))).await;
    assert!(refusal.contains("deadline"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_disobeys_an_empty_call_is_refused() {
    let fixture = Fixture::start().await;
    let one_more = REDACT.replace("(local.get 3)", "(i32.add (local.get 3) (i32.const 1))");
    let (refusal, _) = refused(&fixture, redactor_wat(&[HONEST, REALLOC, &one_more].concat())).await;
    assert!(refusal.contains("1 rows for 0"), "{refusal}");
    assert!(fixture.push_bytes("redact-mask", redactor_wat(&[HONEST, REALLOC, REDACT].concat())).await.is_ok());
}
