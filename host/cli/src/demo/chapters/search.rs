//! Text made searchable through the redacting view, for those who work under one profile.

use std::time::Instant;

use serde_json::{Value, json};

use super::Stage;
use crate::{
    client::Client,
    demo::{
        ask::{literal, quoted},
        grouped,
        narrator::Narrator,
        spoken,
        subject::Subject,
    },
    failure::{Failure, plain},
};

/// The profile that searches.
pub(super) const PROFILE: &str = "staffing-recruiter";

pub(in crate::demo) async fn search(narrator: &mut Narrator, stage: &mut Stage, subject: &Subject) -> Result<(), Failure> {
    narrator.begin("search: chunk, embed and index text through a redacting view");
    let Some(prose) = subject.prose.clone().filter(|prose| *prose != subject.id) else {
        narrator.show("your file has no column of text to search; --text COLUMN names one");
        narrator.check(subject.own, "nothing to index");
        narrator.end();
        return Ok(());
    };
    let (view, index) = (subject.search_view(), subject.index());
    let filter = subject.search_filter(&stage.admin).await?;
    let definition = json!({
        "name": view,
        "base_dataset": subject.dataset,
        "columns": subject.searched(&prose),
        "row_filter": filter,
        "column_redactions": { prose.as_str(): { "plugin": { "rule": "pii" } } },
    });
    stage.admin.post(&["catalog", "views"], &definition).await?;
    stage.admin.post(&["catalog", "profiles"], &profile(&view, 800)).await?;
    let key = json!({
        "name": "demo-recruiter",
        "role": "reader",
        "grants": [{ "view": view, "verbs": ["read"] }, { "dataset": subject.dataset, "verbs": ["read"] }],
        "default_profile": PROFILE,
    });
    let made = stage.admin.post(&["admin", "keys"], &key).await?;
    stage.recruiter_key = made.get("key").and_then(Value::as_str).map(str::to_owned);

    let operator = stage.admin.under(PROFILE);
    let began = Instant::now();
    let body = json!({ "index_name": index, "id_column": subject.id, "text_column": prose });
    let report = match operator.post(&["vectors", "refresh", &view], &body).await {
        Err(Failure::Problem(problem)) if subject.own && problem.code == "invalid_data" => {
            narrator.show(format!("{}: rows of an index are named one by one", problem.detail));
            narrator.check(true, "rows that share a name are refused, and nothing is indexed");
            narrator.end();
            return Ok(());
        }
        report => report?,
    };
    stage.is_indexed = true;
    let took = began.elapsed();
    let rows = number(&report, "rows");
    let due = operator.count(&view).await?;
    narrator.show(format!("{index} of {view}: {prose}, cut by chunk-text, embedded by embed-hash (lexical, 384 numbers)"));
    narrator.check(
        rows > 0 && rows <= due,
        format!("{} rows, {} chunks indexed in {}", grouped(rows), grouped(number(&report, "chunks")), spoken(took)),
    );
    narrator.figure("index text through a redacting view", format!("{} rows in {}", grouped(rows), spoken(took)));

    let began = Instant::now();
    let again = operator.post(&["vectors", "refresh", &view], &json!({ "index_name": index })).await?;
    narrator.check(
        number(&again, "embedded") == 0 && number(&again, "unchanged_docs") == rows,
        format!("an idle refresh embeds nothing, in {}", spoken(began.elapsed())),
    );
    let active = stage.admin.post(&["vectors", "profile", PROFILE, "activate"], &json!({})).await?;
    narrator.check(
        number(&active, "failed") == 0,
        format!("profile {PROFILE} is active after {} ms", number(&active, "duration_ms")),
    );
    find(narrator, stage, subject, &prose).await?;
    stale(narrator, &operator, subject).await?;
    narrator.end();
    Ok(())
}

