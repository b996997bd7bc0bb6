//! `lakehouse plugin`: what components there are, and what becomes of them.

use std::io::{self, BufRead, IsTerminal};

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::upload;
use crate::{
    args::{DryRun, Plugin},
    client::Client,
    console::{Console, harmless},
    failure::{Failure, checks, plain},
};

pub(crate) async fn plugin(console: Console, client: Client, command: Plugin) -> Result<(), Failure> {
    match command {
        Plugin::List => {
            let plugins = client.list(&["plugins"], "plugins").await?;
            let page = client.json(client.request_with(Method::GET, &["plugins"], &[("limit", "1")])).await?;
            for failure in page.get("failures").and_then(Value::as_array).into_iter().flatten() {
                console.note(&not_loaded(failure));
            }
            console.objects(&plugins, &["name", "version", "state", "kinds", "version_count", "description"])
        }
        Plugin::Show { name } => console.object(&client.get(&["plugins", &name]).await?),
        Plugin::Push { file, name } => {
            let name = match name {
                Some(name) => name,
                None => file
                    .file_stem()
                    .and_then(|stem| stem.to_str())
                    .map(str::to_owned)
                    .ok_or_else(|| Failure::Usage("say --name NAME: the file's name is not the component's".into()))?,
            };
            let upload = upload::open(console, &file).await?;
            let mut request = client.request(Method::PUT, &["plugins", &name]).body(upload.body);
            request = request.header("Content-Type", "application/wasm");
            if let Some(length) = upload.length {
                request = request.header("Content-Length", length);
            }
            let answer = client.json(request).await;
            upload.bar.finish_and_clear();
            let report = answer?;
            if !console.person {
                return console.write_json(&report);
            }
            let member = |name: &str| report.get(name).map_or_else(String::new, plain);
            console.line(&format!("{} {} is {} ({})", member("name"), member("version"), member("state"), member("kinds")))?;
            for check in report.get("checks").map(checks).unwrap_or_default() {
                console.line(&format!("  {check}"))?;
            }
            Ok(())
        }
        Plugin::Rollback { name, to } => {
            let body = to.map_or_else(|| json!({}), |to| json!({ "to": to }));
            console.object(&client.post(&["plugins", &name, "rollback"], &body).await?)
        }
        Plugin::DryRun(dry_run) => console.object(&try_out(&client, dry_run, console.json).await?),
        Plugin::Enable { name } => switch(console, &client, &name, "enable").await,
        Plugin::Disable { name } => switch(console, &client, &name, "disable").await,
        Plugin::Delete { name } => {
            let answer = client.delete(&["plugins", &name]).await?;
            if console.person { console.line(&format!("deleted {name}")) } else { console.write_json(&answer) }
        }
    }
}

async fn switch(console: Console, client: &Client, name: &str, verb: &str) -> Result<(), Failure> {
    let answer = client.post(&["plugins", name, verb], &json!({})).await?;
    if console.person { console.line(&format!("{name} is {verb}d")) } else { console.write_json(&answer) }
}

/// A file of the plugin folder that was refused, and why.
fn not_loaded(failure: &Value) -> String {
    let member = |name: &str| failure.get(name).map_or_else(String::new, plain);
    let mut text = format!("not loaded from the plugin folder: {} ({}): {}", member("file"), member("at"), member("detail"));
    for check in failure.get("checks").map(checks).unwrap_or_default() {
        text.push_str("; ");
        text.push_str(&check);
    }
    harmless(&text)
}

/// A value or key: with `as_json` what the text says as JSON, where it says anything, else the text.
fn sample(text: String, as_json: bool) -> Value {
    let json = if as_json { serde_json::from_str(&text).ok() } else { None };
    json.unwrap_or(Value::String(text))
}

async fn try_out(client: &Client, command: DryRun, as_json: bool) -> Result<Value, Failure> {
    let config: Value =
        serde_json::from_str(&command.config).map_err(|error| Failure::Usage(format!("--config is not JSON: {error}")))?;
    let mut values = command.values;
    if values.is_empty() && !io::stdin().is_terminal() {
        values = io::stdin().lock().lines().collect::<Result<_, _>>()?;
    }
    if values.is_empty() {
        return Err(Failure::Usage("nothing to try: name sample values, or pipe them in".into()));
    }
    let kind = match command.kind {
        Some(kind) => kind,
        None => kind_of(client, &command.name).await?,
    };
    let input = input(&kind, values, as_json, command.doc_ids)?;
    let mut body = Map::new();
    body.insert("kind".into(), json!(kind));
    body.insert("config".into(), config);
    body.insert("input".into(), input);
    if let Some(version) = command.at {
        body.insert("version".into(), json!(version));
    }
    client.post(&["plugins", &command.name, "dry-run"], &Value::Object(body)).await
}

