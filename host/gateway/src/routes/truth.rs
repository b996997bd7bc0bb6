//! Truth: what must hold before something is done.

use axum::extract::State;
use lakehouse_engine::{Action, TruthRules};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::{
    answer::{Answer, Outcome},
    app::App,
    request::{Json, Params, Who},
    route::{Access, Route},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(__path_evaluate, evaluate, Access::May(Action::EvaluateTruth)),
        Route::new(__path_list_rules, list_rules, Access::May(Action::EvaluateTruth)),
    ]
}

/// What to judge.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EvaluateBody {
    /// The kind of task, for example `fill`.
    task_class: String,
    /// The task, as a JSON object.
    #[schema(value_type = Object)]
    context: Map<String, Value>,
}

/// One rule's judgement.
#[derive(Debug, Serialize, ToSchema)]
struct JudgementBody {
    id: String,
    holds: bool,
    /// Why it does not hold, or what held.
    why: String,
    actions: Vec<String>,
}

/// The judgement of all rules of the task class.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Evaluation)]
struct EvaluationBody {
    /// `allow` when every rule holds (also when there is none), else `deny`.
    decision: String,
    rules: Vec<JudgementBody>,
}

/// Evaluates the rules of a task class against a context.
#[utoipa::path(post, path = "/truth/evaluate", tag = "truth", request_body = EvaluateBody,
    responses((status = 200, description = "Each rule's pass or fail.", body = EvaluationBody)))]
async fn evaluate(State(app): State<App>, Who(caller): Who, Json(body): Json<EvaluateBody>) -> Outcome<EvaluationBody> {
    let evaluation = app.engine.evaluate_truth(&caller, &body.task_class, Value::Object(body.context)).await?;
    Ok(Answer::ok(EvaluationBody {
        decision: evaluation.decision.to_string(),
        rules: evaluation
            .rules
            .into_iter()
            .map(|rule| JudgementBody { id: rule.id.to_string(), holds: rule.holds, why: rule.why, actions: rule.actions })
            .collect(),
    }))
}

/// Which rules to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RulesParams {
    /// Only this task class.
    task_class: Option<String>,
}

/// A rule as its file states it, to those who manage rules; to others without its condition.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TruthRule)]
struct RuleBody {
    id: String,
    task_class: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Value>,
    actions: Vec<String>,
}

/// The rules in force.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TruthRules)]
struct RulesBody {
    rules: Vec<RuleBody>,
    /// Why the files as they stand are not in force, and which file; shown to admins and operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    reload_error: Option<String>,
}

/// Lists the rules in force and their actions; to admins and operators also their conditions and the last failed reload.
#[utoipa::path(get, path = "/truth/rules", tag = "truth", params(RulesParams),
    responses((status = 200, description = "The rules.", body = RulesBody)))]
async fn list_rules(State(app): State<App>, Who(caller): Who, Params(params): Params<RulesParams>) -> Outcome<RulesBody> {
    let TruthRules { rules, reload_error } = app.engine.truth_rules(&caller, params.task_class.as_deref()).await?;
    Ok(Answer::ok(RulesBody {
        rules: rules
            .into_iter()
            .map(|rule| RuleBody {
                id: rule.id.to_string(),
                task_class: rule.task_class.to_string(),
                condition: rule.condition.map(|condition| serde_json::to_value(condition).unwrap_or_default()),
                actions: rule.actions,
            })
            .collect(),
        reload_error,
    }))
}
