//! The access file: read at the start, then followed by looking at it again and again.
//!
//! **Invariant**: the grants in force always come from one whole, valid reading; a bad edit leaves them as they were and is told. A
//! reading is applied once, and only after two looks in a row found it the same, so that a file that an editor has emptied and not
//! yet written again is not taken for one that grants nothing.

use std::{
    fmt, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lakehouse_types::{Code, Fault, KeyName};

use crate::{Keys, declared::Declared};

/// Longest file.
const MAX_BYTES: usize = 4 << 20;
/// Names in a line of the log.
const MAX_TOLD: usize = 20;

/// Why the file as it stands is not in force.
#[derive(Debug, thiserror::Error)]
pub enum AccessFileError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Grants were in force, and their file went away: taken for an accident.
    #[error("{} is gone; its grants stay in force until it is back or the server starts anew", path.display())]
    Gone { path: PathBuf },
    #[error("{}: more than {limit} bytes", path.display())]
    TooLarge { path: PathBuf, limit: usize },
    /// The file's text is at fault.
    #[error("{file}:{line}: {message}")]
    Invalid {
        file: Box<str>,
        /// From 1.
        line: usize,
        message: String,
    },
}

impl Fault for AccessFileError {
    fn code(&self) -> Code {
        match self {
            Self::Read { .. } | Self::Gone { .. } => Code::StorageUnavailable,
            Self::TooLarge { .. } | Self::Invalid { .. } => Code::InvalidDefinition,
        }
    }

    /// Without the place of the file, which is the operator's own business.
    fn public(&self) -> String {
        match self {
            Self::Read { .. } => "the access file cannot be read".to_owned(),
            Self::Gone { .. } => "the access file is gone; its grants stay in force until it is back".to_owned(),
            Self::TooLarge { limit, .. } => format!("the access file has more than {limit} bytes"),
            Self::Invalid { .. } => self.to_string(),
        }
    }
}

/// How the file stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessFileStatus {
    /// Its name, without its folder.
    pub file: String,
    /// Grants in force, those of groups counted once for each of their keys.
    pub grants: usize,
    pub groups: usize,
    /// Grows by one with each reading that came into force.
    pub revision: u64,
    /// Why the file as it stands is not in force; absent when it is.
    pub error: Option<String>,
}

/// An edit that came into force.
#[derive(Debug, Clone)]
pub struct AccessReload {
    pub status: AccessFileStatus,
    /// The keys whose grants became others.
    pub changed: Vec<KeyName>,
}

/// The file and the keys that it grants to. Cheap to clone: clones share one state.
#[derive(Clone)]
pub struct AccessFile {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    keys: Keys,
    state: Mutex<State>,
}

struct State {
    status: AccessFileStatus,
    /// What the last attempt was made of, accepted or not.
    handled: Reading,
}

/// What one look found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Reading {
    #[default]
    Missing,
    Found(Arc<str>),
    TooLarge,
    /// Why, since the errors of a file system cannot be compared.
    Failed(Arc<str>),
}

impl AccessFile {
    /// Reads the file and puts it in force. One that does not exist grants nothing, until it does.
    ///
    /// # Errors
    /// When it cannot be read or is at fault: a host that starts has no earlier grants to fall back to.
    pub async fn open(path: impl Into<PathBuf>, keys: Keys) -> Result<Self, AccessFileError> {
        let path = path.into();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let state = State { status: AccessFileStatus { file, ..AccessFileStatus::default() }, handled: Reading::default() };
        let file = Self { shared: Arc::new(Shared { path, keys, state: Mutex::new(state) }) };
        file.reload().await?;
        Ok(file)
    }

    /// Reads the file now, without waiting for the watch.
    ///
    /// # Errors
    /// As [`AccessFile::open`]; the grants then stay as they were.
    pub async fn reload(&self) -> Result<AccessReload, AccessFileError> {
        let reading = self.read().await;
        self.shared.apply(reading)
    }

