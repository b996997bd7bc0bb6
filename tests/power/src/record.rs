//! What was synced, kept as it was at that moment.

use std::{
    ffi::{c_int, c_uint},
    fs, io,
    os::{fd::BorrowedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

use crate::{FILES, FOLDERS, ROOT, key};

static RECORD: OnceLock<Record> = OnceLock::new();

struct Record {
    of: PathBuf,
    into: PathBuf,
    /// One sync after the other: a folder's list must not be older than that of a sync which returned before.
    turn: Mutex<u64>,
}

/// Records what is synced under the folder `of` from now on; what is there already counts as synced.
///
/// # Errors
/// When the folder cannot be read or the record not be written.
///
/// # Panics
/// When this process records already.
pub fn begin(of: &Path, into: &Path) -> io::Result<()> {
    let of = of.canonicalize()?;
    fs::create_dir_all(into.join(FILES))?;
    fs::create_dir_all(into.join(FOLDERS))?;
    let record = Record { into: into.to_owned(), turn: Mutex::new(0), of: of.clone() };
    let mut open = vec![of.clone()];
    while let Some(folder) = open.pop() {
        record.folder(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
            if entry?.is_dir() { open.push(path) } else { record.file(&path)? }
        }
    }
    fs::write(into.join(ROOT), key(&of.metadata()?))?;
    assert!(RECORD.set(record).is_ok(), "a process records once");
    Ok(())
}

impl Record {
    /// The path that `fd` is open at, where that is one of ours.
    fn ours(&self, fd: c_int) -> Option<PathBuf> {
        let path = fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
        path.starts_with(&self.of).then_some(path)
    }

    fn sync(&self, fd: c_int) -> io::Result<()> {
        let Some(path) = self.ours(fd) else { return Ok(()) };
        // By the descriptor: the file may have lost its name meanwhile.
        let open = PathBuf::from(format!("/proc/self/fd/{fd}"));
        if open.metadata()?.is_dir() { self.folder(&path) } else { self.file(&open) }
    }

    fn file(&self, path: &Path) -> io::Result<()> {
        let content = fs::read(path)?;
        self.keep(FILES, &key(&path.metadata()?), &content)
    }

    fn folder(&self, path: &Path) -> io::Result<()> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        *turn += 1;
        let mut list = Vec::new();
        // Deleted meanwhile: nothing of it can be promised.
        let (Ok(folder), Ok(entries)) = (path.metadata(), fs::read_dir(path)) else { return Ok(()) };
        for entry in entries {
            let entry = entry?;
            let Ok(metadata) = entry.metadata() else { continue };
            list.extend_from_slice(if metadata.is_dir() { b"d " } else { b"f " });
            list.extend_from_slice(key(&metadata).as_bytes());
            list.push(b' ');
            list.extend_from_slice(entry.file_name().as_bytes());
            list.push(b'\n');
        }
        self.keep(FOLDERS, &key(&folder), &list)
    }

    /// As one step, since the process may be killed between any two.
    fn keep(&self, part: &str, key: &str, content: &[u8]) -> io::Result<()> {
        let part = self.into.join(part);
        let written = part.join(format!("{key}.{:?}", std::thread::current().id()));
        fs::write(&written, content)?;
        fs::rename(written, part.join(key))
    }
}

/// `None` where nothing is recorded.
fn recorded(fd: c_int) -> Option<c_int> {
    let record = RECORD.get()?;
    match record.sync(fd) {
        Ok(()) => Some(0),
        Err(error) => {
            // A record with a hole would accuse the program under test.
            let _ = fs::write(record.into.join("error"), error.to_string());
            std::process::abort();
        }
    }
}

#[expect(unsafe_code, reason = "stands in for the C library's functions")]
mod calls {
    use super::{BorrowedFd, c_int, c_uint, recorded};

    unsafe extern "C" {
        fn __errno_location() -> *mut c_int;
    }

    fn outcome(result: rustix::io::Result<()>) -> c_int {
        match result {
            Ok(()) => 0,
            Err(error) => {
                // SAFETY: the C library gives each thread a valid place for its error number.
                unsafe { *__errno_location() = error.raw_os_error() };
                -1
            }
        }
    }

    /// `fsync(2)`.
    #[unsafe(no_mangle)]
    pub(super) extern "C" fn fsync(fd: c_int) -> c_int {
        // SAFETY: borrowed for this call only; the caller keeps it open during the call, as the function's contract says.
        recorded(fd).unwrap_or_else(|| outcome(rustix::fs::fsync(unsafe { BorrowedFd::borrow_raw(fd) })))
    }

    /// `fdatasync(2)`.
    #[unsafe(no_mangle)]
    pub(super) extern "C" fn fdatasync(fd: c_int) -> c_int {
        // SAFETY: as in `fsync`.
        recorded(fd).unwrap_or_else(|| outcome(rustix::fs::fdatasync(unsafe { BorrowedFd::borrow_raw(fd) })))
    }

    /// `sync_file_range(2)` promises nothing, and nothing here may count on it.
    #[unsafe(no_mangle)]
    pub(super) extern "C" fn sync_file_range(_: c_int, _: i64, _: i64, _: c_uint) -> c_int {
        0
    }
}
