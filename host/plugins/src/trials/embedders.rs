//! T-40, T-42, T-45, T-46 for embedders.

use arrow::array::StringArray;
use lakehouse_catalog::{RuleBinding, RuleKind};
use serde_json::{Value, json};

use super::{DEADLINE, MARGIN, attack, is_timeout, lie_of, quick};
use crate::{
    Embedder, Lie, PluginError,
    testing::{Fixture, rule, within},
};

async fn embedder(fixture: &Fixture, plugin: &str, config: Value) -> Result<Embedder, PluginError> {
    limited(fixture, plugin, config, quick).await
}

async fn limited(
    fixture: &Fixture,
    plugin: &str,
    config: Value,
    limit: impl FnOnce(&mut RuleBinding),
) -> Result<Embedder, PluginError> {
    fixture.bindings(RuleKind::Embedder, plugin, config, limit).embedder(&rule("r"), None).await
}

/// Calls with the trigger, expects an error, and that the next call works.
async fn strike(embedder: &mut Embedder) -> PluginError {
    let boom = StringArray::from(vec!["secret-4711", "BOOM"]);
    let error = embedder.embed(&boom).await.expect_err("it got away with it");
    let calm = embedder.embed(&StringArray::from(vec!["calm"])).await.expect("the next call works");
    assert_eq!(calm.iter().collect::<Vec<_>>(), [[1.0; 4]]);
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn every_lie_of_an_embedder_is_named() {
    let fixture = Fixture::with(&["evil"]).await;
    for (name, lie) in [
        ("nan-vectors", Lie::NotFinite),
        ("infinite-vectors", Lie::NotFinite),
        ("wrong-dimension", Lie::VectorLength { expected: 8, got: 6 }),
        ("short-rows", Lie::VectorLength { expected: 8, got: 4 }),
        ("long-rows", Lie::VectorLength { expected: 8, got: 12 }),
        ("no-rows", Lie::VectorLength { expected: 8, got: 0 }),
    ] {
        assert_eq!(lie_of(strike(&mut embedder(&fixture, "evil", attack(name)).await.unwrap()).await), lie, "{name}");
    }
    for name in ["wild-pointer", "unreachable", "panic", "memory"] {
        let error = strike(&mut limited(&fixture, "evil", attack(name), |_| {}).await.unwrap()).await;
        assert!(matches!(error, PluginError::Crashed { .. } | PluginError::MemoryExceeded { .. }), "{name}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dimension_is_sane_and_stays() {
    let fixture = Fixture::with(&["evil"]).await;
    for (name, got) in [("zero-dimensions", 0), ("huge-dimensions", u32::MAX)] {
        let refused = embedder(&fixture, "evil", attack(name)).await.unwrap_err();
        assert_eq!(lie_of(refused), Lie::Dimensions { got, limit: 4096 }, "{name}");
    }
    let mut changing = embedder(&fixture, "evil", attack("changing-dimensions")).await.unwrap();
    assert_eq!(changing.dimensions(), 1);
    let error = changing.embed(&StringArray::from(vec!["calm"])).await.unwrap_err();
    assert_eq!(lie_of(error), Lie::DimensionsChanged { promised: 1, got: 2 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_in_an_embedder_ends_at_its_deadline() {
    let fixture = Fixture::with(&["evil"]).await;
    let mut looping = embedder(&fixture, "evil", attack("loop")).await.unwrap();
    let boom = StringArray::from(vec!["BOOM"]);
    let error = within(DEADLINE + MARGIN, looping.embed(&boom)).await.unwrap_err();
    assert!(is_timeout(&error), "{error}");
    assert!(is_timeout(&strike(&mut looping).await));
    for name in ["loop-in-open", "loop-in-dimensions"] {
        let error = within(DEADLINE + MARGIN, embedder(&fixture, "evil", attack(name))).await.unwrap_err();
        assert!(is_timeout(&error), "{name}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_one_request_is_in_the_vectors_of_another() {
    let fixture = Fixture::with(&["evil"]).await;
    let config = json!({ "attack": "remember-state" });
    let embed = async |embedder: &mut Embedder, text: &str| {
        embedder.embed(&StringArray::from(vec![text])).await.unwrap().into_numbers()[0]
    };
    // The guest does remember within its own instance: else this test proves nothing.
    let mut first = embedder(&fixture, "evil", config.clone()).await.unwrap();
    assert_eq!((embed(&mut first, "alpha").await, embed(&mut first, "be").await), (5.0, 7.0));
    drop(first);
    for round in 0..50 {
        let mut next = embedder(&fixture, "evil", config.clone()).await.unwrap();
        assert_eq!(embed(&mut next, "gam").await, 3.0, "round {round}");
    }
    // Two embedders of one set of bindings neither.
    let bindings = fixture.bindings(RuleKind::Embedder, "evil", config, quick);
    let mut left = bindings.embedder(&rule("r"), None).await.unwrap();
    let mut right = bindings.embedder(&rule("r"), None).await.unwrap();
    assert_eq!((embed(&mut left, "left").await, embed(&mut right, "right").await), (4.0, 5.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_texts_are_embedded_in_parts_and_one_failure_fails_all() {
    let fixture = Fixture::with(&["embed-hash", "evil"]).await;
    let mut hash = limited(&fixture, "embed-hash", json!({}), |binding| binding.limits.output_mib = 4).await.unwrap();
    assert_eq!(hash.dimensions(), 384);
    let words: Vec<String> = (0..12_000).map(|n| format!("candidate {n} drives a forklift at night")).collect();
    let vectors = hash.embed(&StringArray::from_iter_values(&words)).await.unwrap();
    assert_eq!((vectors.len(), vectors.dimensions()), (12_000, 384));
    let alone = hash.embed(&StringArray::from(vec![words[11_999].as_str()])).await.unwrap();
    assert_eq!(alone.iter().next(), vectors.iter().last(), "whatever the neighbours");
    assert!(vectors.iter().all(|vector| (vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-4));
    assert!(hash.embed(&StringArray::new_null(0)).await.unwrap().is_empty());
    let null = hash.embed(&StringArray::from(vec![Some("a"), None])).await.unwrap_err();
    assert!(matches!(null, PluginError::NullText), "{null}");

    let mut evil = embedder(&fixture, "evil", attack("panic")).await.unwrap();
    let last = (0..40_000).map(|n| if n == 39_999 { "BOOM".to_owned() } else { format!("a text of some length, {n}") });
    let error = evil.embed(&StringArray::from_iter_values(last)).await.unwrap_err();
    assert!(matches!(error, PluginError::Crashed { .. }), "{error}");
}
