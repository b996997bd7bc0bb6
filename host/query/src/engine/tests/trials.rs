//! Definitions tried on sample rows.

use super::*;
use crate::{MAX_SAMPLE_ROWS, Sample, TrialReport, ViewTrial};

impl Host {
    async fn attempt(&self, view: Value, sample: Sample) -> Result<TrialReport, QueryError> {
        let stack = self.catalog.snapshot().stack(Arc::new(Self::record(view))).unwrap();
        self.engine.try_view(&admin(), ViewTrial { stack, sample }).await
    }
}

fn rows(rows: Value) -> Sample {
    Sample::Rows(serde_json::from_value(rows).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn own_rows_are_filtered_and_redacted_as_a_query_would() {
    let host = Host::open().await;
    host.install("redact-mask").await;
    let view = json!({"name": "v", "base_dataset": "people", "columns": ["name", "id"], "row_filter": "age >= 18",
        "column_redactions": {"name": {"mask": {"keep_prefix": 1, "keep_suffix": 0}}}});
    let sample = rows(json!([{"id": 1, "name": "Ana", "age": 31}, {"id": 2, "name": "Bo", "age": 7}, {"id": 3, "age": 50}]));
    let report = host.attempt(view, sample).await.unwrap();
    let shown = report.shown.unwrap();
    assert_eq!((report.sampled, shown.rows), (3, vec![json!({"name": "A**", "id": 1}), json!({"id": 3})]));
    assert_eq!(shown.schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["name", "id"]);
    let rule = &report.rules[0];
    assert_eq!((rule.column.as_str(), rule.rule.as_str(), rule.problem.is_none()), ("name", "mask", true));
    assert!(rule.resolved.as_ref().is_some_and(|(plugin, _)| plugin.name.as_str() == "redact-mask"));
    assert_eq!(host.text(&admin(), "SHOW TABLES").await.unwrap().matches("view").count(), 3, "nothing is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_the_base_are_what_the_base_gives_out() {
    let host = Host::open().await;
    let id = ColumnName::new("id").unwrap();
    host.tables.bury(&stamp("ada"), &dataset("people"), &id, vec![json!(0)], None, "asked".into()).await.unwrap();
    let view = |base: &str| json!({"name": "v", "base_dataset": base, "columns": ["id"], "row_filter": "id % 2 = 0"});
    let report = host.attempt(view("people"), Sample::First(usize::MAX)).await.unwrap();
    let shown = report.shown.unwrap().rows;
    assert_eq!((report.sampled, shown.len()), (99.min(MAX_SAMPLE_ROWS), 49));
    let report = host.attempt(view("adults"), Sample::First(10)).await.unwrap();
    let shown = report.shown.unwrap().rows;
    assert_eq!((report.sampled, shown.len()), (10, 5));
    assert!(shown.iter().all(|row| row["id"].as_i64() >= Some(18)), "{shown:?}");
    // Own rows stand for what the base gives out: the filter below tells nothing of itself.
    let report = host.attempt(view("adults"), rows(json!([{"id": 2}, {"id": 4}]))).await.unwrap();
    assert_eq!(report.shown.unwrap().rows.len(), 2);
    // And there is no column of what lies deeper.
    let error = host.attempt(view("adults"), rows(json!([{"age": 2}]))).await.unwrap_err();
    assert_eq!(error.code(), Code::UnknownColumn);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_fails_is_named_and_nothing_is_shown() {
    let host = Host::open().await;
    host.install("redact-mask").await;
    let with = |redactions: Value| json!({"name": "v", "base_dataset": "people", "columns": ["id", "name"], "column_redactions": redactions});
    let one = || rows(json!([{"id": 1, "name": "Ana"}]));
    for (redaction, code) in [
        (json!({"plugin": {"rule": "nobody-binds-it"}}), Code::UnresolvedRule),
        (json!({"plugin": {"rule": "mask", "config": {"keep_prefx": 1}}}), Code::InvalidRuleConfig),
    ] {
        let report = host.attempt(with(json!({"id": {"mask": {}}, "name": redaction})), one()).await.unwrap();
        assert!(report.shown.is_none());
        let problems: Vec<_> = report.rules.iter().map(|rule| rule.problem.as_ref().map(|fault| fault.code())).collect();
        assert_eq!(problems, [None, Some(code)]);
    }
    for (view, code) in [
        (json!({"name": "v", "base_dataset": "people", "columns": ["nam"]}), Code::UnknownColumn),
        (json!({"name": "v", "base_dataset": "people", "columns": ["id"], "row_filter": "id >"}), Code::InvalidDefinition),
    ] {
        assert_eq!(host.attempt(view, one()).await.unwrap_err().code(), code);
    }
}
