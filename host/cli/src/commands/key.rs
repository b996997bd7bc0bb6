//! `lakehouse key`: create, list, revoke.

use serde_json::{Map, Value, json};

use crate::{
    args::{CreateKey, Key},
    client::Client,
    console::Console,
    failure::{Failure, plain},
};

pub(crate) async fn key(console: Console, client: Client, command: Key) -> Result<(), Failure> {
    match command {
        Key::Create(create) => {
            let made = client.post(&["admin", "keys"], &body(&create)?).await?;
            if !console.person {
                return console.write_json(&made);
            }
            console.line(&format!("id   {}", made.get("id").map_or_else(String::new, plain)))?;
            console.line(&format!("key  {}", made.get("key").map_or_else(String::new, plain)))?;
            console.note("Keep the key: it is shown this once. Use it as LAKEHOUSE_KEY or Authorization: Bearer.");
            Ok(())
        }
        Key::List => {
            let keys = client.list(&["admin", "keys"], "keys").await?;
            console.objects(&keys, &["id", "name", "role", "grants", "created_at", "expires_at", "revoked_at"])
        }
        Key::Revoke { id } => {
            let answer = client.delete(&["admin", "keys", &id]).await?;
            if console.person { console.line(&format!("revoked {id}")) } else { console.write_json(&answer) }
        }
    }
}

fn body(create: &CreateKey) -> Result<Value, Failure> {
    let mut body = Map::new();
    body.insert("name".into(), json!(create.name));
    body.insert("role".into(), json!(create.role));
    let grants = create.grants.iter().map(|grant| parse_grant(grant)).collect::<Result<Vec<_>, _>>()?;
    body.insert("grants".into(), Value::Array(grants));
    body.insert("profiles".into(), json!(create.profiles));
    if let Some(profile) = &create.default_profile {
        body.insert("default_profile".into(), json!(profile));
    }
    if let Some(time) = &create.expires_at {
        body.insert("expires_at".into(), json!(time));
    }
    Ok(Value::Object(body))
}

/// `view:candidates_safe` or `dataset:*:read,write`.
fn parse_grant(text: &str) -> Result<Value, Failure> {
    let mut parts = text.splitn(3, ':');
    let (target, name, verbs) = (parts.next().unwrap_or_default(), parts.next(), parts.next().unwrap_or("read"));
    let (Some(name), true) = (name, matches!(target, "dataset" | "view" | "index" | "profile" | "source")) else {
        return Err(Failure::Usage(format!("{text:?} is no grant: write dataset|view|index|profile|source:NAME[:read,write]")));
    };
    let verbs: Vec<&str> = verbs.split(',').map(str::trim).collect();
    Ok(json!({ target: name, "verbs": verbs }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::parse_grant;

    #[test]
    fn a_grant_reads_by_default() {
        assert_eq!(parse_grant("view:candidates_safe").unwrap(), json!({"view": "candidates_safe", "verbs": ["read"]}));
        assert_eq!(parse_grant("dataset:*:read,write").unwrap(), json!({"dataset": "*", "verbs": ["read", "write"]}));
        assert!(parse_grant("candidates").is_err());
        assert!(parse_grant("bucket:x").is_err());
    }
}