    /// How the file stands.
    pub fn status(&self) -> AccessFileStatus {
        self.shared.lock().status.clone()
    }

    /// Keys that the file names and that nobody has made yet.
    pub fn unknown_keys(&self) -> Vec<KeyName> {
        self.shared.keys.declared_but_unknown()
    }

    /// Follows the file, looking at it every so often.
    pub fn watch(&self, every: Duration) -> AccessWatch {
        AccessWatch { file: self.clone(), every, before: None }
    }

    async fn read(&self) -> Reading {
        let shared = self.shared.clone();
        let read = tokio::task::spawn_blocking(move || read(&shared.path)).await;
        read.unwrap_or_else(|error| Reading::Failed(error.to_string().into()))
    }
}

impl fmt::Debug for AccessFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessFile").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Reading {
    let mut text = String::new();
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    match fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text)) {
        Ok(length) if length > MAX_BYTES => Reading::TooLarge,
        Ok(_) => Reading::Found(text.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Reading::Missing,
        Err(error) => Reading::Failed(error.to_string().into()),
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings a reading into force, or says why not.
    fn apply(&self, reading: Reading) -> Result<AccessReload, AccessFileError> {
        let mut state = self.lock();
        let parsed = self.parse(&state, &reading);
        state.handled = reading;
        match parsed {
            Ok(declared) => {
                let status = &mut state.status;
                (status.grants, status.groups, status.error) = (declared.grants, declared.groups, None);
                status.revision += 1;
                let changed = self.keys.declare(Arc::new(declared));
                self.tell_unknown();
                Ok(AccessReload { status: state.status.clone(), changed })
            }
            Err(error) => {
                state.status.error = Some(error.public());
                Err(error)
            }
        }
    }

    fn parse(&self, state: &State, reading: &Reading) -> Result<Declared, AccessFileError> {
        let path = || self.path.clone();
        match reading {
            Reading::Found(text) => Declared::parse(&state.status.file, text),
            Reading::Missing if state.status.grants == 0 => Declared::parse(&state.status.file, ""),
            Reading::Missing => Err(AccessFileError::Gone { path: path() }),
            Reading::TooLarge => Err(AccessFileError::TooLarge { path: path(), limit: MAX_BYTES }),
            Reading::Failed(why) => Err(AccessFileError::Read { path: path(), source: io::Error::other(why.to_string()) }),
        }
    }

    fn tell_unknown(&self) {
        let unknown = self.keys.declared_but_unknown();
        if !unknown.is_empty() {
            let told: Vec<&str> = unknown.iter().take(MAX_TOLD).map(KeyName::as_str).collect();
            tracing::warn!(
                count = unknown.len(),
                names = told.join(", "),
                "the access file names keys that do not exist; what it grants them applies once they do"
            );
        }
    }
}

/// A file that is followed for as long as it is asked for its next edit.
#[derive(Debug)]
pub struct AccessWatch {
    file: AccessFile,
    every: Duration,
    /// The look before, when it found something new.
    before: Option<Reading>,
}

impl AccessWatch {
    /// Waits for the next edit that comes into force. Those that are refused are told in the log.
    pub async fn next(&mut self) -> AccessReload {
        loop {
            tokio::time::sleep(self.every).await;
            let now = self.file.read().await;
            let Some(settled) = self.settle(now) else { continue };
            match self.file.shared.apply(settled) {
                Ok(reload) => return reload,
                Err(error) => tracing::warn!(%error, "the access file was not reloaded; its earlier grants stay in force"),
            }
        }
    }

    /// Takes a look's result; gives it back when it is new and has stood still.
    fn settle(&mut self, now: Reading) -> Option<Reading> {
        if now == self.file.shared.lock().handled {
            self.before = None;
            return None;
        }
        if self.before.as_ref() == Some(&now) {
            return self.before.take();
        }
        self.before = Some(now);
        None
    }
}

#[cfg(test)]
mod tests;
