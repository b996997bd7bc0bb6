use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use tempfile::TempDir;

use crate::{Loss, begin, left};

fn sync(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

/// One test: a process records once.
#[test]
fn what_was_synced_is_left_and_nothing_else() {
    let (data, record) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let at = |name: &str| data.path().join(name);
    fs::create_dir(at("old")).unwrap();
    fs::write(at("old/file"), "old").unwrap();
    fs::write(at("old/doomed"), "old").unwrap();
    begin(data.path(), record.path()).unwrap();

    // Content without a name, a name without content, and both.
    let write = |name: &str, synced: bool| {
        let mut file = File::create(at(name)).unwrap();
        file.write_all(b"first").unwrap();
        if synced {
            file.sync_all().unwrap();
        }
        file
    };
    write("empty", false);
    let mut both = write("both", true);
    sync(data.path());
    both.write_all(b" and more").unwrap();
    write("nameless", true);
    // A folder whose own name was not synced.
    fs::create_dir(at("new")).unwrap();
    write("new/file", true);
    sync(&at("new"));
    // Names that changed in a folder that was not synced.
    fs::remove_file(at("old/doomed")).unwrap();
    fs::rename(at("old/file"), at("old/renamed")).unwrap();
    // Through another function.
    fs::create_dir(at("data")).unwrap();
    sync(data.path());
    let file = write("data/file", false);
    file.sync_data().unwrap();
    sync(&at("data"));
    fs::remove_dir_all(at("new")).unwrap();

    let whole = TempDir::new().unwrap();
    left(record.path(), data.path(), whole.path(), Loss::Whole).unwrap();
    let read = |folder: &TempDir, name: &str| fs::read_to_string(folder.path().join(name)).ok();
    assert_eq!(read(&whole, "empty").as_deref(), Some(""));
    assert_eq!(read(&whole, "both").as_deref(), Some("first"));
    assert_eq!(read(&whole, "nameless").as_deref(), Some("first"), "its name came with a later sync");
    assert_eq!(read(&whole, "new/file").as_deref(), Some("first"), "and was removed without one");
    assert_eq!(read(&whole, "old/file").as_deref(), Some("old"));
    assert_eq!(read(&whole, "old/renamed"), None);
    assert_eq!(read(&whole, "old/doomed").as_deref(), Some("old"));
    assert_eq!(read(&whole, "data/file").as_deref(), Some("first"));

    let (mut contents, mut names) = (Vec::new(), Vec::new());
    for seed in 0..40 {
        let folder = TempDir::new().unwrap();
        left(record.path(), data.path(), folder.path(), Loss::Some(seed)).unwrap();
        contents.push(read(&folder, "both").unwrap());
        names.push(read(&folder, "old/renamed").is_some());
        assert_eq!(read(&folder, "data/file").as_deref(), Some("first"));
    }
    assert!(contents.iter().all(|content| "first and more".starts_with(content) && content.len() >= "first".len()));
    assert!(contents.iter().any(|content| content.len() == 14) && contents.iter().any(|content| content.len() == 5));
    assert!(names.contains(&true) && names.contains(&false));
    fs::remove_file(at("both")).unwrap();
}
