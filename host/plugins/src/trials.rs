//! T-40 to T-47 at the level of the runtime: every attack of `plugins/evil`, and those that must not even load.
//!
//! Each attack costs its own call one clear error; the same rule works in the next call.

mod hostile;
mod lies;
mod load;
mod neighbours;

use serde_json::{Value, json};

use crate::{PluginError, Redactor, testing::Fixture};

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
