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
            let made = client.post(&["admin", "keys"], &body(&create)).await?;
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
            console.objects(&keys, &["id", "name", "role", "grants", "created_at", "last_used_at", "expires_at", "revoked_at"])
        }
        Key::Revoke { id } => {
            let answer = client.delete(&["admin", "keys", &id]).await?;
            if console.person { console.line(&format!("revoked {id}")) } else { console.write_json(&answer) }
        }
    }
}

fn body(create: &CreateKey) -> Value {
    let mut body = Map::new();
    body.insert("name".into(), json!(create.name));
    body.insert("role".into(), json!(create.role));
    body.insert("grants".into(), create.grants.iter().map(|grant| grant.0.clone()).collect());
    body.insert("profiles".into(), json!(create.profiles));
    if let Some(profile) = &create.default_profile {
        body.insert("default_profile".into(), json!(profile));
    }
    if let Some(time) = &create.expires_at {
        body.insert("expires_at".into(), json!(time));
    }
    Value::Object(body)
}
