//! `lakehouse datasets`, `describe`, `compact`, `erase`, `certificates`.

use std::io::{self, BufRead, IsTerminal};

use serde_json::{Value, json};

use super::job;
use crate::{
    args::{Compact, Describe, Erase},
    client::Client,
    console::Console,
    failure::Failure,
};

pub(crate) async fn datasets(console: Console, client: Client) -> Result<(), Failure> {
    let datasets = client.list(&["catalog", "datasets"], "datasets").await?;
    console.objects(&datasets, &["name", "bucket", "rows", "version", "files", "bytes", "tombstones", "embedding_stale_since"])
}

/// The dataset, with the indexes over it.
pub(crate) async fn describe(console: Console, client: Client, command: Describe) -> Result<(), Failure> {
    let mut dataset = client.get(&["catalog", "datasets", "by-name", &command.name]).await?;
    let indexes = client.list(&["vectors", "indexes"], "indexes").await?;
    let of_it = |index: &Value| {
        let told = ["name", "relation", "rows", "segments", "stale", "stale_because", "refreshed_at"];
        let members = told.iter().filter_map(|name| Some(((*name).to_owned(), index.get(*name)?.clone())));
        Value::Object(members.collect())
    };
    let of_it: Vec<Value> =
        indexes.iter().filter(|index| index.get("dataset").and_then(Value::as_str) == Some(&command.name)).map(of_it).collect();
    if let Some(members) = dataset.as_object_mut() {
        members.insert("indexes".to_owned(), Value::Array(of_it));
    }
    console.object(&dataset)
}

pub(crate) async fn compact(console: Console, client: Client, command: Compact) -> Result<(), Failure> {
    let report = match &command.dataset {
        Some(dataset) => job::run(console, &client, &["query", "compact"], &json!({ "dataset": dataset })).await?,
        None => job::run(console, &client, &["query", "compact", "all"], &Value::Null).await?,
    };
    match report.get("reports").and_then(Value::as_array).filter(|_| console.person) {
        Some(reports) => {
            let members = ["dataset", "version", "rows_dropped_by_tombstones", "final_rows", "files_before", "files_after"];
            console.objects(reports, &members)?;
            for failed in report.get("failed").and_then(Value::as_array).into_iter().flatten() {
                console.note(&format!("failed: {failed}"));
            }
            Ok(())
        }
        None => console.object(&report),
    }
}

pub(crate) async fn erase(console: Console, client: Client, command: Erase) -> Result<(), Failure> {
    if !command.yes && !is_agreed(console, &command)? {
        return Err(Failure::Usage("nothing was erased".into()));
    }
    // Keys are compared by their text form, so numbers may stay texts.
    let body = json!({ "dataset": command.dataset, "row_key_column": command.column, "row_key_values": command.keys });
    let certificate = job::run(console, &client, &["erasure"], &body).await?;
    console.object(&certificate)
}

pub(crate) async fn certificates(console: Console, client: Client) -> Result<(), Failure> {
    let certificates = client.list(&["erasure"], "certificates").await?;
    console.objects(&certificates, &["id", "dataset", "rows_erased", "version", "requested_by", "ended_at"])
}

/// Asks, where somebody can answer.
fn is_agreed(console: Console, command: &Erase) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage("nobody can be asked here: say --yes".into()));
    }
    console.note(&format!(
        "{} keys of `{}` go for good, with every earlier version of the dataset. Type `erase` to go on:",
        command.keys.len(),
        command.dataset
    ));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "erase")
}
