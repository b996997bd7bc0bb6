use lakehouse_plugins::{PluginError, Verdict};
use lakehouse_types::{Code, Fault, RuleName};
use serde_json::{Value, json};

use super::{Components, Decision, evaluate};
use crate::{Rule, TruthError};

/// Stands in for the components: a context fails when it lacks the field that the config names.
struct Fields;

impl Components for Fields {
    async fn ask(&self, rule: &RuleName, config: Option<&Value>, context: &Value) -> Result<Verdict, PluginError> {
        if rule.as_str() != "has" {
            return Err(PluginError::Unresolved { rule: rule.clone(), why: "not bound".to_owned() });
        }
        let field = config.and_then(|config| config["field"].as_str()).unwrap_or("id");
        Ok(if context.get(field).is_some() { Verdict::Holds } else { Verdict::Fails(format!("`{field}` is missing")) })
    }
}

fn rules(conditions: &[Value]) -> Vec<Rule> {
    let rule = |(n, condition): (usize, &Value)| {
        let wire = json!({"id": format!("r{n}"), "task_class": "fill", "condition": condition, "actions": ["allow", "log"]});
        serde_json::from_value(wire).unwrap()
    };
    conditions.iter().enumerate().map(rule).collect()
}

async fn decide(conditions: &[Value], context: &Value) -> (Decision, Vec<bool>) {
    let evaluation = evaluate(rules(conditions).iter(), context, &Fields).await.unwrap();
    (evaluation.decision, evaluation.rules.iter().map(|judgement| judgement.holds).collect())
}

#[tokio::test]
async fn every_rule_must_hold_and_every_rule_is_told() {
    let (always, has) = (json!({"always": true}), json!({"plugin": "has", "config": {"field": "city"}}));
    let city = json!({"city": "Peoria"});
    assert_eq!(decide(&[], &city).await, (Decision::Allow, vec![]));
    assert_eq!(decide(&[always.clone(), has.clone()], &city).await, (Decision::Allow, vec![true, true]));
    assert_eq!(decide(&[has.clone(), always.clone(), has.clone()], &json!({})).await, (Decision::Deny, vec![false, true, false]));
}

#[tokio::test]
async fn negation_turns_the_outcome_and_keeps_the_fact() {
    let conditions = [
        json!({"plugin": "has", "negate": true}),
        json!({"field_empty": "id", "negate": true}),
        json!({"always": true, "negate": true}),
    ];
    let evaluation = evaluate(rules(&conditions).iter(), &json!({}), &Fields).await.unwrap();
    assert_eq!(
        serde_json::to_value(&evaluation).unwrap(),
        json!({"decision": "deny", "rules": [
            {"id": "r0", "holds": true, "why": "`id` is missing", "actions": ["allow", "log"]},
            {"id": "r1", "holds": false, "why": "`id` is missing", "actions": ["allow", "log"]},
            {"id": "r2", "holds": false, "why": "always holds", "actions": ["allow", "log"]},
        ]})
    );
}

#[tokio::test]
async fn a_rule_that_cannot_be_asked_is_never_a_pass() {
    for negate in [false, true] {
        let conditions = [json!({"always": true}), json!({"plugin": "unbound", "negate": negate})];
        let error = evaluate(rules(&conditions).iter(), &json!({}), &Fields).await.unwrap_err();
        assert_eq!(error.code(), Code::UnresolvedRule);
    }
}

#[tokio::test]
async fn a_context_is_an_object() {
    for context in [json!(null), json!([]), json!("x"), json!(1)] {
        let error = evaluate(rules(&[]).iter(), &context, &Fields).await.unwrap_err();
        assert!(matches!(error, TruthError::ContextShape));
    }
}
