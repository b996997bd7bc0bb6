//! `lakehouse grant`: what keys may name.

use serde_json::{Value, json};

use crate::{
    args::{Grant, GrantSpec},
    client::Client,
    console::Console,
    failure::{Failure, plain},
};

const GRANTS: [&str; 2] = ["admin", "grants"];

pub(crate) async fn grant(console: Console, client: Client, command: Grant) -> Result<(), Failure> {
    match command {
        Grant::List { of: key } => {
            let grants = list(&client, key.as_deref()).await?;
            if !console.person {
                return console.write_json(&Value::Array(grants));
            }
            tell_file(console, &client).await?;
            let rows: Vec<Value> = grants.iter().map(row).collect();
            console.objects(&rows, &["key", "grant", "verbs", "origin", "id"])
        }
        Grant::Add { of: key, grants } => {
            for GrantSpec(grant) in grants {
                let given = client.post(&GRANTS, &json!({ "key": key, "grant": grant })).await?;
                if console.person {
                    console.line(&format!("{key} may {}", words(&grant)))?;
                } else {
                    console.write_json(&given)?;
                }
            }
            Ok(())
        }
        Grant::Remove { of, grants } if grants.is_empty() => {
            if !of.contains('.') {
                return Err(Failure::Usage(format!(
                    "{of:?} is no grant's id: name the grant too, as in `grant remove {of} view:NAME`, or an id of `grant list`"
                )));
            }
            remove(console, &client, &of).await
        }
        Grant::Remove { of, grants } => {
            let present = list(&client, Some(&of)).await?;
            let ids = grants.iter().map(|grant| id_of(&present, grant, &of)).collect::<Result<Vec<_>, _>>()?;
            for id in ids {
                remove(console, &client, &id).await?;
            }
            Ok(())
        }
    }
}

async fn list(client: &Client, key: Option<&str>) -> Result<Vec<Value>, Failure> {
    let query: Vec<(&str, &str)> = key.iter().map(|key| ("key", *key)).collect();
    client.list_with(&GRANTS, &query, "grants").await
}

/// A person is told when the access file as it stands is not in force.
async fn tell_file(console: Console, client: &Client) -> Result<(), Failure> {
    let page = client.json(client.request_with(reqwest::Method::GET, &GRANTS, &[("limit", "1")])).await?;
    if let Some(error) = page["file"].get("error") {
        console.note(&format!("The access file is not in force as it stands, its earlier grants are: {}", plain(error)));
    }
    if let Some(unknown) = page["file"].get("unknown_keys") {
        console.note(&format!("The access file names keys that do not exist: {}", plain(unknown)));
    }
    Ok(())
}

async fn remove(console: Console, client: &Client, id: &str) -> Result<(), Failure> {
    let answer = client.delete(&["admin", "grants", id]).await?;
    if console.person { console.line(&format!("removed {id}")) } else { console.write_json(&answer) }
}

/// The id of the key's grant that says just this; its own, where the access file says it too.
fn id_of(present: &[Value], GrantSpec(wanted): &GrantSpec, key: &str) -> Result<String, Failure> {
    let mut same: Vec<&Value> = present.iter().filter(|given| given["grant"] == *wanted).collect();
    same.sort_by_key(|given| given["origin"] != "key");
    match same.first() {
        Some(given) => Ok(plain(&given["id"])),
        None => Err(Failure::Usage(format!(
            "key {key:?} has no grant to {}; `lakehouse grant list --of {key}` shows those that it has",
            words(wanted)
        ))),
    }
}

/// `read, write dataset:people`.
fn words(grant: &Value) -> String {
    format!("{} {}", plain(&grant["verbs"]), target(grant))
}

/// `dataset:people`.
fn target(grant: &Value) -> String {
    let mut members = grant.as_object().into_iter().flatten();
    let (kind, name) = members.find(|(kind, _)| *kind != "verbs").unzip();
    format!("{}:{}", kind.map_or("", String::as_str), name.map_or_else(String::new, plain))
}

fn row(given: &Value) -> Value {
    let origin = match given.get("group") {
        Some(group) => format!("{} ({})", plain(&given["origin"]), plain(group)),
        None => plain(&given["origin"]),
    };
    json!({
        "key": given["key_name"], "grant": target(&given["grant"]), "verbs": given["grant"]["verbs"], "origin": origin,
        "id": given["id"],
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{id_of, row, words};

    #[test]
    fn a_grant_is_told_and_found_as_it_is_typed() {
        let grant = json!({"dataset": "people", "verbs": ["read", "write"]});
        assert_eq!(words(&grant), "read, write dataset:people");
        let given =
            |id: &str, origin: &str| json!({"id": id, "key_name": "ada", "grant": grant, "origin": origin, "group": "all"});
        let shown = row(&given("k.1", "file"));
        assert_eq!((&shown["grant"], &shown["origin"]), (&json!("dataset:people"), &json!("file (all)")));

        let present = [given("k.1", "file"), given("k.2", "key")];
        assert_eq!(id_of(&present, &"dataset:people:read,write".parse().unwrap(), "ada").unwrap(), "k.2");
        let told = id_of(&present, &"dataset:people".parse().unwrap(), "ada").unwrap_err().to_string();
        assert!(told.contains("grant list --of ada"), "{told}");
    }
}
