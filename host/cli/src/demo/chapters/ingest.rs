//! Rows come in: made-up candidates, or a file of one's own.

use std::{path::Path, time::Instant};

use bytes::Bytes;
use reqwest::Method;
use serde_json::Value;

use super::Stage;
use crate::{
    commands::{dataset_name, format_of, open_upload},
    console::table,
    demo::{grouped, narrator::Narrator, own, spoken, subject::Subject},
    failure::{Failure, plain},
    generate::{Candidate, Candidates, Tally},
};

/// Chapters 2 to 4 on candidates: make them, ingest them, ask about them.
pub(in crate::demo) async fn candidates(narrator: &mut Narrator, stage: &Stage, rows: u64) -> Result<Subject, Failure> {
    if rows < 100 {
        return Err(Failure::Usage("--rows: the story needs at least 100 candidates".into()));
    }
    narrator.begin(&format!("generate {} staffing candidates", grouped(rows)));
    let candidates = Candidates { rows };
    let (chunks, tally) =
        tokio::task::spawn_blocking(move || (candidates.csv_chunks().collect::<Vec<Bytes>>(), candidates.tally()))
            .await
            .map_err(|error| Failure::Start(error.to_string()))?;
    let bytes: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
    narrator.show(format!("{} columns: {}", Candidate::COLUMNS.len(), Candidate::COLUMNS.join(", ")));
    let first = Candidate::number(1);
    narrator.show(format!("{}  {} {}, {}: {}", first.id(), first.first_name, first.last_name, first.vertical, first.resume_text));
    narrator.check(tally.rows == rows, format!("{:.1} MB of CSV, the same at every run", bytes as f64 / 1e6));
    narrator.end();

    narrator.begin("ingest the CSV");
    let subject = Subject::candidates();
    let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>)));
    let report = ingest(narrator, stage, &subject.dataset, Some("csv"), Some(&subject.id), body).await?;
    check_report(narrator, stage, &subject.dataset, &report, Some((rows, Candidate::COLUMNS.len()))).await?;
    narrator.end();

    narrator.begin("ask in SQL");
    aggregates(narrator, stage, &subject, &tally).await?;
    narrator.end();
    Ok(subject)
}

async fn aggregates(narrator: &mut Narrator, stage: &Stage, subject: &Subject, tally: &Tally) -> Result<(), Failure> {
    let began = Instant::now();
    let rows = stage
        .admin
        .rows(&format!(
            "SELECT vertical, count(*) AS candidates, round(avg(hourly_rate), 2) AS avg_rate, max(years_experience) AS most_years FROM {} \
             GROUP BY vertical ORDER BY vertical",
            subject.dataset
        ))
        .await?;
    let took = began.elapsed();
    let columns = ["vertical", "candidates", "avg_rate", "most_years"];
    narrator.show(table(&columns, rows.iter().map(|row| columns.iter().map(|name| row.get(*name).unwrap_or(&Value::Null)))));
    let right = rows.len() == tally.by_vertical.len()
        && rows.iter().zip(&tally.by_vertical).all(|(row, (vertical, (count, cents)))| {
            let average = *cents as f64 / *count as f64 / 100.0;
            let said = row.get("avg_rate").map(plain).and_then(|text| text.parse::<f64>().ok());
            row.get("vertical").and_then(Value::as_str) == Some(vertical)
                && row.get("candidates").and_then(Value::as_u64) == Some(*count)
                && said.is_some_and(|said| (said - average).abs() < 0.006)
        });
    narrator.check(right, "every group is what the generator counted itself");
    for (status, count) in tally.by_status.iter().filter(|(status, _)| **status == "placed") {
        let sql = format!("SELECT count(*) AS n FROM {} WHERE status = '{status}' AND available_from IS NULL", subject.dataset);
        let found = stage.admin.number(&sql).await?;
        narrator.check(
            found == *count,
            format!("{} are {status}, and for each of them the date is absent, not empty", grouped(*count)),
        );
    }
    narrator.figure("aggregate over all rows", spoken(took));
    Ok(())
}

