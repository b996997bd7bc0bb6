//! An answer on its way to stdout or a file.
//!
//! **Invariant**: a file has the whole answer or is as it was before; pipes and devices get what comes, as stdout does.

use std::{
    fs::{self, File, Permissions},
    io::{self, IsTerminal, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::failure::Failure;

/// What a new file may be used for, before the process's mask.
const NEW_FILE_MODE: u32 = 0o666;

pub(super) enum Output {
    Stdout,
    Device { path: PathBuf, file: File },
    File { path: PathBuf, written: NamedTempFile },
}

impl Output {
    /// Stdout, or the file of this path.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::Stdout) };
        Self::of_path(path).map_err(|source| Failure::File { path: path.to_owned(), source })
    }

    fn of_path(path: &Path) -> io::Result<Self> {
        // Of a link it is the file behind it that is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let known = fs::metadata(&path).ok();
        if known.as_ref().is_some_and(|known| !known.is_file()) {
            return Ok(Self::Device { file: File::options().write(true).open(&path)?, path });
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let permissions = Permissions::from_mode(NEW_FILE_MODE);
        let written = tempfile::Builder::new().prefix(".lakehouse-").permissions(permissions).tempfile_in(folder)?;
        if let Some(known) = known {
            written.as_file().set_permissions(known.permissions())?;
        }
        Ok(Self::File { path, written })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let failed = |path: &Path, source: io::Error| Failure::File { path: path.to_owned(), source };
        match self {
            Self::Stdout => Ok(io::stdout().lock().write_all(bytes)?),
            Self::Device { path, file } => file.write_all(bytes).map_err(|source| failed(path, source)),
            Self::File { path, written } => written.write_all(bytes).map_err(|source| failed(path, source)),
        }
    }

    /// The answer is whole. A terminal gets the line break that `ends_line` says it has not yet.
    pub(super) fn finish(self, ends_line: bool) -> Result<(), Failure> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                if out.is_terminal() && !ends_line {
                    writeln!(out)?;
                }
                Ok(out.flush()?)
            }
            Self::Device { .. } => Ok(()),
            Self::File { path, written } => match written.persist(&path) {
                Ok(_) => Ok(()),
                Err(error) => Err(Failure::File { path, source: error.error }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::Output;

    #[test]
    fn a_file_appears_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answer.csv");
        let begin = || {
            let mut output = Output::open(Some(&path)).unwrap();
            output.write(b"new").unwrap();
            output
        };
        drop(begin());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left of an answer that broke off");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let link = folder.path().join("link.csv");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        drop(begin());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        let mut output = Output::open(Some(&link)).unwrap();
        output.write(b"new").unwrap();
        output.finish(true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_device_stays_a_device() {
        let mut output = Output::open(Some("/dev/null".as_ref())).unwrap();
        output.write(b"x").unwrap();
        output.finish(true).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert!(Output::open(Some("/no/such/folder/x".as_ref())).is_err());
    }
}
