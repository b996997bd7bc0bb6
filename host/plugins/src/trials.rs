//! T-40 to T-47 at the level of the runtime: every attack of `plugins/evil`, and those that must not even load.
//!
//! Each attack costs its own call one clear error; the same rule works in the next call.

mod chunkers;
mod embedders;
mod hostile;
mod id_mappers;
mod lies;
mod load;
mod model_adapters;
mod neighbours;

use std::time::Duration;

use lakehouse_types::{Code, Fault};
use serde_json::{Value, json};

use crate::{Lie, PluginError, Redactor, testing::Fixture};

/// For a machine that is busy with other things. That the deadline ended the call, and not its end, is asserted beside it.
const MARGIN: Duration = Duration::from_secs(2);
/// Of the rules that loop.
const DEADLINE: Duration = Duration::from_millis(200);

fn quick(binding: &mut lakehouse_catalog::RuleBinding) {
    binding.limits.deadline_ms = 200;
}

fn is_timeout(error: &PluginError) -> bool {
    matches!(error, PluginError::DeadlineExceeded { deadline: DEADLINE, .. }) && error.code() == Code::PluginTimeout
}

/// The lie that an error names; nothing that the component has seen stands in it.
fn lie_of(error: PluginError) -> Lie {
    assert_eq!(error.code(), Code::PluginFailed, "{error}");
    let told = format!("{error} {error:?} {} {:?}", error.public(), error.members());
    assert!(!told.contains("BOOM") && !told.contains("secret-4711"), "{told}");
    match error {
        PluginError::Lied { lie, .. } => lie,
        other => panic!("{other}"),
    }
}

/// The configuration of an attack that starts when a value says `BOOM`.
fn attack(attack: &str) -> Value {
    json!({ "attack": attack, "trigger": "BOOM" })
}

async fn evil(fixture: &Fixture, name: &str) -> Redactor {
    fixture.redactor("evil", attack(name)).await.unwrap()
}

/// Calls with the trigger, expects an error, and that the next call works.
async fn strike(redactor: &mut Redactor) -> PluginError {
    use crate::testing::{read, texts};
    let error = redactor.redact(&texts(&[Some("secret-4711"), Some("BOOM"), None])).await.expect_err("it got away with it");
    let calm = redactor.redact(&texts(&[Some("calm"), None])).await.expect("the next call works");
    assert_eq!(read(&calm), [Some("[evil]".to_owned()), None]);
    error
}