/// What the recruiter finds, and what not.
async fn find(narrator: &mut Narrator, stage: &Stage, subject: &Subject, prose: &str) -> Result<(), Failure> {
    let recruiter = stage.recruiter()?;
    let (view, index) = (subject.search_view(), subject.index());
    let sought = subject.sought(&recruiter, &view, prose).await?;
    let began = Instant::now();
    let hits =
        recruiter.post(&["vectors", "profile", PROFILE, "search"], &json!({ "index": index, "query": sought, "k": 3 })).await?;
    let took = began.elapsed();
    narrator.show(format!("\"{sought}\":"));
    for hit in members(&hits, "hits") {
        let text: String = hit.get("chunk").and_then(|chunk| chunk.get("text")).map(plain).unwrap_or_default();
        let text: String = text.chars().take(130).collect();
        narrator.show(format!("  {} {}  {text}", hit.get("score").map(plain).unwrap_or_default(), member(hit, "row_key")));
    }
    let found = members(&hits, "hits").len() as u64;
    narrator.check(
        found == number(&hits, "hit_count") && found > 0,
        format!("{found} hits by {} in {}", member(&hits, "method"), spoken(took)),
    );
    narrator.figure("a search by text, first answer", spoken(took));

    let refused = recruiter.refused(&format!("SELECT count(*) AS n FROM {}", quoted(&subject.dataset))).await?;
    narrator.check(
        refused.is_some_and(|problem| problem.code == "unknown_table"),
        format!("under {PROFILE}, {} itself does not exist, whatever the key may read", subject.dataset),
    );
    out_of_scope(narrator, stage, subject, prose).await?;
    if !subject.own {
        hybrid(narrator, &recruiter, &index, &view).await?;
    }
    buried(narrator, stage, subject, prose).await
}

/// An index of a view that the profile is not bound to.
async fn out_of_scope(narrator: &mut Narrator, stage: &Stage, subject: &Subject, prose: &str) -> Result<(), Failure> {
    let (few, id) = (subject.few_view(), quoted(&subject.id));
    let one = stage.admin.rows(&format!("SELECT {id} AS k FROM {} ORDER BY 1 LIMIT 1", quoted(&subject.search_view()))).await?;
    let one = one.first().and_then(|row| row.get("k")).map(|key| key.as_str().map_or_else(|| key.to_string(), literal));
    let Some(one) = one else { return Ok(()) };
    let view = json!({
        "name": few, "base_dataset": subject.dataset, "columns": [subject.id, prose], "row_filter": format!("{id} = {one}"),
    });
    stage.admin.post(&["catalog", "views"], &view).await?;
    let body = json!({ "index_name": "few", "id_column": subject.id, "text_column": prose });
    stage.admin.post(&["vectors", "refresh", &few], &body).await?;
    let body = json!({ "index": "few", "query": "anything" });
    let problem = match stage.admin.post(&["vectors", "profile", PROFILE, "search"], &body).await {
        Err(Failure::Problem(problem)) => Some(problem),
        Ok(_) => None,
        Err(other) => return Err(other),
    };
    narrator.check(
        problem.as_ref().is_some_and(|problem| problem.status == 403 && problem.code == "not_bound"),
        problem.map_or_else(|| "an index out of scope was searched".to_owned(), |problem| format!("403: {}", problem.detail)),
    );
    Ok(())
}

/// SQL and similarity in one answer.
async fn hybrid(narrator: &mut Narrator, recruiter: &Client, index: &str, view: &str) -> Result<(), Failure> {
    let filter = "state = 'OH' AND years_experience >= 5";
    let body = json!({ "index": index, "query": "night-shift forklift operator", "filter": filter, "k": 20 });
    let hits = recruiter.post(&["vectors", "hybrid"], &body).await?;
    let keys: Vec<String> = members(&hits, "hits").iter().map(|hit| format!("'{}'", member(hit, "row_key"))).collect();
    let matching = recruiter
        .number(&format!("SELECT count(*) AS n FROM {} WHERE candidate_id IN ({}) AND {filter}", quoted(view), keys.join(", ")))
        .await?;
    narrator.check(
        keys.len() == 20 && matching == 20,
        format!("\"night-shift forklift operator\" where {filter}: {} hits, {matching} of them satisfy it", keys.len()),
    );
    Ok(())
}

