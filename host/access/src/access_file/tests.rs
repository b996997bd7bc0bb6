use std::{fs, path::Path, time::Duration};

use lakehouse_types::{Code, DatasetName, Fault};
use serde_json::json;

use super::{AccessFile, AccessFileError, AccessWatch, Reading};
use crate::{AccessReload, keys::tests::Door};

const LINE: &str = "[[grant]]\nkey = \"ada\"\ndataset = \"a\"\nverbs = [\"read\"]\n";

async fn ada() -> (Door, String) {
    let door = Door::new().await;
    let key = door.create(json!({"name": "ada", "role": "reader"})).await.unwrap().key;
    (door, key)
}

fn may_read(door: &Door, key: &str, dataset: &str) -> bool {
    door.keys.authenticate(key).unwrap().may_read_dataset(&DatasetName::new(dataset).unwrap())
}

async fn edit(watch: &mut AccessWatch, path: &Path, text: &str) -> AccessReload {
    fs::write(path, text).unwrap();
    tokio::time::timeout(Duration::from_secs(20), watch.next()).await.expect("the edit comes into force")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_grants_nothing_and_a_bad_one_keeps_a_host_from_starting() {
    let (door, key) = ada().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.toml");
    let file = AccessFile::open(&path, door.keys.clone()).await.unwrap();
    assert_eq!((file.status().grants, file.status().error, file.status().file.as_str()), (0, None, "access.toml"));
    assert!(!may_read(&door, &key, "a"));

    fs::write(&path, "[[grant]]\nkey = 3\n").unwrap();
    let error = AccessFile::open(&path, door.keys.clone()).await.unwrap_err();
    assert!(matches!(&error, AccessFileError::Invalid { line: 2, .. }) && error.code() == Code::InvalidDefinition, "{error}");
    fs::write(&path, "#".repeat((4 << 20) + 1)).unwrap();
    let error = AccessFile::open(&path, door.keys.clone()).await.unwrap_err();
    assert!(matches!(error, AccessFileError::TooLarge { .. }), "{error}");
    fs::write(&path, [0xff, 0xfe]).unwrap();
    let error = AccessFile::open(&path, door.keys.clone()).await.unwrap_err();
    assert!(matches!(error, AccessFileError::Read { .. }), "{error}");
    assert!(!error.public().contains(folder.path().to_str().unwrap()), "{}", error.public());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_edit_leaves_the_old_grants_and_is_told() {
    let (door, key) = ada().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.toml");
    fs::write(&path, LINE).unwrap();
    let file = AccessFile::open(&path, door.keys.clone()).await.unwrap();
    assert!(may_read(&door, &key, "a"));

    fs::write(&path, LINE.replace("dataset", "datset")).unwrap();
    assert!(file.reload().await.is_err());
    let status = file.status();
    let told = status.error.unwrap();
    assert!(told.contains("access.toml:3: unknown field `datset`"), "{told}");
    assert!(status.revision == 1 && status.grants == 1 && may_read(&door, &key, "a"));

    fs::remove_file(&path).unwrap();
    assert!(matches!(file.reload().await.unwrap_err(), AccessFileError::Gone { .. }), "a file that vanished is an accident");
    assert!(may_read(&door, &key, "a") && file.status().error.is_some());

    fs::write(&path, "").unwrap();
    let reload = file.reload().await.unwrap();
    assert_eq!((reload.status.revision, reload.status.error, reload.changed.len()), (2, None, 1));
    assert!(!may_read(&door, &key, "a"), "grants may be taken away on purpose");
    fs::remove_file(&path).unwrap();
    file.reload().await.expect("an empty file that goes takes nothing with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn saved_changes_come_into_force_by_themselves() {
    let (door, key) = ada().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.toml");
    let file = AccessFile::open(&path, door.keys.clone()).await.unwrap();
    let mut watch = file.watch(Duration::from_millis(20));

    let reload = edit(&mut watch, &path, LINE).await;
    assert_eq!((reload.status.grants, reload.changed), (1, vec!["ada".parse().unwrap()]));
    assert!(may_read(&door, &key, "a"));
    let let_in = door.keys.authenticate(&key).unwrap();

    fs::write(&path, "broken [").unwrap();
    let refused = async {
        while file.status().error.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        reload = watch.next() => panic!("{reload:?}"),
        ended = tokio::time::timeout(Duration::from_secs(20), refused) => ended.expect("it is told"),
    }
    assert!(may_read(&door, &key, "a") && door.keys.still_admits(&let_in));

    let reload = edit(&mut watch, &path, &LINE.replace("\"a\"", "\"b\"")).await;
    assert_eq!((reload.status.error, reload.status.revision), (None, 3));
    assert!(may_read(&door, &key, "b") && !may_read(&door, &key, "a"));
    assert!(!door.keys.still_admits(&let_in), "what it was let in with is gone");

    let text = LINE.replace("ada", "later");
    let reload = edit(&mut watch, &path, &text).await;
    assert_eq!((file.unknown_keys(), reload.changed.len()), (vec!["later".parse().unwrap()], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_applied_when_it_has_stood_still_and_only_once() {
    let (door, _) = ada().await;
    let folder = tempfile::tempdir().unwrap();
    let file = AccessFile::open(folder.path().join("access.toml"), door.keys.clone()).await.unwrap();
    let found = |text: &str| Reading::Found(text.into());
    file.shared.lock().handled = found("old");
    let mut watch = file.watch(Duration::from_secs(1));
    assert_eq!(watch.settle(found("old")), None);
    assert_eq!(watch.settle(found("")), None, "half written");
    assert_eq!(watch.settle(found("new")), None);
    assert_eq!(watch.settle(found("new")), Some(found("new")));
    file.shared.lock().handled = found("new");
    assert_eq!(watch.settle(found("new")), None);
    assert_eq!(watch.settle(Reading::Missing), None);
    assert_eq!(watch.settle(found("new")), None, "it came back");
    assert_eq!(watch.settle(Reading::Missing), None, "counted afresh");
}
