//! T-40, T-42 for id mappers.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, Int32Array, Int64Array, StringArray, UInt64Array};
use lakehouse_catalog::RuleKind;
use serde_json::{Value, json};

use super::{DEADLINE, MARGIN, attack, is_timeout, lie_of, quick};
use crate::{
    IdMapper, Lie, PluginError,
    testing::{Fixture, rule, texts, within},
};

async fn mapper(fixture: &Fixture, plugin: &str, config: Value) -> IdMapper {
    let bindings = fixture.bindings(RuleKind::IdMapper, plugin, config, quick);
    bindings.id_mapper(&rule("r"), None).await.unwrap()
}

fn read(ids: &StringArray) -> Vec<Option<&str>> {
    ids.iter().collect()
}

/// Calls with the trigger, expects an error, and that the next call works.
async fn strike(mapper: &mut IdMapper) -> PluginError {
    let boom = texts(&[Some("secret-4711"), Some("BOOM"), None]);
    let error = mapper.to_doc_ids(&boom).await.expect_err("it got away with it");
    let calm = mapper.to_doc_ids(&texts(&[Some("calm"), None])).await.expect("the next call works");
    assert_eq!(read(&calm), [Some("calm"), None]);
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn every_lie_of_an_id_mapper_is_named() {
    let fixture = Fixture::with(&["evil"]).await;
    for (name, lie) in [
        ("not-invertible", Lie::NotInvertible),
        ("disown-ids", Lie::NotInvertible),
        ("short-rows", Lie::RowCount { expected: 3, got: 2 }),
        ("long-rows", Lie::RowCount { expected: 3, got: 4 }),
        ("null-to-value", Lie::NullToValue),
        ("value-to-null", Lie::ValueToNull),
        ("bad-utf8", Lie::Utf8),
        ("wrong-type", Lie::Type { asked: "text", got: "int64" }),
    ] {
        // One that disowns its ids sees the trigger in them as well.
        assert_eq!(lie_of(strike(&mut mapper(&fixture, "evil", attack(name)).await).await), lie, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_in_either_direction_ends_at_its_deadline() {
    let fixture = Fixture::with(&["evil"]).await;
    for name in ["loop", "loop-in-row-keys"] {
        let mut mapper = mapper(&fixture, "evil", attack(name)).await;
        let boom = texts(&[Some("BOOM")]);
        let error = within(DEADLINE + MARGIN, mapper.to_doc_ids(&boom)).await.unwrap_err();
        assert!(is_timeout(&error), "{name}: {error}");
        assert!(is_timeout(&strike(&mut mapper).await), "{name}");
    }
    let mut mapper = mapper(&fixture, "evil", attack("loop-in-row-keys")).await;
    let boom = StringArray::from(vec!["BOOM"]);
    assert!(is_timeout(&within(DEADLINE + MARGIN, mapper.to_row_keys(&boom)).await.unwrap_err()));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_width_are_mapped_and_come_back() {
    let fixture = Fixture::with(&["id-prefix"]).await;
    let mut mapper = mapper(&fixture, "id-prefix", json!({ "prefix": "W-" })).await;
    let keys: [ArrayRef; 4] = [
        texts(&[Some("7"), None]),
        Arc::new(Int64Array::from(vec![Some(7), None])),
        Arc::new(Int32Array::from(vec![Some(7), None])),
        Arc::new(UInt64Array::from(vec![Some(7), None])),
    ];
    for keys in keys {
        let ids = mapper.to_doc_ids(&keys).await.unwrap();
        assert_eq!(read(&ids), [Some("W-7"), None], "{}", keys.data_type());
        assert_eq!(read(&mapper.to_row_keys(&ids).await.unwrap()), [Some("7"), None]);
    }
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![7.0]));
    assert!(matches!(mapper.to_doc_ids(&floats).await, Err(PluginError::InputType(_))));
    assert_eq!(mapper.to_doc_ids(&texts(&[])).await.unwrap().len(), 0);

    let strange = StringArray::from(vec!["W-1", "CAND-secret-4711"]);
    let error = mapper.to_row_keys(&strange).await.unwrap_err();
    assert!(matches!(&error, PluginError::RefusedInput { row: Some(1), .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("secret-4711"));
    assert_eq!(read(&mapper.to_row_keys(&StringArray::from(vec!["W-1"])).await.unwrap()), [Some("1")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_are_mapped_in_parts() {
    let fixture = Fixture::with(&["id-prefix"]).await;
    let mut mapper = mapper(&fixture, "id-prefix", json!({ "prefix": "CAND-" })).await;
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values((0..1_200_000).map(|n| format!("{n:08}"))));
    let ids = mapper.to_doc_ids(&keys).await.unwrap();
    assert_eq!((ids.len(), ids.value(0), ids.value(1_199_999)), (1_200_000, "CAND-00000000", "CAND-01199999"));
}
