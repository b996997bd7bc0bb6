//! The rule files as they stand on disk. Compared by content: a file saved twice within one clock tick is still seen.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::TruthError;

const MAX_FILES: usize = 256;
const MAX_BYTES: usize = 8 << 20;

/// The `*.toml` files of the folder, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Folder {
    pub(crate) files: Vec<(String, String)>,
}

impl Folder {
    /// Reads the folder; `None` when there is none. Blocks.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, TruthError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| TruthError::Read { path, source }
        };
        let too_large = |limit, unit| TruthError::TooLarge { path: dir.to_owned(), limit, unit };
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(dir)(error)),
        };
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed(dir))?.path();
            if is_rule_file(&path) {
                paths.push(path);
            }
        }
        if paths.len() > MAX_FILES {
            return Err(too_large(MAX_FILES, "files"));
        }
        paths.sort();
        let mut bytes = 0;
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            bytes += usize::try_from(fs::metadata(&path).map_err(failed(&path))?.len()).unwrap_or(usize::MAX).min(MAX_BYTES + 1);
            if bytes > MAX_BYTES {
                return Err(too_large(MAX_BYTES, "bytes"));
            }
            let text = fs::read_to_string(&path).map_err(failed(&path))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push((name, text));
        }
        Ok(Some(Self { files }))
    }
}

/// Hidden files are what editors and copies leave half written.
fn is_rule_file(path: &Path) -> bool {
    let is_hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !is_hidden && path.extension().is_some_and(|extension| extension == "toml") && path.is_file()
}
