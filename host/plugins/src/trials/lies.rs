//! T-42, T-45, T-46: lies are named, no value gets out by way of an error, nothing is remembered.

use lakehouse_catalog::RuleKind;
use lakehouse_types::{Code, Fault};
use serde_json::json;

use super::{attack, evil, strike};
use crate::{
    Lie, PluginError, Verdict,
    testing::{Fixture, read, rule, texts},
};

#[tokio::test(flavor = "multi_thread")]
async fn every_lie_of_a_redactor_is_named() {
    let fixture = Fixture::with(&["evil"]).await;
    let lie = async |attack: &str| match strike(&mut evil(&fixture, attack).await).await {
        PluginError::Lied { lie, .. } => lie,
        other => panic!("{attack}: {other}"),
    };
    assert_eq!(lie("short-rows").await, Lie::RowCount { expected: 3, got: 2 });
    assert_eq!(lie("long-rows").await, Lie::RowCount { expected: 3, got: 4 });
    assert_eq!(lie("no-rows").await, Lie::OffsetsStart);
    assert_eq!(lie("bad-utf8").await, Lie::Utf8);
    assert_eq!(lie("split-character").await, Lie::Utf8);
    assert_eq!(lie("bad-offsets-decreasing").await, Lie::OffsetsDecrease);
    assert!(matches!(lie("bad-offsets-overrun").await, Lie::OffsetsEnd { .. }));
    assert_eq!(lie("bad-offsets-negative").await, Lie::OffsetsDecrease);
    assert_eq!(lie("bad-offsets-start").await, Lie::OffsetsStart);
    assert_eq!(lie("null-to-value").await, Lie::NullToValue);
    assert!(matches!(lie("short-validity").await, Lie::Validity { expected: 1, got: 0 }));
    assert!(matches!(lie("wrong-type").await, Lie::Type { asked: "text", got: "date32" }));
    assert!(matches!(lie("bad-boolean").await, Lie::Type { asked: "text", got: "boolean" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_lie_of_a_condition_is_refused() {
    let fixture = Fixture::with(&["evil"]).await;
    for (name, what) in [
        ("short-rows", "1 rows for 2"),
        ("long-rows", "3 rows for 2"),
        ("no-rows", "0 rows for 2"),
        ("bad-utf8", "canonical ABI"),
        ("wild-pointer", "canonical ABI"),
    ] {
        let bindings = fixture.bindings(RuleKind::Condition, "evil", attack(name), |_| {});
        let mut condition = bindings.condition(&rule("r"), None).await.unwrap();
        let error = condition.evaluate(&[json!({ "a": 1 }), json!("BOOM")]).await.unwrap_err();
        assert!(error.to_string().contains(what), "{name}: {error}");
        assert_eq!(error.code(), Code::PluginFailed);
        assert_eq!(condition.evaluate(&[json!({})]).await.unwrap(), [Verdict::Holds], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_is_in_any_error() {
    let fixture = Fixture::with(&["evil"]).await;
    for name in ["panic", "control-chars-error", "unreachable", "bad-utf8", "short-rows", "huge-error", "wild-pointer"] {
        let error = strike(&mut evil(&fixture, name).await).await;
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let told = format!("{error} {error:?} {source} {} {:?}", error.public(), error.members());
        assert!(!told.contains("secret-4711") && !told.contains("BOOM"), "{name}: {told}");
        assert_eq!(error.members()["plugin"], json!(error.plugin().unwrap().to_string()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_remembered_from_one_request_to_the_next() {
    let fixture = Fixture::with(&["evil"]).await;
    let config = json!({ "attack": "remember-state" });
    // The guest does remember within its own instance: else this test proves nothing.
    let mut first = fixture.redactor("evil", config.clone()).await.unwrap();
    first.redact(&texts(&[Some("alpha")])).await.unwrap();
    assert_eq!(read(&first.redact(&texts(&[Some("beta")])).await.unwrap()), [Some("alpha|beta|".to_owned())]);
    drop(first);
    for round in 0..100 {
        let mut next = fixture.redactor("evil", config.clone()).await.unwrap();
        assert_eq!(read(&next.redact(&texts(&[Some("gamma")])).await.unwrap()), [Some("gamma|".to_owned())], "round {round}");
    }
    // Two partitions of one query neither.
    let bindings = fixture.bindings(RuleKind::Redactor, "evil", config, |_| {});
    let shared = bindings.redactor(&rule("r"), None).await.unwrap();
    let (mut left, mut right) = (shared.instance(), shared.instance());
    left.redact(&texts(&[Some("left")])).await.unwrap();
    assert_eq!(read(&right.redact(&texts(&[Some("right")])).await.unwrap()), [Some("right|".to_owned())]);
}
