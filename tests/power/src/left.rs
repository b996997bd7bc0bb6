//! The folder that is left after the power went.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{FILES, FOLDERS, ROOT, key};

/// What becomes of writes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All are lost.
    Whole,
    /// Each file and each name is lost or not, or written in part, by this seed.
    Some(u64),
}

/// Makes `target` what a recorded folder would be after the power went. `live` is the folder as the killed process left it.
///
/// # Errors
/// When the record is not whole.
pub fn left(record: &Path, live: &Path, target: &Path, loss: Loss) -> io::Result<()> {
    let root = fs::read_to_string(record.join(ROOT))?;
    let dice = match loss {
        Loss::Whole => None,
        Loss::Some(seed) => Some(Dice(seed.wrapping_mul(2).wrapping_add(1))),
    };
    Left { record, dice }.folder(&root, Some(live), target)
}

struct Left<'a> {
    record: &'a Path,
    dice: Option<Dice>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    is_folder: bool,
    key: String,
}

impl Left<'_> {
    /// Whether an unsynced change came through all the same.
    fn came_through(&mut self) -> bool {
        self.dice.as_mut().is_some_and(|dice| dice.below(2) == 0)
    }

    fn folder(&mut self, key: &str, live: Option<&Path>, target: &Path) -> io::Result<()> {
        fs::create_dir_all(target)?;
        let synced = self.synced(key)?;
        let present = live.map(entries).transpose()?.unwrap_or_default();
        let names: Vec<&String> = synced.keys().chain(present.keys().filter(|name| !synced.contains_key(*name))).collect();
        for name in names {
            let (then, now) = (synced.get(name), present.get(name));
            let entry = if then != now && self.came_through() { now } else { then };
            let Some(entry) = entry else { continue };
            // Where its newest content is, if it still has this name.
            let live = live.filter(|_| now == Some(entry)).map(|live| live.join(name));
            if entry.is_folder {
                self.folder(&entry.key, live.as_deref(), &target.join(name))?;
            } else {
                self.file(&entry.key, live, &target.join(name))?;
            }
        }
        Ok(())
    }

    fn file(&mut self, key: &str, live: Option<PathBuf>, target: &Path) -> io::Result<()> {
        let synced = match fs::read(self.record.join(FILES).join(key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let written = live.and_then(|live| fs::read(live).ok()).unwrap_or_default();
        if written == synced || !self.came_through() {
            return fs::write(target, synced);
        }
        let is_torn = !self.came_through();
        let upto = match &mut self.dice {
            Some(dice) if is_torn => usize::try_from(dice.below(written.len() as u64 + 1)).unwrap_or(written.len()),
            _ => written.len(),
        };
        // A part of what was added since; what was synced stays.
        let from = synced.len().min(written.len());
        fs::write(target, if written.starts_with(&synced) { &written[..upto.max(from)] } else { &written[..upto] })
    }

    /// The names in a folder at its last sync; none when it never was.
    fn synced(&self, key: &str) -> io::Result<BTreeMap<String, Entry>> {
        let list = match fs::read_to_string(self.record.join(FOLDERS).join(key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "a line of a record that is none");
        list.lines()
            .map(|line| {
                let mut parts = line.splitn(3, ' ');
                let (Some(kind), Some(key), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
                    return Err(broken());
                };
                Ok((name.to_owned(), Entry { is_folder: kind == "d", key: key.to_owned() }))
            })
            .collect()
    }
}

fn entries(folder: &Path) -> io::Result<BTreeMap<String, Entry>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        found.insert(name, Entry { is_folder: metadata.is_dir(), key: key(&metadata) });
    }
    Ok(found)
}

/// Numbers that look random and come again with their seed (xorshift64*, Vigna 2016).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % limit
    }
}
