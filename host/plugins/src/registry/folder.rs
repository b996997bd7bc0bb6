//! The watched folder: what is dropped there is installed.
//!
//! **Invariant**: a file is read when it has been still for [`STILL`]; content that was installed once is never installed
//! again, so a rollback survives a restart; a file that fails is reported until it changes or goes.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use chrono::{DateTime, Utc};
use lakehouse_types::Fault;
use serde::Serialize;

use super::Registry;
use crate::{PluginError, error::Check, message::escape, store::on_blocking};

/// How long a file must not change.
const STILL: Duration = Duration::from_millis(500);
/// How often the folder is looked at.
const POLL: Duration = Duration::from_millis(200);
/// When a file is tried again that the host, not the component, failed.
const RETRY: Duration = Duration::from_secs(10);
/// Files looked at; the rest is ignored, by name order.
const MAX_FILES: usize = 1000;

/// A file that was refused.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FolderFailure {
    pub file: String,
    pub at: DateTime<Utc>,
    pub detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
}

/// Watches until it is dropped.
#[derive(Debug)]
pub struct FolderWatch(tokio::task::JoinHandle<()>);

impl Drop for FolderWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How a file looked.
#[derive(PartialEq, Eq, Clone, Copy)]
struct Look {
    bytes: u64,
    modified: SystemTime,
    inode: u64,
}

/// A file since it last changed.
struct Watched {
    look: Look,
    since: Instant,
    taken: bool,
}

impl Registry {
    /// Installs what is dropped into `folder`, in the background. The folder need not exist yet.
    pub fn watch_folder(self: &Arc<Self>, folder: PathBuf) -> FolderWatch {
        let registry = Arc::clone(self);
        FolderWatch(tokio::spawn(async move {
            let mut files = HashMap::new();
            loop {
                registry.look(&folder, &mut files).await;
                tokio::time::sleep(POLL).await;
            }
        }))
    }

    async fn look(self: &Arc<Self>, folder: &Path, files: &mut HashMap<PathBuf, Watched>) {
        let folder = folder.to_owned();
        let Ok(Ok(present)) = on_blocking(move || looks(&folder)).await else { return };
        files.retain(|file, _| present.iter().any(|(path, _)| path == file));
        self.failures.lock().retain(|name, _| present.iter().any(|(path, _)| display_name(path) == *name));
        for (path, look) in present {
            let watched = files.entry(path.clone()).or_insert(Watched { look, since: Instant::now(), taken: false });
            if watched.look != look {
                *watched = Watched { look, since: Instant::now(), taken: false };
            }
            if !watched.taken && watched.since.elapsed() >= STILL {
                watched.taken = self.take(&path, look).await;
                if !watched.taken {
                    watched.since = Instant::now() + RETRY;
                }
            }
        }
    }

    /// Installs a file; false when it should be tried again.
    async fn take(self: &Arc<Self>, path: &Path, look: Look) -> bool {
        let name = display_name(path);
        let outcome = self.try_take(path, look).await;
        match outcome {
            Ok(report) => {
                self.failures.lock().remove(&name);
                if let Some(report) = report {
                    tracing::info!(plugin = %report.name, version = %report.version, file = %name, "a dropped component is in force");
                }
                true
            }
            Err(PluginError::Busy { .. }) => false,
            Err(error) => {
                tracing::warn!(file = %name, %error, "a dropped component was refused");
                // The bucket, the journal or the compiler may be back soon, and the file will not change for that.
                let again = matches!(error, PluginError::Host { .. } | PluginError::Storage(_) | PluginError::Journal(_));
                let detail = error.public();
                let checks = if let PluginError::Refused { checks } = error { checks } else { Vec::new() };
                self.failures.lock().insert(name.clone(), FolderFailure { file: name, at: self.clock.now(), detail, checks });
                !again
            }
        }
    }

    async fn try_take(self: &Arc<Self>, path: &Path, look: Look) -> Result<Option<super::PushReport>, PluginError> {
        if look.bytes > self.max_component_bytes as u64 {
            // Not read, so that nobody knows its digest.
            let detail = format!("{} bytes; {} are allowed", look.bytes, self.max_component_bytes);
            return Err(self.refuse_file(path, Check::failed("size", detail)).await);
        }
        let reading = path.to_owned();
        let wasm = on_blocking(move || std::fs::read(reading))
            .await?
            .map_err(|error| PluginError::host("a dropped file cannot be read", error))?;
        self.install_file(path, wasm.into()).await
    }
}

pub(super) fn display_name(path: &Path) -> String {
    escape(&path.file_name().unwrap_or_default().to_string_lossy(), 255)
}

/// The components in a folder, by name.
pub(super) fn wasm_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "wasm") {
            files.push(path);
        }
    }
    files.sort();
    files.truncate(MAX_FILES);
    Ok(files)
}

fn looks(folder: &Path) -> io::Result<Vec<(PathBuf, Look)>> {
    use std::os::unix::fs::MetadataExt;
    let mut looks = Vec::new();
    for path in wasm_files(folder)? {
        // Gone between the listing and the look.
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        if metadata.is_file() {
            let look = Look { bytes: metadata.len(), modified: metadata.modified()?, inode: metadata.ino() };
            looks.push((path, look));
        }
    }
    Ok(looks)
}
