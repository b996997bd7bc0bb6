//! `lakehouse view`: put, try, list, show, versions, delete.

use reqwest::Method;
use serde_json::Value;

use super::profile::read;
use crate::{
    args::{ValidateView, View},
    client::Client,
    console::Console,
    failure::Failure,
};

pub(crate) async fn view(console: Console, client: Client, command: View) -> Result<(), Failure> {
    const COLUMNS: &[&str] = &["name", "version", "base_dataset", "columns", "column_redactions", "updated_at"];
    match command {
        View::List => console.objects(&client.list(&["catalog", "views"], "views").await?, COLUMNS),
        View::Show { name } => console.object(&client.get(&["catalog", "views", &name]).await?),
        View::Put { file, if_version } => {
            let body = read(&file)?;
            let mut request = client.request(Method::POST, &["catalog", "views"]).json(&body);
            if let Some(version) = if_version {
                request = request.header("If-Match", version.to_string());
            }
            console.object(&client.json(request).await?)
        }
        View::Validate(what) => validate(console, client, what).await,
        View::Versions { name } => {
            let answer = client.get(&["catalog", "views", &name, "versions"]).await?;
            let versions = answer["versions"].as_array().cloned().unwrap_or_default();
            console.objects(&versions, &["version", "base_dataset", "columns", "row_filter", "updated_at", "updated_by"])
        }
        View::Delete { name } => {
            let answer = client.delete(&["catalog", "views", &name]).await?;
            if console.person { console.line(&format!("deleted {name}")) } else { console.write_json(&answer) }
        }
    }
}

async fn validate(console: Console, client: Client, what: ValidateView) -> Result<(), Failure> {
    let mut body = read(&what.file)?;
    let Some(members) = body.as_object_mut() else {
        return Err(Failure::Usage(format!("{}: a definition is a JSON object", what.file.display())));
    };
    if let Some(rows) = &what.rows {
        let rows: Value = serde_json::from_str(rows).map_err(|error| Failure::Usage(format!("--rows: no JSON: {error}")))?;
        members.insert("sample_rows".to_owned(), rows);
    }
    if let Some(limit) = what.limit {
        members.insert("limit".to_owned(), limit.into());
    }
    console.object(&client.post(&["catalog", "views", "validate"], &body).await?)
}
