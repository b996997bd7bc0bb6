use chrono::DateTime;
use lakehouse_catalog::{Pin, RuleKind};
use lakehouse_types::{Actor, Digest, PluginName, RequestId};

use super::{MAX_HISTORY, Origin, PluginRecord, VersionRecord};

fn version(version: &str, digest: u8) -> VersionRecord {
    VersionRecord {
        digest: Digest::from_bytes(&[digest; 32]),
        version: version.into(),
        size_bytes: 70_000,
        kinds: vec![RuleKind::Redactor],
        imports: vec!["lakehouse:plugin/log@0.1.0".to_owned()],
        description: None,
        licenses: Some("Apache-2.0".to_owned()),
        config_schema: Some(serde_json::json!({ "type": "object" })),
        origin: Origin::Upload,
        pushed_at: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
        pushed_by: Actor::new("ada").unwrap(),
        request_id: RequestId::new("R1").unwrap(),
    }
}

fn record() -> PluginRecord {
    PluginRecord::new(PluginName::new("redact-mask").unwrap(), version("1.2.0", 1), 0)
}

#[test]
fn the_stored_form_stays_as_it_is() {
    let golden = r#"{"name":"redact-mask","enabled":true,"active":"0101010101010101010101010101010101010101010101010101010101010101","history":[],"versions":[{"digest":"0101010101010101010101010101010101010101010101010101010101010101","version":"1.2.0","size_bytes":70000,"kinds":["redactor"],"imports":["lakehouse:plugin/log@0.1.0"],"licenses":"Apache-2.0","config_schema":{"type":"object"},"origin":"upload","pushed_at":"2023-11-14T22:13:20Z","pushed_by":"ada","request_id":"R1"}],"counter":0}"#;
    assert_eq!(serde_json::to_string(&record()).unwrap(), golden);
    assert_eq!(serde_json::from_str::<PluginRecord>(golden).unwrap(), record());
}

#[test]
fn a_pin_finds_the_exact_text_then_the_newest_below_it() {
    let mut record = record();
    record.versions.extend([version("1.2.9", 2), version("1.20.0", 3), version("1.2.9", 4), version("7", 5)]);
    let found = |pin: &str| record.find(&Pin::Version(pin.into())).map(|version| version.digest.clone());
    assert_eq!(found("1.2.0"), Some(Digest::from_bytes(&[1; 32])));
    assert_eq!(found("1.2.9"), Some(Digest::from_bytes(&[2; 32])), "the first of a text");
    assert_eq!(found("1.2"), Some(Digest::from_bytes(&[4; 32])));
    assert_eq!(found("1"), Some(Digest::from_bytes(&[4; 32])));
    assert_eq!(found("7"), Some(Digest::from_bytes(&[5; 32])));
    assert_eq!(found("1.3"), None);
    assert_eq!(record.find(&Pin::Active).unwrap().version.as_ref(), "1.2.0");
}

#[test]
fn history_goes_back_step_by_step_and_is_bounded() {
    let mut record = record();
    let digest = |n: u8| Digest::from_bytes(&[n; 32]);
    record.activate(digest(2));
    record.activate(digest(2));
    record.activate(digest(3));
    assert_eq!((record.step_back(), record.active.clone()), (Some(digest(2)), digest(2)));
    assert_eq!(record.step_back(), Some(digest(1)));
    assert_eq!((record.step_back(), record.active.clone()), (None, digest(1)));
    for n in 0..200 {
        record.activate(digest(n));
    }
    assert_eq!(record.history.len(), MAX_HISTORY);
}
