//! Views over views, over real tables.

use super::*;

/// `adults` over `people`, `older` over that, `oldest` over that.
async fn tower() -> Host {
    let host = Host::open().await;
    host.view(json!({"name": "older", "base_dataset": "adults", "columns": ["name", "id"], "row_filter": "id >= 30"})).await;
    host.view(json!({"name": "oldest", "base_dataset": "older", "columns": ["id"], "row_filter": "id >= 90"})).await;
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_over_a_view_sees_what_that_one_gives_out() {
    let host = tower().await;
    let rita = reader(json!([{"view": "oldest", "verbs": ["read"]}]));
    for (sql, expected) in [
        ("SELECT count(*), min(id), max(id) FROM oldest", "10 | 90 | 99"),
        ("SELECT id FROM oldest WHERE id = 95", "95"),
        ("SELECT count(*) FROM oldest WHERE id = 50", "0"),
        ("SHOW TABLES", "oldest | view\nsystem.journal | system\nsystem.queries | system"),
    ] {
        assert_eq!(host.text(&rita, sql).await.unwrap(), expected, "{sql}");
    }
    for hidden in ["older", "adults", "people", "__raw__people", "__raw__older"] {
        let error = host.text(&rita, &format!("SELECT 1 FROM {hidden}")).await.unwrap_err();
        assert_eq!(error.code(), Code::UnknownTable, "{hidden}");
    }
    for column in ["name", "age"] {
        let error = host.text(&rita, &format!("SELECT {column} FROM oldest")).await.unwrap_err();
        assert_eq!(error.code(), Code::UnknownColumn, "{column}");
    }
    // The plan tells of one relation.
    let plan = host.text(&rita, "EXPLAIN SELECT id FROM oldest").await.unwrap();
    assert!(plan.contains("oldest") && !plan.contains("older") && !plan.contains("adults"), "{plan}");
    let joined = "SELECT count(*) FROM oldest a JOIN older b ON a.id = b.id JOIN people c ON c.id = b.id";
    assert_eq!(host.text(&admin(), joined).await.unwrap(), "10");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buried_row_is_gone_from_every_view_above() {
    let host = tower().await;
    let id = ColumnName::new("id").unwrap();
    host.tables.bury(&stamp("ada"), &dataset("people"), &id, vec![json!(95)], None, "asked".into()).await.unwrap();
    for (relation, count) in [("oldest", "9"), ("older", "69"), ("adults", "81"), ("__raw__people", "100")] {
        assert_eq!(host.text(&admin(), &format!("SELECT count(*) FROM {relation}")).await.unwrap(), count, "{relation}");
    }
    // Where the key is not among the columns, too.
    host.view(json!({"name": "names", "base_dataset": "older", "columns": ["name"]})).await;
    assert_eq!(host.text(&admin(), "SELECT count(*) FROM names WHERE name = 'name 95'").await.unwrap(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn redactions_stack_and_a_filter_above_sees_redacted_values() {
    let host = Host::open().await;
    host.install("redact-mask").await;
    host.install("redact-hash").await;
    let mask = json!({"name": {"mask": {"keep_prefix": 4, "keep_suffix": 1}}});
    host.view(json!({"name": "stars", "base_dataset": "people", "columns": ["id", "name"], "column_redactions": mask})).await;
    host.view(json!({"name": "sevens", "base_dataset": "stars", "columns": ["id", "name"], "row_filter": "name LIKE 'name%7'"}))
        .await;
    host.view(json!({"name": "raws", "base_dataset": "stars", "columns": ["id"], "row_filter": "name = 'name 17'"})).await;
    host.view(json!({"name": "sums", "base_dataset": "stars", "columns": ["name"], "column_redactions": {"name": "hash"}})).await;
    assert_eq!(host.text(&admin(), "SELECT name FROM sevens WHERE id = 17").await.unwrap(), "name**7");
    assert_eq!(host.text(&admin(), "SELECT count(*) FROM sevens").await.unwrap(), "10");
    assert_eq!(host.text(&admin(), "SELECT count(*) FROM raws").await.unwrap(), "0", "no raw value reaches the filter");
    assert_eq!(host.text(&admin(), "SELECT count(DISTINCT name) FROM sums").await.unwrap(), "20", "hashes of masked names");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_below_is_told_under_the_name_that_was_asked_for() {
    let host = Host::open().await;
    host.view(json!({"name": "over", "base_dataset": "masked", "columns": ["id"]})).await;
    host.view(json!({"name": "stale", "base_dataset": "people", "columns": ["id", "gone"]})).await;
    host.view(json!({"name": "above", "base_dataset": "stale", "columns": ["id"]})).await;
    let rita = reader(json!([{"view": "over", "verbs": ["read"]}, {"view": "above", "verbs": ["read"]}]));
    for (view, below, code) in [("over", "masked", Code::UnresolvedRule), ("above", "stale", Code::InvalidDefinition)] {
        let error = host.text(&rita, &format!("SELECT id FROM {view}")).await.unwrap_err();
        assert_eq!(error.code(), code, "{view}");
        let told = error.public();
        assert!(told.contains(view) && !told.contains(below) && !told.contains("people"), "{told}");
        // Whoever defines it is told where to look.
        let record = Host::record(json!({"name": "new", "base_dataset": view, "columns": ["id"]}));
        let error = host.engine.check_view(&admin(), &record).await.unwrap_err();
        assert!(error.public().contains(&format!("`{below}`")), "{}", error.public());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn governance_is_of_all_that_a_view_stands_on() {
    let host = tower().await;
    let digest = |host: &Host, name: &str| host.engine.governance(&admin(), name).unwrap().digest;
    let (before, alone) = (digest(&host, "oldest"), digest(&host, "adults"));
    assert_eq!(before, digest(&host, "oldest"));
    host.view(json!({"name": "adults", "base_dataset": "people", "columns": ["id", "name"], "row_filter": "age >= 21"})).await;
    assert!(before != digest(&host, "oldest") && alone != digest(&host, "adults"));
    host.view(json!({"name": "adults", "base_dataset": "people", "columns": ["id", "name"], "row_filter": "age >= 18"})).await;
    assert_eq!(before, digest(&host, "oldest"), "what it says counts, not its version");
    assert_eq!(host.engine.governance(&admin(), "oldest").unwrap().state.name.as_str(), "people");
    // The same words over another base are another view.
    host.view(json!({"name": "twin", "base_dataset": "people", "columns": ["id"], "row_filter": "id >= 90"})).await;
    assert_ne!(digest(&host, "twin"), digest(&host, "oldest"));
}
