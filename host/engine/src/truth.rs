//! Truth: judge a task by the rules of its class.

use lakehouse_access::{Action, Caller};
use lakehouse_plugins::Bindings;
use lakehouse_truth::{Condition, Evaluation, Rule, Slug};
use serde_json::Value;

use crate::{Engine, EngineError};

/// A rule as the caller may see it.
#[derive(Debug, Clone)]
pub struct TruthRule {
    pub id: Slug,
    pub task_class: Slug,
    /// For those who manage rules.
    pub condition: Option<Condition>,
    pub actions: Vec<String>,
}

/// The rules in force.
#[derive(Debug)]
pub struct TruthRules {
    pub rules: Vec<TruthRule>,
    /// Why the folder as it stands is not in force, with the file; for those who manage rules.
    pub reload_error: Option<String>,
}

impl Engine {
    /// Evaluates the rules of a task class against a context, conditions of components as the caller's profile binds them.
    ///
    /// # Errors
    /// When the caller may not, or a condition fails to answer.
    pub async fn evaluate_truth(&self, caller: &Caller, task_class: &str, context: Value) -> Result<Evaluation, EngineError> {
        self.require(caller, Action::EvaluateTruth).await?;
        let rules = self.catalog.snapshot().profile(&caller.profile)?.effective_rules();
        let bindings = Bindings::new(self.registry.snapshot(), rules);
        let (truth, task_class) = (self.truth.clone(), task_class.to_owned());
        Ok(self.cpu.run(async move { truth.evaluate(&task_class, &context, &bindings).await }).await??)
    }

    /// The rules in force, of one task class or of all. Conditions, and why the last edit did not come into force, are for those
    /// who manage rules.
    ///
    /// # Errors
    /// When the caller may not evaluate them.
    pub async fn truth_rules(&self, caller: &Caller, task_class: Option<&str>) -> Result<TruthRules, EngineError> {
        self.require(caller, Action::EvaluateTruth).await?;
        let manages = caller.principal.may(Action::ManageTruth);
        let shown = |rule: Rule| TruthRule {
            id: rule.id,
            task_class: rule.task_class,
            condition: manages.then_some(rule.condition),
            actions: rule.actions,
        };
        let rules = self.truth.rules(task_class).into_iter().map(shown).collect();
        Ok(TruthRules { rules, reload_error: self.truth.status().error.filter(|_| manages) })
    }
}
