//! Profiles: what they may say, and what they bind.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_default_profile_is_always_there() {
    let lake = Lake::start().await;
    let default = ProfileId::default_profile();
    assert!(lake.catalog.snapshot().profile(&default).is_ok());
    let error = lake.catalog.edit(&by(), |_, edit| edit.remove_profile(&default)).await.unwrap_err();
    assert!(matches!(error, CatalogError::DefaultProfile), "{error}");
    lake.put_profile(profile(&json!({"id": "default", "description": "ours"}))).await.unwrap();
    assert_eq!(lake.reopened().await.snapshot().profiles["default"].description, "ours");
    assert_eq!(lake.journal.stats().total_events_created, 0, "a start writes no events");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_cannot_be_is_refused_by_field() {
    let lake = Lake::start().await;
    let rule = |body: Value| {
        let mut rule = json!({"name": "pii", "kind": "redactor", "component": "redact-pii"});
        rule.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        rule
    };
    for (body, expected) in [
        (json!({"id": "a", "bound_datasets": ["x", "x"]}), "`x` is listed twice"),
        (json!({"id": "a", "bound_datasets": ["nowhere"]}), "neither a dataset nor a view"),
        (json!({"id": "a", "rules": [rule(json!({})), rule(json!({}))]}), "rule `pii` is bound twice"),
        (json!({"id": "a", "rules": [rule(json!({"config": "x"}))]}), "must be a JSON object"),
        (json!({"id": "a", "rules": [rule(json!({"grants": ["prf", "prf"]}))]}), "names `prf` twice"),
        (json!({"id": "a", "rules": [rule(json!({"grants": ["a b"]}))]}), "no capability name"),
        (json!({"id": "a", "rules": [rule(json!({"limits": {"memory_mib": 0}}))]}), "`limits.memory_mib` of rule `pii` must be"),
        (json!({"id": "a", "hnsw_config": {"ef_search": 201}}), "`hnsw_config.ef_search` must be from 10 to 200"),
        (json!({"id": "a", "description": "x".repeat(5000)}), "`description` holds more than 4096 bytes"),
    ] {
        let error = lake.put_profile(profile(&body)).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidDefinition);
        assert!(error.public().contains(expected), "{error}");
    }
}

#[test]
fn limits_are_held_to_the_ceilings() {
    let mut rule = RuleBinding::new(RuleName::new("r").unwrap(), crate::RuleKind::Redactor, PluginName::new("p").unwrap());
    let ceilings = RuleLimits { memory_mib: 128, deadline_ms: 2000, output_mib: 64, log_kib: 64 };
    assert!(rule.check_limits(&ceilings).is_ok());
    rule.limits.deadline_ms = 2001;
    let error = rule.check_limits(&ceilings).unwrap_err();
    assert!(matches!(error, DefinitionError::Limit { limit: "deadline_ms", min: 1, max: 2000, .. }), "{error}");
}

#[test]
fn short_forms_and_search_have_rules_unless_a_profile_rebinds_them() {
    let redaction = |wire: Value| serde_json::from_value::<Redaction>(wire).unwrap().rule();
    assert_eq!(redaction(json!("null")).0.as_str(), "null");
    assert_eq!(redaction(json!("hash")), (RuleName::new("hash").unwrap(), None));
    let mask = redaction(json!({"mask": {"keep_prefix": 3, "keep_suffix": 2}}));
    assert_eq!(mask, (RuleName::new("mask").unwrap(), Some(json!({"keep_prefix": 3, "keep_suffix": 2}))));

    let own = profile(&json!({"id": "a", "rules": [
        {"name": "mask", "kind": "redactor", "component": "our-mask@2"},
        {"name": "embed", "kind": "embedder", "component": "our-model"},
    ]}));
    let rules: BTreeMap<String, String> =
        own.effective_rules().into_iter().map(|rule| (rule.name.to_string(), rule.component.to_string())).collect();
    let expected = [
        ("chunk", "chunk-text"),
        ("embed", "our-model"),
        ("hash", "redact-hash"),
        ("ids", "id-prefix"),
        ("mask", "our-mask@2"),
        ("null", "redact-null"),
    ];
    assert_eq!(rules, expected.map(|(name, component)| (name.to_owned(), component.to_owned())).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_of_a_plugin_include_the_default_rules() {
    let lake = Lake::start().await;
    lake.put_profile(profile(&json!({"id": "a", "rules": [{"name": "mask", "kind": "redactor", "component": "our-mask@2"}]})))
        .await
        .unwrap();
    let users = |plugin: &str| lake.catalog.snapshot().users_of_plugin(&PluginName::new(plugin).unwrap());
    let named = |profile: &str, rule: &str| (ProfileId::new(profile).unwrap(), RuleName::new(rule).unwrap());
    assert_eq!(users("our-mask"), [named("a", "mask")]);
    assert_eq!(users("redact-mask"), [named("default", "mask")]);
    assert_eq!(users("redact-null"), [named("a", "null"), named("default", "null")]);
    assert_eq!(users("chunk-text"), [named("a", "chunk"), named("default", "chunk")]);
    assert!(users("redact-pii").is_empty());
}

#[test]
fn a_profile_without_bindings_reaches_everything() {
    assert!(profile(&json!({"id": "a"})).reaches("anything"));
    let bound = profile(&json!({"id": "a", "bound_datasets": ["one"]}));
    assert!(bound.reaches("one") && !bound.reaches("two"));
}
