//! What must be true of a task before it is done: rules by task class, from TOML files that are watched.
//!
//! **Invariant**: the rules in force always come from one whole, valid reading of the folder; a bad edit leaves them as they were.
//! What an evaluation says names fields and rules, never a value of the context.

mod condition;
mod error;
mod evaluation;
mod folder; // the files as bytes
mod path; // client.id
mod rule;
mod rules; // files → rules by task class
mod truth;
mod watch;

pub use condition::{Condition, Test};
pub use error::TruthError;
pub use evaluation::{Decision, Evaluation, Judgement};
pub use path::{DotPath, DotPathError};
pub use rule::{Rule, Slug, SlugError};
pub use truth::{Status, Truth};