/// What a component is; a redactor, if it is several things.
async fn kind_of(client: &Client, plugin: &str) -> Result<String, Failure> {
    let shown = client.get(&["plugins", plugin]).await?;
    let kinds: Vec<&str> = shown.get("kinds").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let kind = kinds.iter().find(|kind| **kind == "redactor").or(kinds.first());
    Ok(kind.copied().unwrap_or("redactor").to_owned())
}

/// The sample values as the server wants them for a kind.
fn input(kind: &str, values: Vec<String>, as_json: bool, doc_ids: bool) -> Result<Value, Failure> {
    let samples = |values: Vec<String>| values.into_iter().map(|text| sample(text, as_json)).collect::<Vec<_>>();
    let parsed = |what: &str, text: &String| {
        serde_json::from_str::<Value>(text).map_err(|error| Failure::Usage(format!("{what} is a JSON object: {error}")))
    };
    Ok(match kind {
        "condition" => {
            json!({ "contexts": values.iter().map(|text| parsed("a context", text)).collect::<Result<Vec<_>, _>>()? })
        }
        "chunker" => json!({ "documents": values }),
        "id-mapper" if doc_ids => json!({ "doc_ids": values }),
        "id-mapper" => json!({ "keys": samples(values) }),
        "embedder" => json!({ "texts": values }),
        "model-adapter" => match values.as_slice() {
            [request] => json!({ "chat_request": parsed("a chat request", request)? }),
            [request, response] => {
                json!({ "chat_request": parsed("a chat request", request)?, "response": parsed("a response", response)? })
            }
            _ => return Err(Failure::Usage("a model adapter takes a chat request and perhaps a response".into())),
        },
        _ => json!({ "values": samples(values) }),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{input, not_loaded, sample};

    #[test]
    fn values_are_texts_unless_json_was_asked_for() {
        for (text, as_json, value) in [
            ("42", false, json!("42")),
            ("42", true, json!(42)),
            ("null", true, json!(null)),
            ("\"42\"", true, json!("42")),
            ("CAND-000001", true, json!("CAND-000001")),
        ] {
            assert_eq!(sample(text.into(), as_json), value, "{text} {as_json}");
        }
    }

    #[test]
    fn each_kind_gets_its_own_input() {
        let check = |kind: &str, values: &[&str], doc_ids: bool, expected: serde_json::Value| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            assert_eq!(input(kind, values, true, doc_ids).unwrap(), expected, "{kind}");
        };
        check("redactor", &["7", "a"], false, json!({ "values": [7, "a"] }));
        check("condition", &["{}"], false, json!({ "contexts": [{}] }));
        check("chunker", &["7"], false, json!({ "documents": ["7"] }));
        check("id-mapper", &["7"], false, json!({ "keys": [7] }));
        check("id-mapper", &["7"], true, json!({ "doc_ids": ["7"] }));
        check("embedder", &["7"], false, json!({ "texts": ["7"] }));
        check("model-adapter", &["{}"], false, json!({ "chat_request": {} }));
        check("model-adapter", &["{}", "{}"], false, json!({ "chat_request": {}, "response": {} }));
        for (kind, values) in [("condition", vec!["no JSON"]), ("model-adapter", vec!["{}", "{}", "{}"])] {
            assert!(input(kind, values.into_iter().map(str::to_owned).collect(), false, false).is_err(), "{kind}");
        }
    }

    #[test]
    fn a_file_that_was_refused_is_told_with_its_reason() {
        let failure = json!({"file": "bad\u{1b}.wasm", "at": "2026-01-02T03:04:05Z", "detail": "refused",
            "checks": [{"check": "component", "ok": false, "detail": "no component"}]});
        assert_eq!(
            not_loaded(&failure),
            "not loaded from the plugin folder: bad\u{fffd}.wasm (2026-01-02T03:04:05Z): refused; FAILED component: no component"
        );
    }
}
