//! `lakehouse ingest --from`: has the server read a database.

use std::{
    io::{self, Read},
    path::Path,
};

use reqwest::Method;
use serde_json::{Value, json};

use super::ingest::{dataset_name, told};
use crate::{
    args::{Ingest, IngestMode},
    client::Client,
    console::Console,
    failure::Failure,
};

pub(super) async fn ingest_source(console: Console, client: &Client, command: &Ingest, source: &str) -> Result<(), Failure> {
    let mut request = client.request_with(Method::POST, &["ingest", "db"], &[]).json(&body(command, source)?);
    if let Some(bucket) = &command.bucket {
        request = request.header("X-Lakehouse-Bucket", bucket);
    }
    if let Some(key) = &command.idempotency_key {
        request = request.header("Idempotency-Key", key);
    }
    let report = client.json(request).await?;
    if console.person { console.line(&told(&report)) } else { console.write_json(&report) }
}

fn body(command: &Ingest, source: &str) -> Result<Value, Failure> {
    let named = command.dataset.clone().or_else(|| command.table.as_deref().and_then(dataset_of));
    let dataset = named.ok_or_else(|| Failure::Usage("say --dataset NAME".to_owned()))?;
    let mode = if command.mode == IngestMode::Replace { "replace" } else { "append" };
    let mut body = json!({ "dataset": dataset, "source": source, "mode": mode });
    if let Some(table) = &command.table {
        body["table"] = table.as_str().into();
    }
    if let Some(query) = &command.query {
        body["query"] = match query.as_str() {
            "-" => {
                let mut text = String::new();
                io::stdin().lock().read_to_string(&mut text)?;
                text.into()
            }
            query => query.into(),
        };
    }
    if let Some(key) = &command.row_key {
        body["key"] = key.as_str().into();
    }
    Ok(body)
}

/// `public.Customers` is named `customers`.
fn dataset_of(table: &str) -> Option<String> {
    dataset_name(Path::new(table.rsplit('.').next()?.trim_matches('"')))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::body;
    use crate::args::{Arguments, Command};

    fn parsed(line: &[&str]) -> Option<serde_json::Value> {
        let line = ["lakehouse", "ingest"].iter().chain(line);
        let Command::Ingest(command) = Arguments::try_parse_from(line).ok()?.command else { panic!("an ingest") };
        body(&command, command.from.as_deref()?).ok()
    }

    #[test]
    fn a_table_or_a_query_of_a_source_is_asked_for() {
        assert_eq!(
            parsed(&["--from", "crm", "--table", "public.Customers", "--row-key", "id"]),
            Some(json!({"dataset": "customers", "source": "crm", "mode": "append", "table": "public.Customers", "key": "id"}))
        );
        assert_eq!(
            parsed(&["--from", "crm", "--query", "SELECT 1", "--dataset", "one", "--mode", "replace"]),
            Some(json!({"dataset": "one", "source": "crm", "mode": "replace", "query": "SELECT 1"}))
        );
        for line in [
            &["--from", "crm"][..],
            &["--from", "crm", "--query", "SELECT 1"],
            &["--from", "crm", "--table", "a", "--query", "SELECT 1", "--dataset", "d"],
            &["--from", "crm", "--table", "a", "file.csv"],
            &["--table", "a"],
            &["--table", "a", "file.csv"],
            &["--from", "crm", "--table", "a", "--format", "csv"],
            &[],
        ] {
            assert_eq!(parsed(line), None, "{line:?}");
        }
    }
}
