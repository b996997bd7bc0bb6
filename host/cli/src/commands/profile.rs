//! `lakehouse profile`: put, list, show, activate, delete.

use std::{io::Read, path::Path};

use serde_json::Value;

use super::index::spinner;
use crate::{args::Profile, client::Client, console::Console, failure::Failure};

pub(crate) async fn profile(console: Console, client: Client, command: Profile) -> Result<(), Failure> {
    match command {
        Profile::List => {
            let profiles = client.list(&["catalog", "profiles"], "profiles").await?;
            console.objects(&profiles, &["id", "description", "bound_datasets", "rules", "updated_at"])
        }
        Profile::Show { id } => console.object(&client.get(&["catalog", "profiles", &id]).await?),
        Profile::Put { file } => console.object(&client.post(&["catalog", "profiles"], &read(&file)?).await?),
        Profile::Activate { id } => {
            let waiting = spinner(console, &format!("activating {id}"));
            let report = client.post(&["vectors", "profile", &id, "activate"], &Value::Object(serde_json::Map::new())).await;
            waiting.finish_and_clear();
            console.object(&report?)
        }
        Profile::Delete { id } => {
            let answer = client.delete(&["catalog", "profiles", &id]).await?;
            if console.person { console.line(&format!("deleted {id}")) } else { console.write_json(&answer) }
        }
    }
}

/// A JSON file; `-` is stdin.
pub(super) fn read(file: &Path) -> Result<Value, Failure> {
    let text = if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        text
    } else {
        std::fs::read_to_string(file).map_err(|source| Failure::File { path: file.to_owned(), source })?
    };
    serde_json::from_str(&text).map_err(|error| Failure::Usage(format!("{}: no JSON: {error}", file.display())))
}
