//! Contact data inside free text, found by a component that is bound as a rule.

use serde_json::{Value, json};

use super::Stage;
use crate::{
    demo::{ask::quoted, grouped, narrator::Narrator, subject::Subject},
    failure::Failure,
};

/// What an address and a telephone number look like: the checks' own idea of it, not the component's.
const ADDRESS: &str = "[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+[.][A-Za-z]{2,}";
const TELEPHONE: &str = "[(]?[0-9]{3}[)]?[ .-][0-9]{3}[.-][0-9]{4}";

/// The rules of the profile that everybody asks under.
pub(super) fn default_profile() -> Value {
    json!({
        "id": "default",
        "description": "the demo's rules",
        "rules": [
            { "name": "pii", "kind": "redactor", "component": "redact-pii", "config": {} },
            {
                "name": "required-fields",
                "kind": "condition",
                "component": "condition-required-fields",
                "config": { "fields": ["role", "city", "start_date"] },
            },
        ],
    })
}

pub(in crate::demo) async fn free_text(narrator: &mut Narrator, stage: &Stage, subject: &Subject) -> Result<(), Failure> {
    narrator.begin("redact-pii: contact data inside free text");
    stage.admin.post(&["catalog", "profiles"], &default_profile()).await?;
    let Some(prose) = &subject.prose else {
        let tried = stage
            .admin
            .post(
                &["plugins", "redact-pii", "dry-run"],
                &json!({ "kind": "redactor", "config": {}, "input": { "values": ["write to ana@example.com"] } }),
            )
            .await?;
        narrator.show("your file has no column of text; a dry run instead:");
        narrator.show(tried.get("outputs").unwrap_or(&tried).to_string());
        narrator.check(!tried.to_string().contains("ana@example.com"), "the address is gone from the sample");
        narrator.end();
        return Ok(());
    };
    let view = subject.prose_view();
    let columns = if *prose == subject.id { vec![prose.clone()] } else { vec![subject.id.clone(), prose.clone()] };
    let mut redactions = serde_json::Map::new();
    redactions.insert(subject.id.clone(), subject.mask());
    redactions.insert(prose.clone(), json!({ "plugin": { "rule": "pii" } }));
    let definition =
        json!({ "name": view, "base_dataset": subject.dataset, "columns": columns, "column_redactions": redactions });
    stage.admin.post(&["catalog", "views"], &definition).await?;
    narrator.show(format!("{prose} through the rule `pii`, which the profile binds to redact-pii"));

    let (column, base, view) = (quoted(prose), quoted(&subject.dataset), quoted(&view));
    let sample = format!("SELECT {column} AS t FROM {view} ORDER BY length({column}) DESC LIMIT 1");
    let reader = stage.reader()?;
    for row in reader.rows(&sample).await? {
        let text: String = row.get("t").and_then(Value::as_str).unwrap_or_default().chars().take(280).collect();
        narrator.show(format!("\"{text}\""));
    }
    for (what, pattern) in [("e-mail addresses", ADDRESS), ("telephone numbers", TELEPHONE)] {
        let with = |relation: &str| format!("SELECT count(*) AS n FROM {relation} WHERE regexp_like({column}, '{pattern}')");
        let before = stage.admin.number(&with(&base)).await?;
        let after = reader.number(&with(&view)).await?;
        let told = format!("rows with {what}: {} in the table, {} in the view", grouped(before), grouped(after));
        narrator.check(is_redacted(subject.own, before, after), told);
        if after > 0 {
            narrator.show(format!(
                "  {} look like {what} to this check; the component, which reads the words around, kept them",
                grouped(after)
            ));
        }
    }
    narrator.end();
    Ok(())
}

/// Of made-up rows all are known. In others digits can look like a number to call and be none: the component decides by the words
/// around them.
fn is_redacted(own: bool, before: u64, after: u64) -> bool {
    if own { after <= before } else { after == 0 && before > 0 }
}

#[cfg(test)]
mod tests {
    use super::is_redacted;

    #[test]
    fn what_the_component_keeps_fails_made_up_rows_only() {
        assert!(is_redacted(true, 5, 2) && is_redacted(true, 5, 5) && !is_redacted(true, 2, 3));
        assert!(is_redacted(false, 5, 0) && !is_redacted(false, 5, 1) && !is_redacted(false, 0, 0));
    }
}
