//! A view: fewer columns, fewer rows, a masked key, and a reader who can see nothing else.

use serde_json::{Value, json};

use super::Stage;
use crate::{
    console::table,
    demo::{
        ask::{literal, quoted},
        clients::OLD,
        grouped,
        narrator::Narrator,
        subject::Subject,
    },
    failure::Failure,
};

pub(in crate::demo) async fn view(narrator: &mut Narrator, stage: &mut Stage, subject: &Subject) -> Result<(), Failure> {
    let view = subject.view();
    narrator.begin(&format!("the view {view}: columns, row filter, masked key"));
    let definition = json!({
        "name": view,
        "base_dataset": subject.dataset,
        "columns": subject.shown,
        "row_filter": subject.filter,
        "column_redactions": subject.redactions(),
    });
    stage.admin.post(&["catalog", "views"], &definition).await?;
    narrator.show(format!("WHERE {}; {} masked by the component redact-mask", subject.filter, subject.id));

    // For the hostile component, later: a key names only profiles that exist.
    stage.admin.post(&["catalog", "profiles"], &json!({ "id": "lab", "rules": [] })).await?;
    let key = json!({
        "name": "demo-reader",
        "role": "reader",
        "grants": [
            { "view": view, "verbs": ["read"] },
            { "view": subject.prose_view(), "verbs": ["read"] },
            { "view": subject.hostile_view(), "verbs": ["read"] },
        ],
        "profiles": ["default", "lab"],
        "default_profile": "default",
    });
    let made = stage.admin.post(&["admin", "keys"], &key).await?;
    stage.reader_key = made.get("key").and_then(Value::as_str).map(str::to_owned);
    let reader = stage.reader()?;

    let listed: Vec<String> = subject.shown.iter().map(|column| quoted(column)).collect();
    let rows = reader.rows(&format!("SELECT {} FROM {} LIMIT 3", listed.join(", "), quoted(&view))).await?;
    let names: Vec<&str> = subject.shown.iter().map(String::as_str).collect();
    narrator.show(table(&names, rows.iter().map(|row| names.iter().map(|name| row.get(*name).unwrap_or(&Value::Null)))));

    check_contents(narrator, stage, subject).await?;
    let hidden = subject.withheld.clone().unwrap_or_else(|| "no_such_column".into());
    let refused = reader.refused(&format!("SELECT {} FROM {}", quoted(&hidden), quoted(&view))).await?;
    narrator.check(
        refused.as_ref().is_some_and(|problem| problem.code == "unknown_column"),
        format!("SELECT {hidden} fails: {}", refused.map_or_else(|| "it was answered".into(), |problem| problem.detail)),
    );
    for relation in [subject.dataset.clone(), format!("__raw__{}", subject.dataset)] {
        let refused = reader.refused(&format!("SELECT count(*) AS n FROM {}", quoted(&relation))).await?;
        narrator.check(
            refused.is_some_and(|problem| matches!(problem.status, 400 | 403 | 404)),
            format!("the reader's key cannot touch {relation}"),
        );
    }
    let nobody = stage.admin.as_key("").refused("SELECT 1 AS n").await?;
    narrator.check(nobody.is_some_and(|problem| problem.status == 401), "without a key: 401");
    narrator.end();
    Ok(())
}

async fn check_contents(narrator: &mut Narrator, stage: &Stage, subject: &Subject) -> Result<(), Failure> {
    let (view, reader) = (quoted(&subject.view()), stage.reader()?);
    let (id, base) = (quoted(&subject.id), quoted(&subject.dataset));
    let due = stage.admin.number(&format!("SELECT count(*) AS n FROM {base} WHERE {}", subject.filter)).await?;
    let seen = reader.number(&format!("SELECT count(*) AS n FROM {view}")).await?;
    narrator.check(seen == due && seen > 0, format!("{} rows pass the filter, {} are seen", grouped(due), grouped(seen)));

    let found = stage
        .admin
        .rows(&format!(
            "SELECT CAST({id} AS VARCHAR) AS k FROM {base} WHERE ({}) AND {id} IS NOT NULL ORDER BY {id} LIMIT 1",
            subject.filter
        ))
        .await?;
    let Some(key) = found.first().and_then(|row| row.get("k")).and_then(Value::as_str) else {
        narrator.check(false, "a row with a key");
        return Ok(());
    };
    let masked = subject.masked(key, OLD);
    let under_mask = reader.number(&format!("SELECT count(*) AS n FROM {view} WHERE {id} = {}", literal(&masked))).await?;
    narrator.check(under_mask > 0, format!("{key} is seen as {masked}"));
    if masked != key {
        let by_key =
            reader.number(&format!("SELECT count(*) AS n FROM {view} WHERE CAST({id} AS VARCHAR) = {}", literal(key))).await?;
        narrator.check(by_key == 0, "asking the view for the key itself finds nothing");
    }
    Ok(())
}
