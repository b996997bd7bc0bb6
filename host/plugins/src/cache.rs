//! Compiled code on local disk; may be deleted at any time.
//!
//! **Invariant**: code is loaded from here only if its tag proves that this host wrote it, for this component and this engine. The
//! folder is 0700, the key 0600; anything wrong means "not cached".

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
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
    /// Opens or makes the folder.
    pub(crate) fn open(folder: &Path, compatibility: u64) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        let key = read_or_make_key(&folder.join("key"))?;
        Ok(Self { folder: folder.to_owned(), key, compatibility })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{digest}-{:016x}.bin", self.compatibility))
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

fn read_or_make_key(path: &Path) -> io::Result<[u8; 32]> {
    if let Some(key) = read_key(path) {
        return Ok(key);
    }
    // A missing, short or readable key is replaced: everything cached under it compiles again. Whoever is first, wins.
    let _ = fs::remove_file(path);
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o600)).tempfile_in(folder)?;
    let key = random_bytes::<32>();
    file.write_all(&key)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(key),
        Err(error) => read_key(path).ok_or(error.error),
    }
}

fn read_key(path: &Path) -> Option<[u8; 32]> {
    let private = fs::metadata(path).ok()?.permissions().mode() & 0o077 == 0;
    let bytes = fs::read(path).ok()?;
    private.then_some(bytes.try_into().ok()?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use lakehouse_types::Digest;

    use super::CodeCache;

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
        assert_eq!(CodeCache::open(&path, 8).unwrap().get(&digest), None, "another engine");

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
}
