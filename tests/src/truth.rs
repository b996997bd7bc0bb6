//! Truth: rules from files that are watched, some of them components, each really evaluated.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::lake::Lake;

const RULES: &str = r#"
[[rule]]
id = "has-client"
task_class = "fill"
condition = { field_empty = "client.id", negate = true }
actions = ["allow"]

[[rule]]
id = "in-illinois"
task_class = "fill"
condition = { field_equals = { path = "state", value = "IL" } }
actions = ["allow"]

[[rule]]
id = "paid-enough"
task_class = "fill"
condition = { field_greater = { path = "rate", value = 15 } }
actions = ["allow"]

[[rule]]
id = "complete"
task_class = "offer"
condition = { plugin = "required-fields" }
actions = ["send", "log"]
"#;

/// Waits until a saved rule is in force.
pub(crate) async fn await_rule(lake: &Lake, task_class: &str, id: &str) {
    let began = Instant::now();
    loop {
        let rules = lake.get(&format!("/truth/rules?task_class={task_class}")).await.expect_ok();
        if rules["rules"].as_array().is_some_and(|rules| rules.iter().any(|rule| rule["id"] == id)) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(15), "the rule {id} is not in force: {rules}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn with_rules(rules: &str) -> Lake {
    let lake = Lake::start().await;
    let folder = lake.folder().join("config/truth");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("rules.toml"), rules).unwrap();
    let bound = json!([{ "name": "required-fields", "kind": "condition", "component": "condition-required-fields", "config": { "fields": ["a", "b.c"] } }]);
    lake.put_rules("default", bound).await.expect_ok();
    await_rule(&lake, "offer", "complete").await;
    lake
}

async fn judged(lake: &Lake, task_class: &str, context: Value) -> (String, Vec<(String, bool)>) {
    let answer = lake.post("/truth/evaluate", json!({ "task_class": task_class, "context": context })).await.expect_ok();
    let rules = answer["rules"].as_array().unwrap();
    let rules = rules.iter().map(|rule| (rule["id"].as_str().unwrap().to_owned(), rule["holds"].as_bool().unwrap())).collect();
    (answer["decision"].as_str().unwrap().to_owned(), rules)
}

#[tokio::test]
async fn each_rule_is_evaluated_and_one_that_fails_denies() {
    let lake = with_rules(RULES).await;
    let all = |client: bool, state: bool, rate: bool| {
        vec![("has-client".to_owned(), client), ("in-illinois".to_owned(), state), ("paid-enough".to_owned(), rate)]
    };
    for (context, decision, rules) in [
        (json!({ "client": { "id": "C" }, "state": "IL", "rate": 20 }), "allow", all(true, true, true)),
        (json!({ "client": { "id": "" }, "state": "IL", "rate": 20 }), "deny", all(false, true, true)),
        (json!({ "client": { "id": "C" }, "state": "il", "rate": "20" }), "deny", all(true, false, false)),
        (json!({}), "deny", all(false, false, false)),
    ] {
        assert_eq!(judged(&lake, "fill", context.clone()).await, (decision.to_owned(), rules), "{context}");
    }
    assert_eq!(judged(&lake, "nothing-is-said-about", json!({})).await, ("allow".to_owned(), vec![]));
}

#[tokio::test]
async fn a_component_judges_as_well_as_a_declared_condition() {
    let lake = with_rules(RULES).await;
    assert_eq!(judged(&lake, "offer", json!({ "a": 1, "b": { "c": 2 } })).await.0, "allow");
    let answer = lake.post("/truth/evaluate", json!({ "task_class": "offer", "context": { "a": "personal" } })).await.expect_ok();
    assert_eq!((&answer["decision"], &answer["rules"][0]["holds"]), (&json!("deny"), &json!(false)));
    assert!(answer["rules"][0]["why"].as_str().unwrap().contains("b.c"), "{answer}");
    assert_eq!(answer["rules"][0]["actions"], json!(["send", "log"]));
    assert!(!answer.to_string().contains("personal"), "no value of the context");

    lake.put_rules("default", json!([])).await.expect_ok();
    lake.post("/truth/evaluate", json!({ "task_class": "offer", "context": {} })).await.expect_problem("unresolved_rule");
}

#[tokio::test]
async fn a_bad_edit_leaves_the_old_rules_in_force() {
    let lake = with_rules(RULES).await;
    let file = lake.folder().join("config/truth/rules.toml");
    std::fs::write(&file, "[[rule]]\nid = \"x\"\ntask_clas = \"fill\"\n").unwrap();
    let began = Instant::now();
    while !lake.log().contains("rules.toml") {
        assert!(began.elapsed() < Duration::from_secs(30), "the log does not name the file");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(judged(&lake, "fill", json!({})).await.1.len(), 3);

    std::fs::write(&file, RULES.replace("has-client", "has-a-client")).unwrap();
    await_rule(&lake, "fill", "has-a-client").await;
    assert_eq!(judged(&lake, "fill", json!({})).await.1.len(), 3);
}
