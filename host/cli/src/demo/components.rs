//! Which built components are shipped, and which only serve the show.
//!
//! **Invariant**: a server installs at its first start what stands in its distribution folder; the second version of the mask and
//! the hostile component come in by upload, as an operator's would.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use crate::failure::Failure;

/// What a distribution holds.
const SHIPPED: [&str; 9] = [
    "redact-mask",
    "redact-hash",
    "redact-null",
    "redact-pii",
    "condition-required-fields",
    "chunk-text",
    "id-prefix",
    "embed-hash",
    "model-openai",
];

/// A folder of built components.
#[derive(Debug, Clone)]
pub(super) struct Components(PathBuf);

impl Components {
    /// `named`, else the folder that `make components` fills beside the program.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn find(named: Option<&Path>) -> Result<Self, Failure> {
        let beside = || Some(std::env::current_exe().ok()?.parent()?.parent()?.join("components"));
        let dir = named.map(Path::to_owned).or_else(beside).filter(|dir| dir.join("redact-mask.wasm").is_file());
        dir.map(Self).ok_or_else(|| {
            Failure::Start("the built components are not beside this program: run `make components`, or say --plugins DIR".into())
        })
    }

    /// Copies the shipped ones into a distribution folder.
    pub(super) fn ship(&self, to: &Path) -> Result<(), Failure> {
        fs::create_dir_all(to)?;
        for name in SHIPPED {
            fs::copy(self.path(name), to.join(format!("{name}.wasm")))
                .map_err(|source| Failure::File { path: self.path(name), source })?;
        }
        Ok(())
    }

    /// One component's bytes.
    pub(super) fn read(&self, name: &str) -> Result<Bytes, Failure> {
        let path = self.path(name);
        fs::read(&path).map(Bytes::from).map_err(|source| Failure::File { path, source })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.wasm"))
    }
}
