//! A rule before it is called: a component, a configuration, limits.

use std::sync::Arc;

use crate::{
    GuestMessage, PluginError,
    error::{Lie, VersionedName},
    runtime::{Loaded, Options, Runtime},
    version::Version,
    wit::lakehouse::plugin::types::Error as Said,
};

/// The part of a guest's memory that one call's values may take: it also holds its program, a copy or two, and the answer.
const CALL_SHARE: u64 = 8;

/// Everything that opening an instance needs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Rule {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) version: Arc<Version>,
    pub(crate) loaded: Arc<Loaded>,
    /// A JSON object.
    pub(crate) config: Arc<str>,
    pub(crate) options: Options,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rule").field("plugin", &self.version.id).field("limits", &self.options.limits).finish_non_exhaustive()
    }
}

impl Rule {
    pub(crate) fn plugin(&self) -> VersionedName {
        (*self.version.id).clone()
    }

    /// The most bytes of values that are handed over in one call.
    pub(crate) fn call_bytes(&self) -> usize {
        usize::try_from(self.options.limits.memory_bytes / CALL_SHARE).unwrap_or(usize::MAX)
    }

    /// A lie of this component's.
    pub(crate) fn lied(&self, lie: Lie) -> PluginError {
        PluginError::Lied { plugin: self.plugin(), lie }
    }

    /// Takes an answer's payload into account, `answered` so far: of one question, however many calls it takes.
    pub(crate) fn check_output(&self, answered: u64) -> Result<(), PluginError> {
        if answered <= self.options.limits.output_bytes { Ok(()) } else { Err(self.too_much_output()) }
    }

    pub(crate) fn too_much_output(&self) -> PluginError {
        let error = PluginError::OutputExceeded { plugin: self.plugin(), limit_bytes: self.options.limits.output_bytes };
        self.version.counters.failed(&error);
        error
    }

    /// What a component's own error means. `doing` names what it was asked for.
    pub(crate) fn explain(&self, said: Said, doing: &str) -> PluginError {
        let plugin = self.plugin();
        match said {
            Said::InvalidConfig(text) => PluginError::Config { plugin, said: GuestMessage::new(&text) },
            Said::InvalidInput(error) => {
                PluginError::RefusedInput { plugin, row: error.row, said: GuestMessage::new(&error.message) }
            }
            Said::Unsupported(text) => {
                PluginError::Unsupported { plugin, what: doing.to_owned(), said: GuestMessage::new(&text) }
            }
            Said::Internal(text) => PluginError::Internal { plugin, said: GuestMessage::new(&text) },
        }
    }

    /// Like [`Self::explain`], after the instance has seen rows: whatever it says is not about the configuration.
    pub(crate) fn explain_call(&self, said: Said, doing: &str) -> PluginError {
        match said {
            Said::InvalidConfig(text) => PluginError::Internal { plugin: self.plugin(), said: GuestMessage::new(&text) },
            said => self.explain(said, doing),
        }
    }

    /// Runs `work` on the CPU runtime; it is cancelled when the caller goes away.
    pub(crate) async fn on_cpu<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, PluginError>> + Send + 'static,
    ) -> Result<T, PluginError> {
        let mut task = AbortOnDrop(self.runtime.cpu.spawn(work));
        (&mut task.0).await.unwrap_or_else(|error| Err(PluginError::host("a rule's task ended early", error)))
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