/// A row that is tombstoned is found no more, at once.
async fn buried(narrator: &mut Narrator, stage: &Stage, subject: &Subject, prose: &str) -> Result<(), Failure> {
    let recruiter = stage.recruiter()?;
    let (view, index) = (subject.search_view(), subject.index());
    let column = quoted(prose);
    let sql = format!(
        "SELECT {} AS k, {column} AS t FROM {} WHERE {column} IS NOT NULL AND length({column}) > 3 ORDER BY 1 DESC LIMIT 1",
        quoted(&subject.id),
        quoted(&view)
    );
    let Some(row) = recruiter.rows(&sql).await?.first().cloned() else { return Ok(()) };
    let (key, text) = (row.get("k").cloned().unwrap_or_default(), row.get("t").map(plain).unwrap_or_default());
    let text: String = text.chars().take(2_000).collect();
    let keys = |hits: &Value| members(hits, "hits").iter().map(|hit| member(hit, "row_key")).collect::<Vec<_>>();
    // Others may have the very same text.
    let filter = format!("{} = {}", quoted(&subject.id), key.as_str().map_or_else(|| key.to_string(), literal));
    let body = json!({ "index": index, "query": text, "filter": filter, "k": 1 });
    let before = keys(&recruiter.post(&["vectors", "hybrid"], &body).await?);
    let burial =
        json!({ "row_key_column": subject.id, "row_key_values": [key], "actor": "privacy desk", "reason": "erasure request" });
    stage.admin.post(&["catalog", "datasets", "by-name", &subject.dataset, "tombstone"], &burial).await?;
    let after = keys(&recruiter.post(&["vectors", "hybrid"], &body).await?);
    let name = plain(&key);
    narrator.check(
        before.contains(&name) && !after.contains(&name),
        format!("{name} is found by its own text; tombstoned, it is found no more"),
    );
    Ok(())
}

/// Another chunker marks the index stale; the next refresh mends it.
async fn stale(narrator: &mut Narrator, operator: &Client, subject: &Subject) -> Result<(), Failure> {
    let (view, index) = (subject.search_view(), subject.index());
    let mark = async || -> Result<String, Failure> {
        Ok(operator.get(&["vectors", "indexes", &index]).await?.get("stale_because").map(ToString::to_string).unwrap_or_default())
    };
    let before = mark().await?;
    operator.post(&["catalog", "profiles"], &profile(&view, 300)).await?;
    let swapped = mark().await?;
    let mended = operator.post(&["vectors", "refresh", &view], &json!({ "index_name": index })).await?;
    let after = mark().await?;
    narrator.check(
        !before.contains("rules") && swapped.contains("rules") && after == "[]" && number(&mended, "embedded") > 0,
        format!(
            "a chunker that cuts at 300 makes the index stale; a refresh embeds {} chunks anew",
            grouped(number(&mended, "embedded"))
        ),
    );
    Ok(())
}

/// Bound to one view; its rules are those of the demo, and the chunker.
fn profile(view: &str, chunk_size: u32) -> Value {
    let mut profile = super::free_text::default_profile();
    profile["id"] = PROFILE.into();
    profile["description"] = "recruiters search what they may see".into();
    profile["bound_datasets"] = json!([view]);
    if let Some(rules) = profile["rules"].as_array_mut() {
        rules.push(json!({
            "name": "chunk", "kind": "chunker", "component": "chunk-text",
            "config": { "chunk_size": chunk_size, "overlap": 50 },
        }));
    }
    profile
}

pub(super) fn members<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn member(value: &Value, name: &str) -> String {
    value.get(name).map(plain).unwrap_or_default()
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}
