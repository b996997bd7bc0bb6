//! The rules in force, behind an atomic pointer.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use lakehouse_plugins::Bindings;
use serde::Serialize;
use serde_json::Value;

use crate::{
    Evaluation, Rule, TruthError,
    evaluation::evaluate,
    folder::Folder,
    rules::Rules,
    watch::{Reading, Watch},
};

/// Rules of a folder. Cheap to clone: clones share one state.
#[derive(Clone)]
pub struct Truth {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    dir: PathBuf,
    rules: ArcSwap<Rules>,
    state: Mutex<State>,
}

struct State {
    status: Status,
    /// What the last attempt was made of, accepted or not.
    handled: Reading,
}

/// How the folder stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Rules in force.
    pub rules: usize,
    /// Files they come from.
    pub files: usize,
    /// Grows by one with each reading that came into force.
    pub revision: u64,
    /// Why the files as they stand are not in force; absent when they are.
    pub error: Option<String>,
}

impl Truth {
    /// Reads the folder. One that does not exist holds no rules, until it does.
    ///
    /// # Errors
    /// When a file cannot be read or is no list of rules: a host that starts has no earlier rules to fall back to.
    pub async fn open(dir: impl Into<PathBuf>) -> Result<Self, TruthError> {
        let dir = dir.into();
        let state = State { status: Status::default(), handled: Reading::default() };
        let shared = Shared { dir, rules: ArcSwap::default(), state: Mutex::new(state) };
        let truth = Self { shared: Arc::new(shared) };
        truth.reload().await?;
        Ok(truth)
    }

    /// Reads the folder now, without waiting for the watch.
    ///
    /// # Errors
    /// As [`Truth::open`]; the rules then stay as they were.
    pub async fn reload(&self) -> Result<Status, TruthError> {
        let reading = self.read().await?;
        self.shared.apply(reading)
    }

    /// Follows the folder for as long as it is polled: looks at it every `every`, and applies what it finds twice unchanged, so that
    /// a file that is still being written is left alone. `on_change` hears of every edit, accepted or refused.
    pub async fn watch(&self, every: std::time::Duration, mut on_change: impl FnMut(&Status) + Send) {
        let mut watch = Watch::default();
        loop {
            tokio::time::sleep(every).await;
            let reading = match self.read().await {
                Ok(reading) => reading,
                Err(error) => Reading::Failed(error.to_string()),
            };
            let handled = self.shared.lock().handled.clone();
            let Some(reading) = watch.settle(reading, &handled) else { continue };
            if let Err(error) = self.shared.apply(reading) {
                tracing::warn!(%error, "truth rules were not reloaded");
            }
            on_change(&self.status());
        }
    }

    /// How the folder stands.
    pub fn status(&self) -> Status {
        self.shared.lock().status.clone()
    }

    /// The rules in force, of one task class or of all, in the order they are asked.
    pub fn rules(&self, task_class: Option<&str>) -> Vec<Rule> {
        let rules = self.shared.rules.load();
        match task_class {
            Some(class) => rules.of(class).cloned().collect(),
            None => rules.all.clone(),
        }
    }

    /// Judges a context. A task class without rules allows everything.
    ///
    /// # Errors
    /// When the context is no object, or a component's condition cannot be resolved or fails: nothing is allowed then.
    pub async fn evaluate(&self, task_class: &str, context: &Value, bindings: &Bindings) -> Result<Evaluation, TruthError> {
        let rules = self.shared.rules.load_full();
        evaluate(rules.of(task_class), context, bindings).await
    }

    async fn read(&self) -> Result<Reading, TruthError> {
        let shared = self.shared.clone();
        let read = tokio::task::spawn_blocking(move || Folder::read(&shared.dir)).await;
        let failed = |source| TruthError::Read { path: self.shared.dir.clone(), source };
        let folder = read.map_err(|error| failed(std::io::Error::other(error)))??;
        Ok(folder.map_or(Reading::Missing, |folder| Reading::Found(Arc::new(folder))))
    }
}

impl fmt::Debug for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Truth").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings a reading into force, or says why not.
    fn apply(&self, reading: Reading) -> Result<Status, TruthError> {
        let mut state = self.lock();
        let outcome = self.parse(&reading, state.status.rules);
        state.handled = reading;
        match outcome {
            Ok((rules, files)) => {
                let revision = state.status.revision + 1;
                state.status = Status { rules: rules.all.len(), files, revision, error: None };
                self.rules.store(Arc::new(rules));
                Ok(state.status.clone())
            }
            Err(error) => {
                state.status.error = Some(error.to_string());
                Err(error)
            }
        }
    }

    fn parse(&self, reading: &Reading, present: usize) -> Result<(Rules, usize), TruthError> {
        let dir: &Path = &self.dir;
        match reading {
            Reading::Found(folder) => Ok((Rules::parse(folder)?, folder.files.len())),
            Reading::Missing if present == 0 => Ok((Rules::default(), 0)),
            Reading::Missing => Err(TruthError::Gone { path: dir.to_owned() }),
            Reading::Failed(message) => {
                Err(TruthError::Read { path: dir.to_owned(), source: std::io::Error::other(message.clone()) })
            }
        }
    }
}

#[cfg(test)]
mod tests;
