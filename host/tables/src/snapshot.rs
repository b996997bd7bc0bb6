//! One version of a table, as its log tells it.
//!
//! Delta's library comes to the next version by listing the log, reading back the commit that was just written, and going through all
//! that it knows. An append of ours knows what it adds: the version after it is the one before and these files.
//!
//! **Invariant**: a snapshot tells what one that is loaded anew would.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::{Add, EagerSnapshot, Metadata, Protocol, Remove};

/// The snapshot that was loaded last, and what our appends have added since.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    loaded: EagerSnapshot,
    added: Vec<Arc<Add>>,
    version: u64,
}

impl From<EagerSnapshot> for Snapshot {
    fn from(loaded: EagerSnapshot) -> Self {
        Self { version: loaded.version(), added: Vec::new(), loaded }
    }
}

impl Snapshot {
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Commits since it was loaded.
    pub(crate) fn behind(&self) -> u64 {
        self.version - self.loaded.version()
    }

    /// The snapshot that was loaded last: of this version or an earlier one with the same schema, protocol and settings.
    pub(crate) fn loaded(&self) -> &EagerSnapshot {
        &self.loaded
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        self.loaded.arrow_schema()
    }

    pub(crate) fn protocol(&self) -> &Protocol {
        self.loaded.protocol()
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        self.loaded.metadata()
    }

    /// The version after this one, which adds files and changes nothing else.
    pub(crate) fn with_added(&self, files: impl IntoIterator<Item = Add>) -> Self {
        let added = self.added.iter().cloned().chain(files.into_iter().map(Arc::new)).collect();
        Self { loaded: self.loaded.clone(), added, version: self.version + 1 }
    }

    pub(crate) fn count_files(&self) -> usize {
        self.loaded.try_log_data().map_or(0, |files| files.num_files()) + self.added.len()
    }

    /// The files that were added since it was loaded.
    pub(crate) fn added(&self) -> &[Arc<Add>] {
        &self.added
    }

    /// The files that were added since an earlier snapshot of this table; `None` where more than that came between.
    pub(crate) fn added_since(&self, before: &Self) -> Option<&[Arc<Add>]> {
        let is_after = before.loaded.version() == self.loaded.version() && before.version <= self.version;
        self.added.get(before.added.len()..).filter(|_| is_after)
    }

    /// What takes files out of the next version, by their names, at a time in milliseconds.
    ///
    /// # Errors
    /// When the log cannot be replayed.
    pub(crate) fn removes(
        &self,
        data_change: bool,
        at_ms: i64,
        goes: impl Fn(&str) -> bool,
    ) -> Result<Vec<Remove>, DeltaTableError> {
        let log = self.loaded.try_log_data()?;
        let old = log.iter().filter(|file| goes(file.object_store_path().filename().unwrap_or_default()));
        let old = old.map(|file| Remove { deletion_timestamp: Some(at_ms), ..file.remove_action(data_change) });
        let new = self.added.iter().filter(|add| goes(&add.path)).map(|add| Remove {
            path: add.path.clone(),
            data_change,
            deletion_timestamp: Some(at_ms),
            extended_file_metadata: Some(true),
            partition_values: Some(HashMap::new()),
            size: Some(add.size),
            tags: None,
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
        });
        Ok(old.chain(new).collect())
    }
}
