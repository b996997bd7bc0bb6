//! Judging a context by rules.
//!
//! **Invariant**: a rule that could not be asked is an error of the whole evaluation, never a pass.

use std::{fmt, future::Future};

use lakehouse_plugins::{Bindings, PluginError, Verdict};
use lakehouse_types::RuleName;
use serde::Serialize;
use serde_json::Value;

use crate::{Rule, Slug, TruthError, condition::Finding};

/// `allow` when every rule holds, also when there is none; else `deny`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Allow,
    Deny,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

/// One rule's pass or fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgement {
    pub id: Slug,
    pub holds: bool,
    /// The fact behind it. Never a value of the context.
    pub why: String,
    pub actions: Vec<String>,
}

/// What the rules of a task class say of a context, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evaluation {
    pub decision: Decision,
    pub rules: Vec<Judgement>,
}

/// Whoever can ask a component.
pub(crate) trait Components: Sync {
    fn ask(
        &self,
        rule: &RuleName,
        config: Option<&Value>,
        context: &Value,
    ) -> impl Future<Output = Result<Verdict, PluginError>> + Send;
}

impl Components for Bindings {
    async fn ask(&self, rule: &RuleName, config: Option<&Value>, context: &Value) -> Result<Verdict, PluginError> {
        let mut condition = self.condition(rule, config).await?;
        let verdict = condition.evaluate(std::slice::from_ref(context)).await?.pop();
        Ok(verdict.expect("a condition answers each context with a verdict"))
    }
}

pub(crate) async fn evaluate<'r>(
    rules: impl Iterator<Item = &'r Rule> + Send,
    context: &Value,
    components: &impl Components,
) -> Result<Evaluation, TruthError> {
    if !context.is_object() {
        return Err(TruthError::ContextShape);
    }
    let mut judgements = Vec::new();
    for rule in rules {
        let finding = match rule.condition.test.find(context) {
            Ok(finding) => finding,
            Err((name, config)) => Finding::of_plugin(name, components.ask(name, config, context).await?),
        };
        judgements.push(Judgement {
            id: rule.id.clone(),
            holds: finding.holds != rule.condition.negate,
            why: finding.why,
            actions: rule.actions.clone(),
        });
    }
    let decision = if judgements.iter().all(|judgement| judgement.holds) { Decision::Allow } else { Decision::Deny };
    Ok(Evaluation { decision, rules: judgements })
}

#[cfg(test)]
mod tests;
