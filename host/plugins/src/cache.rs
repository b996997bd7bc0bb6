//! Compiled code on local disk; may be deleted at any time.
//!
//! **Invariant**: code is loaded from here only if its tag proves that this host wrote it, for this component and this engine. The
//! folder and the key are this user's own, no links, 0700 and 0600; a folder that is not is refused, anything else that is wrong
//! means "not cached".

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use lakehouse_types::{Digest, random_bytes};

use crate::mac;

const TAG_BYTES: usize = 32;

/// The folder and its key.
#[derive(Clone)]
pub(crate) struct CodeCache {
    folder: PathBuf,
    key: [u8; 32],
    compatibility: u64,
}

impl CodeCache {
    /// Opens or makes the folder, and sweeps out what other builds of the engine left in it.
    pub(crate) fn open(folder: &Path, compatibility: u64) -> io::Result<Self> {
        Self::open_as(rustix::process::geteuid().as_raw(), folder, compatibility)
    }

    fn open_as(user: u32, folder: &Path, compatibility: u64) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let found = fs::symlink_metadata(folder)?;
        if !found.is_dir() || found.uid() != user {
            let why = "it is a link, or belongs to another user, who could put foreign code into it";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        let key = read_or_make_key(user, &folder.join("key"))?;
        let cache = Self { folder: folder.to_owned(), key, compatibility };
        cache.sweep();
        Ok(cache)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{digest}{}", self.ending()))
    }

    fn ending(&self) -> String {
        format!("-{:016x}.bin", self.compatibility)
    }

    /// Best effort: what stays is only space.
    fn sweep(&self) {
        let ending = self.ending();
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".bin") && !name.ends_with(&ending) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn parts<'a>(&self, digest: &'a Digest, code: &'a [u8]) -> ([u8; 8], &'a [u8], &'a [u8]) {
        (self.compatibility.to_le_bytes(), digest.as_str().as_bytes(), code)
    }

    /// The code of the component, if it is here and whole.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Vec<u8>> {
        let mut entry = fs::read(self.path(digest)).ok()?;
        let code_bytes = entry.len().checked_sub(TAG_BYTES)?;
        let (code, tag) = entry.split_at(code_bytes);
        let (engine, name, code) = self.parts(digest, code);
        if !mac::is_tag(&self.key, &[&engine, name, code], tag) {
            tracing::warn!(component = %digest, "a cached artifact is damaged; compiling it again");
            return None;
        }
        entry.truncate(code_bytes);
        Some(entry)
    }

    /// Keeps the code of the component. Best effort: without it the next start compiles again.
    pub(crate) fn put(&self, digest: &Digest, code: &[u8]) -> io::Result<()> {
        let (engine, name, code) = self.parts(digest, code);
        let tag = mac::tag(&self.key, &[&engine, name, code]);
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(code)?;
        file.write_all(&tag)?;
        file.persist(self.path(digest)).map_err(|error| error.error)?;
        Ok(())
    }

    /// Drops the code of the component.
    pub(crate) fn forget(&self, digest: &Digest) {
        let _ = fs::remove_file(self.path(digest));
    }
}

fn read_or_make_key(user: u32, path: &Path) -> io::Result<[u8; 32]> {
    if let Some(key) = read_key(user, path) {
        return Ok(key);
    }
    // A missing, short, readable or foreign key is replaced: everything cached under it compiles again. Whoever is first, wins.
    let _ = fs::remove_file(path);
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o600)).tempfile_in(folder)?;
    let key = random_bytes::<32>();
    file.write_all(&key)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(key),
        Err(error) => read_key(user, path).ok_or(error.error),
    }
}

fn read_key(user: u32, path: &Path) -> Option<[u8; 32]> {
    let found = fs::symlink_metadata(path).ok()?;
    let is_private = found.is_file() && found.uid() == user && found.mode() & 0o077 == 0;
    if is_private { fs::read(path).ok()?.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use lakehouse_types::Digest;

    use super::{CodeCache, read_key};

    #[test]
    fn only_whole_entries_of_our_own_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let (digest, other) = (Digest::from_bytes(&[1; 32]), Digest::from_bytes(&[2; 32]));
        let cache = CodeCache::open(&path, 7).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::metadata(path.join("key")).unwrap().permissions().mode() & 0o777, 0o600);

        assert_eq!(cache.get(&digest), None);
        cache.put(&digest, b"code").unwrap();
        assert_eq!(cache.get(&digest).as_deref(), Some(b"code".as_slice()));
        assert_eq!(CodeCache::open(&path, 7).unwrap().get(&digest).as_deref(), Some(b"code".as_slice()), "after a restart");

        // One entry under another's name, and each single flipped bit.
        std::fs::copy(cache.path(&digest), cache.path(&other)).unwrap();
        assert_eq!(cache.get(&other), None);
        let whole = std::fs::read(cache.path(&digest)).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut bent = whole.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(cache.path(&digest), &bent).unwrap();
            assert_eq!(cache.get(&digest), None, "bit {bit}");
        }
        for length in 0..whole.len() {
            std::fs::write(cache.path(&digest), &whole[..length]).unwrap();
            assert_eq!(cache.get(&digest), None, "{length} bytes");
        }
    }

    #[test]
    fn a_key_that_others_could_read_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Digest::from_bytes(&[1; 32]);
        CodeCache::open(folder.path(), 7).unwrap().put(&digest, b"code").unwrap();
        std::fs::set_permissions(folder.path().join("key"), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(CodeCache::open(folder.path(), 7).unwrap().get(&digest), None);
    }

    #[test]
    fn another_engine_finds_nothing_and_sweeps_out_what_it_cannot_use() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Digest::from_bytes(&[1; 32]);
        let old = CodeCache::open(folder.path(), 7).unwrap();
        old.put(&digest, b"code").unwrap();
        let new = CodeCache::open(folder.path(), 8).unwrap();
        assert_eq!(new.get(&digest), None);
        assert!(!old.path(&digest).exists(), "the old build's entry is left over");
        new.put(&digest, b"code").unwrap();
        assert!(CodeCache::open(folder.path(), 8).unwrap().get(&digest).is_some(), "its own stays");
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused_and_a_key_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        let digest = Digest::from_bytes(&[1; 32]);
        let own = CodeCache::open(&real, 7).unwrap();
        own.put(&digest, b"code").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert_eq!(CodeCache::open(&link, 7).err().unwrap().kind(), std::io::ErrorKind::PermissionDenied, "a link");
        let me = rustix::process::geteuid().as_raw();
        assert!(CodeCache::open_as(me + 1, &real, 7).is_err(), "another user's");

        let key = real.join("key");
        assert!(read_key(me, &key).is_some());
        assert_eq!(read_key(me + 1, &key), None);
        // A private file of ours, but at the end of a link: whoever set the link may know what it holds.
        let planted = folder.path().join("planted");
        std::fs::rename(&key, &planted).unwrap();
        std::fs::write(&planted, [7; 32]).unwrap();
        std::os::unix::fs::symlink(&planted, &key).unwrap();
        assert_eq!(CodeCache::open(&real, 7).unwrap().get(&digest), None);
        assert_ne!(read_key(me, &key), Some([7; 32]));
        assert!(std::fs::symlink_metadata(&key).unwrap().is_file());
    }
}
