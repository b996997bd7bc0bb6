use lakehouse_types::{Code, Fault};
use serde_json::json;

use super::{DryRun, DryRunInput};
use crate::{
    Limits, PluginStats,
    testing::{Fixture, name, texts},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_is_counted_apart_and_tells_what_was_logged_before_it_failed() {
    let fixture = Fixture::with(&["evil"]).await;
    let run = async |config, limits| {
        let input = DryRunInput::Values(vec![json!("a"), json!("b")]);
        fixture.registry.dry_run(&name("evil"), DryRun { config, version: None, input, limits }).await
    };
    assert_eq!(run(json!({}), None).await.unwrap().outputs.len(), 2);
    let refused = run(json!({ "attack": "log-then-refuse" }), None).await.unwrap_err();
    assert_eq!((refused.code(), &refused.members()["logs"]), (Code::InvalidRuleConfig, &json!(["info: about to refuse"])));
    assert!(run(json!({ "attack": "unreachable" }), None).await.is_err());
    let stats = || fixture.registry.show(&name("evil")).unwrap().all[0].stats;
    let expected = PluginStats { dry_runs: 3, dry_run_errors: 2, ..PluginStats::default() };
    assert_eq!(stats(), expected, "no request came");

    let greedy = Limits { memory_bytes: 1 << 40, ..Limits::default() };
    let above = run(json!({}), Some(greedy)).await.unwrap_err();
    assert!(above.code() == Code::InvalidBody && above.public().contains("memory_mib"), "{}", above.public());

    // A request's lines are counted, and are nowhere.
    let mut talker = fixture.redactor("evil", json!({ "attack": "log-flood" })).await.unwrap();
    talker.redact(&texts(&[Some("a")])).await.unwrap();
    let stats = stats();
    assert_eq!((stats.calls, stats.errors, stats.dry_runs, stats.log_lines_discarded), (1, 0, 3, 20_000));
}
