//! Rules about what must be true, read from a file that is watched; one of them is a component.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Stage;
use crate::{
    demo::narrator::Narrator,
    failure::{Failure, plain},
};

const RULES: &str = r#"[[rule]]
id = "fill-has-client"
task_class = "fill"
condition = { field_empty = "client.id", negate = true }
actions = ["allow"]

[[rule]]
id = "fill-is-complete"
task_class = "fill"
condition = { plugin = "required-fields" }
actions = ["allow"]
"#;
/// How long a saved file may take to be in force.
const RELOAD_LIMIT: Duration = Duration::from_secs(10);

pub(in crate::demo) async fn truth(narrator: &mut Narrator, stage: &Stage) -> Result<(), Failure> {
    narrator.begin("truth: a rule that passes, a rule that fails");
    let dir = stage.lake.data().join("truth");
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join("fill.toml"), RULES)?;
    let saved = Instant::now();
    let loaded = loop {
        let rules = stage
            .admin
            .json(stage.admin.request_with(reqwest::Method::GET, &["truth", "rules"], &[("task_class", "fill")]))
            .await?;
        if rules.to_string().contains("fill-is-complete") {
            break true;
        }
        if saved.elapsed() > RELOAD_LIMIT {
            break false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    narrator
        .check(loaded, format!("a rule file saved while the server runs is in force after {} ms", saved.elapsed().as_millis()));

    let whole =
        json!({ "client": { "id": "CLI-17" }, "role": "forklift operator", "city": "Peoria", "start_date": "2026-07-01" });
    let poor = json!({ "client": { "id": "CLI-17" }, "role": "forklift operator", "city": "" });
    for (context, decision, holds) in [(whole, "allow", true), (poor, "deny", false)] {
        let answer = stage.admin.post(&["truth", "evaluate"], &json!({ "task_class": "fill", "context": context })).await?;
        let said = answer.get("decision").map(plain).unwrap_or_default();
        let rule = answer
            .get("rules")
            .and_then(Value::as_array)
            .and_then(|rules| rules.iter().find(|rule| rule.get("id").and_then(Value::as_str) == Some("fill-is-complete")));
        let held = rule.and_then(|rule| rule.get("holds")).and_then(Value::as_bool);
        let why = rule.and_then(|rule| rule.get("why")).map(plain).unwrap_or_default();
        let told = if why.is_empty() { String::new() } else { format!(": {why}") };
        narrator.check(
            said == decision && held == Some(holds),
            format!("{} → {said}{told}", if holds { "a complete order" } else { "one without city and start date" }),
        );
    }
    narrator.end();
    Ok(())
}
