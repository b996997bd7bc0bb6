use std::{fs, path::Path, sync::mpsc, time::Duration};

use lakehouse_types::{Code, Fault};

use super::Truth;
use crate::TruthError;

fn rule(id: &str) -> String {
    format!("[[rule]]\nid = \"{id}\"\ntask_class = \"fill\"\ncondition = {{ always = true }}\n")
}

fn ids(truth: &Truth) -> Vec<String> {
    truth.rules(None).iter().map(|rule| rule.id.to_string()).collect()
}

fn write(dir: &Path, file: &str, text: &str) {
    fs::write(dir.join(file), text).unwrap();
}

#[tokio::test]
async fn only_toml_files_that_are_not_hidden_are_rules() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "b.toml", &rule("two"));
    write(dir.path(), "a.toml", &rule("one"));
    write(dir.path(), "a.toml~", "broken [");
    write(dir.path(), ".c.toml", "broken [");
    fs::create_dir(dir.path().join("d.toml")).unwrap();
    let truth = Truth::open(dir.path()).await.unwrap();
    assert_eq!(ids(&truth), ["one", "two"]);
    assert_eq!(truth.rules(Some("fill")).len(), 2);
    assert!(truth.rules(Some("other")).is_empty());
    let status = truth.status();
    assert_eq!((status.rules, status.files, status.revision, status.error), (2, 2, 1, None));
}

#[tokio::test]
async fn a_host_never_starts_on_broken_rules() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.toml", "[[rule]]\nid = 3\n");
    let error = Truth::open(dir.path()).await.unwrap_err();
    assert!(matches!(&error, TruthError::Invalid { line: 2, .. }), "{error}");
    assert_eq!(error.code(), Code::InvalidDefinition);
    write(dir.path(), "a.toml", &"#".repeat((8 << 20) + 1));
    assert!(matches!(Truth::open(dir.path()).await.unwrap_err(), TruthError::TooLarge { .. }));
    fs::write(dir.path().join("a.toml"), [0xff, 0xfe]).unwrap();
    assert!(matches!(Truth::open(dir.path()).await.unwrap_err(), TruthError::Read { .. }));
}

#[tokio::test]
async fn a_bad_edit_leaves_the_old_rules_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.toml", &rule("one"));
    let truth = Truth::open(dir.path()).await.unwrap();

    write(dir.path(), "a.toml", "[[rule]]\nid = \"one\"\ntask_clas = \"fill\"\n");
    assert!(truth.reload().await.is_err());
    assert_eq!(ids(&truth), ["one"]);
    let told = truth.status().error.unwrap();
    assert!(told.contains("a.toml:3: unknown field `task_clas`"), "{told}");

    fs::remove_dir_all(dir.path()).unwrap();
    assert!(matches!(truth.reload().await.unwrap_err(), TruthError::Gone { .. }), "a folder that vanished is an accident");
    assert_eq!(ids(&truth), ["one"]);

    fs::create_dir(dir.path()).unwrap();
    write(dir.path(), "a.toml", &rule("three"));
    assert_eq!(truth.reload().await.unwrap().error, None);
    assert_eq!((ids(&truth), truth.status().revision), (vec!["three".to_owned()], 2));
    write(dir.path(), "a.toml", "");
    truth.reload().await.unwrap();
    assert!(ids(&truth).is_empty(), "rules may be taken away on purpose");
}

#[tokio::test(flavor = "multi_thread")]
async fn saved_changes_come_into_force_by_themselves() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("truth");
    let truth = Truth::open(&dir).await.unwrap();
    assert_eq!(truth.status().rules, 0, "no folder, no rules");

    let (told, changes) = mpsc::channel();
    let watched = truth.clone();
    let watch = tokio::spawn(async move {
        watched.watch(Duration::from_millis(20), move |status| told.send(status.clone()).unwrap()).await;
    });
    let changes = std::sync::Arc::new(std::sync::Mutex::new(changes));
    let next = || {
        let changes = changes.clone();
        async move {
            let wait = move || changes.lock().unwrap().recv_timeout(Duration::from_secs(20)).unwrap();
            tokio::task::spawn_blocking(wait).await.unwrap()
        }
    };

    fs::create_dir(&dir).unwrap();
    assert_eq!(next().await.files, 0);
    write(&dir, "a.toml", &rule("one"));
    assert_eq!(next().await.rules, 1);
    assert_eq!(ids(&truth), ["one"]);
    write(&dir, "a.toml", "broken [");
    assert!(next().await.error.is_some());
    assert_eq!(ids(&truth), ["one"]);
    write(&dir, "a.toml", &rule("one"));
    assert_eq!(next().await.error, None, "back to what is in force");
    write(&dir, "b.toml", &rule("two"));
    assert_eq!(next().await.rules, 2);
    watch.abort();
}