/// Chapters 2 to 4 on a file: ingest it, look at it, choose what to hide.
pub(in crate::demo) async fn your_rows(
    narrator: &mut Narrator,
    stage: &Stage,
    file: &Path,
    id: &str,
    text: Option<&str>,
) -> Result<Subject, Failure> {
    narrator.begin("look at your file");
    let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let upload = open_upload(narrator.console(), file).await?;
    narrator.show(format!(
        "{name}, {}",
        upload.length.map_or_else(|| "a stream".into(), |length| format!("{} bytes", grouped(length)))
    ));
    narrator.check(upload.length != Some(0), "it is there and not empty");
    narrator.end();

    narrator.begin("ingest it");
    let dataset = dataset_name(file).unwrap_or_else(|| "your_rows".into());
    // Which column is meant is found among those that came in; the first tombstone makes it the row key.
    let report = ingest(narrator, stage, &dataset, format_of(file).as_deref(), None, upload.body).await?;
    check_report(narrator, stage, &dataset, &report, None).await?;
    narrator.end();

    narrator.begin("ask in SQL, and choose what a reader may see");
    let subject = own::choose(&stage.admin, &dataset, id, text, &report).await?;
    for line in own::describe(&subject) {
        narrator.show(line);
    }
    let rows = report.get("rows").and_then(Value::as_u64).unwrap_or(0);
    let counted = stage.admin.count(&dataset).await?;
    narrator.check(counted == rows, format!("SELECT count(*) finds the {} rows that came in", grouped(rows)));
    narrator.end();
    Ok(subject)
}

async fn ingest(
    narrator: &mut Narrator,
    stage: &Stage,
    dataset: &str,
    format: Option<&str>,
    id: Option<&str>,
    body: reqwest::Body,
) -> Result<Value, Failure> {
    let mut query = vec![("dataset", dataset)];
    query.extend(id.map(|id| ("key", id)));
    query.extend(format.map(|format| ("format", format)));
    let began = Instant::now();
    let report = stage.admin.json(stage.admin.request_with(Method::POST, &["ingest", "file"], &query).body(body)).await?;
    narrator.figure("ingest", spoken(began.elapsed()));
    Ok(report)
}

/// `expected` are the rows and columns, where they are known.
async fn check_report(
    narrator: &mut Narrator,
    stage: &Stage,
    dataset: &str,
    report: &Value,
    expected: Option<(u64, usize)>,
) -> Result<(), Failure> {
    let said = report.get("rows").and_then(Value::as_u64);
    narrator.check(
        said.is_some_and(|said| expected.map_or(said > 0, |(rows, _)| said == rows)),
        format!("{} rows are in, durable, and visible to the next query", grouped(said.unwrap_or(0))),
    );
    let typed = report.get("columns").and_then(Value::as_array).cloned().unwrap_or_default();
    let types: Vec<String> = typed
        .iter()
        .map(|column| {
            format!("{} {}", column.get("name").map(plain).unwrap_or_default(), column.get("type").map(plain).unwrap_or_default())
        })
        .collect();
    let listed = stage.admin.get(&["catalog", "datasets", "by-name", dataset]).await?;
    let is_listed = !typed.is_empty() && listed.get("columns").and_then(Value::as_array) == Some(&typed);
    narrator.check(
        is_listed && expected.is_none_or(|(_, columns)| typed.len() == columns),
        format!("{} columns, their types inferred, and the catalog has the same", typed.len()),
    );
    narrator.show(wrapped(&types.join(", ")));
    narrator.check(stage.admin.events().await? == 1, "the journal grew by exactly one event");
    Ok(())
}

/// Breaks a long list at its commas.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for part in text.split_inclusive(", ") {
        if lines.last().is_some_and(|line| line.len() + part.len() > 92) {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(part);
        }
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}
