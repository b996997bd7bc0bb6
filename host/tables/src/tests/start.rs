//! What a start finishes, undoes, sweeps, refuses and leaves alone.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_write_is_finished_if_the_log_has_it_and_undone_if_not() {
    for existing in [false, true] {
        for committed in [false, true] {
            let directory = TempDir::new().unwrap();
            let host = Host::open(&directory).await;
            let before = if existing { 10 } else { 0 };
            if existing {
                host.write("people", vec![rows(0, 10)]).await.unwrap();
            }
            interrupt(&host, committed, "people").await;
            assert_eq!(host.meta.collection::<Intent>().all().await.unwrap().len(), 1);
            let host = host.restart(&directory).await;
            assert_eq!(host.meta.collection::<Intent>().all().await.unwrap().len(), 0);
            let expected = before + if committed { 10 } else { 0 };
            let rows = host.tables.dataset(&name("people")).map_or(0, |state| state.rows);
            assert_eq!(rows, expected, "existing {existing}, committed {committed}");
            assert_eq!(host.ingests().await, usize::from(existing) + usize::from(committed));
            if expected > 0 {
                assert_eq!(host.number("SELECT count(id) FROM people").await as u64, expected);
            } else {
                // The place in the log that an earlier host does not find free, should it still live.
                assert_eq!(host.files(), ["00000000000000000000.json"]);
            }
            host.write("people", vec![super::rows(0, 1)]).await.unwrap();
            let host = host.restart(&directory).await;
            assert_eq!(host.number("SELECT count(id) FROM people").await as u64, expected + 1, "a second start changes nothing");
            let folders = std::fs::read_dir(directory.path().join("primary").join(DATASETS)).unwrap().count();
            assert_eq!(folders, 1, "and sweeps what the first one fenced");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_catalog_has_is_never_swept() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 10)]).await.unwrap();
    let state = host.tables.dataset(&name("people")).unwrap();
    let intent = Intent {
        by: (&stamp()).into(),
        dataset: name("people"),
        id: state.id.clone(),
        bucket: state.bucket.clone(),
        stage: Stage::Dropping,
    };
    drop(state);
    let mut transaction = host.meta.begin().await.unwrap();
    transaction.put(&crate::folder::drop_key(&intent.id), &intent).unwrap();
    transaction.commit().await.unwrap();
    let host = host.restart(&directory).await;
    assert_eq!(host.number("SELECT count(id) FROM people").await, 10);
    assert_eq!(host.meta.collection::<Intent>().all().await.unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_deletion_is_finished() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 10)]).await.unwrap();
    let pinned = host.tables.dataset(&name("people")).unwrap();
    host.tables.drop_dataset(&stamp(), &name("people")).await.unwrap();
    assert!(matches!(host.meta.collection::<Intent>().all().await.unwrap()[0].1.stage, Stage::Dropping));
    // A killed host drops nothing.
    std::mem::forget(pinned);
    let stray: Bucket = host.buckets.primary();
    let path = object_store_13::path::Path::from("datasets/stray/part.parquet");
    object_store_13::ObjectStoreExt::put(&stray.compat(), &path, "x".into()).await.unwrap();
    assert_eq!(delete_all(&stray, &"datasets/none".into(), "").await.unwrap(), 0);
    let repaired = Arc::clone(&host.tables);
    repaired.repair().await.unwrap();
    assert_eq!(host.files(), Vec::<String>::new(), "the dropped files and the stray one are gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_superseded_sweeps_nothing_of_its_successor() {
    let directory = TempDir::new().unwrap();
    let old = Host::open(&directory).await;
    old.write("people", vec![rows(0, 10)]).await.unwrap();
    let new = Host::open_as(specs(&directory), Claim::TakeOver).await;
    // What a first write of the successor has put there so far.
    let begun = directory.path().join("primary").join(DATASETS).join("begun");
    std::fs::create_dir_all(&begun).unwrap();
    std::fs::write(begun.join("part.parquet"), "x").unwrap();
    let error = Arc::clone(&old.tables).repair().await.unwrap_err();
    assert!(matches!(&error, TableError::Storage(error) if error.is_fenced()), "{error:?}");
    assert!(begun.exists(), "what it took for litter is not its own");
    Arc::clone(&new.tables).repair().await.unwrap();
    assert!(!begun.exists());
    assert_eq!(new.number("SELECT count(id) FROM people").await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_catalog_sweeps_no_datasets() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    write(&host.tables, WriteSpec { bucket: Some(BucketName::new("other").unwrap()), ..spec("far") }, vec![rows(0, 3)])
        .await
        .unwrap();
    host.stop(&directory).await;
    let (primary, away) = (directory.path().join("primary"), directory.path().join("away"));
    std::fs::rename(&primary, &away).unwrap();
    let stray = directory.path().join("other").join(DATASETS).join("stray");
    std::fs::create_dir_all(&stray).unwrap();
    std::fs::write(stray.join("part.parquet"), "x").unwrap();
    let host = Host::open(&directory).await;
    assert!(host.tables.datasets().is_empty());
    assert!(stray.exists(), "nothing is swept where a table is that the catalog does not know");
    host.stop(&directory).await;
    std::fs::remove_dir_all(&primary).unwrap();
    std::fs::rename(&away, &primary).unwrap();
    let host = Host::open(&directory).await;
    assert_eq!(host.number("SELECT count(id) FROM far").await, 3);
    assert!(!stray.exists(), "what no dataset has is swept by the right catalog");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_the_catalog_does_not_know_is_never_swept() {
    let (directory, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let theirs = Host::open(&elsewhere).await;
    write(&theirs.tables, in_bucket("other", spec("theirs")), vec![rows(0, 7)]).await.unwrap();
    let foreign = theirs.folder("theirs");
    theirs.stop(&elsewhere).await;

    let host = Host::open(&directory).await;
    host.write("ours", vec![rows(0, 3)]).await.unwrap();
    let stray = |bucket: &str| directory.path().join(bucket).join(DATASETS).join("stray");
    host.stop(&directory).await;
    let guest = directory.path().join("other").join(DATASETS).join(foreign.file_name().unwrap());
    copy(&foreign, &guest);
    for bucket in ["primary", "other"] {
        std::fs::create_dir_all(stray(bucket)).unwrap();
        std::fs::write(stray(bucket).join("part.parquet"), "x").unwrap();
    }

    let host = Host::open(&directory).await;
    assert_eq!(host.number("SELECT count(id) FROM ours").await, 3);
    let files = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(files(&guest), files(&foreign));
    assert!(!stray("primary").exists(), "what a write of this host left goes");
    assert!(stray("other").exists(), "a bucket with a stranger's table is left alone");

    // The other host finds its table again.
    host.stop(&directory).await;
    std::fs::remove_dir_all(&foreign).unwrap();
    copy(&guest, &foreign);
    assert_eq!(Host::open(&elsewhere).await.number("SELECT count(id) FROM theirs").await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_younger_than_the_catalog_is_never_swept() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("old", vec![rows(0, 3)]).await.unwrap();
    host.stop(&directory).await;
    let (meta, backup) = (directory.path().join("primary").join("_meta"), directory.path().join("backup"));
    copy(&meta, &backup);
    let host = Host::open(&directory).await;
    host.write("young", vec![rows(0, 5)]).await.unwrap();
    let young = host.folder("young");
    host.stop(&directory).await;
    let newest = directory.path().join("newest");
    std::fs::rename(&meta, &newest).unwrap();
    copy(&backup, &meta);
    let host = Host::open(&directory).await;
    assert_eq!(host.tables.datasets().len(), 1);
    assert!(young.join("_delta_log").exists());
    host.stop(&directory).await;
    std::fs::remove_dir_all(&meta).unwrap();
    std::fs::rename(&newest, &meta).unwrap();
    let host = Host::open(&directory).await;
    assert_eq!(host.number("SELECT count(id) FROM young").await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_name_was_taken_leaves_an_intent_to_delete_its_folder() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("base", vec![rows(0, 3)]).await.unwrap();
    let mut writer = begin(&host.tables, spec("taken")).await.unwrap();
    writer.write(rows(0, 5)).await.unwrap();
    let (folder, table) = (host.folder("taken"), host.tables.table(&name("taken")).unwrap());
    host.put_view("taken", "base").await;
    assert_eq!(writer.finish(Vec::new(), 0).await.unwrap_err().code(), Code::AlreadyExists);
    assert!(folder.join("_delta_log").exists(), "the commit was in the log");
    let [intent] = &host.intents().await[..] else { panic!("one intent") };
    assert!(matches!(intent.stage, Stage::Dropping) && intent.id == table.folder.id(), "{intent:?}");
    // A killed host drops nothing.
    std::mem::forget(table);
    Arc::clone(&host.tables).repair().await.unwrap();
    assert!(!folder.exists());
    assert_eq!(host.intents().await.len(), 0);
    assert_eq!(host.number("SELECT count(id) FROM base").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_memory_go_with_the_host_and_nothing_else_does() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("kept", vec![rows(0, 3)]).await.unwrap();
    let request = || WriteSpec { key: Some(column("id")), ..in_bucket("scratch", idempotent("passing", "once")) };
    assert!(!write(&host.tables, request(), vec![rows(0, 10)]).await.unwrap().is_repeat);
    assert!(write(&host.tables, request(), vec![rows(0, 10)]).await.unwrap().is_repeat);
    host.tables.bury(&stamp(), &name("passing"), &column("id"), vec![json!(1)], None, String::new()).await.unwrap();
    host.put_view("passing_view", "passing").await;

    let host = host.restart(&directory).await;
    assert_eq!(host.number("SELECT count(id) FROM kept").await, 3);
    assert!(host.catalog.snapshot().dataset(&name("passing")).is_ok());
    let lost = host.tables.state(&name("passing")).unwrap_err();
    assert_eq!(lost.code(), Code::UnknownDataset);
    assert!(lost.public().contains("`scratch`") && lost.public().contains("memory"), "{}", lost.public());
    let elsewhere = write(&host.tables, in_bucket("other", spec("passing")), vec![rows(0, 1)]).await.unwrap_err();
    assert_eq!(elsewhere.code(), Code::BucketMismatch);
    let other_key = WriteSpec { key: Some(column("code")), ..spec("passing") };
    assert_eq!(host.tables.begin(other_key).await.unwrap_err().code(), Code::KeyColumnMismatch);

    // What was buried stays buried, and an answer of rows that are gone is not repeated.
    let report = write(&host.tables, request(), vec![rows(0, 4)]).await.unwrap();
    assert_eq!((report.rows, report.version, report.tombstoned_keys, report.is_repeat), (4, 0, 1, false));
    let state = host.tables.state(&name("passing")).unwrap();
    assert_eq!((state.rows, state.visible_rows(), state.tombstones.column.clone()), (4, 3, Some(column("id"))));
    assert!(state.tombstones.contains("1"));
    drop(state);
    host.write("passing", vec![rows(0, 2)]).await.unwrap();
    assert_eq!(host.tables.state(&name("passing")).unwrap().visible_rows(), 4);

    let host = host.restart(&directory).await;
    assert_eq!(host.tables.drop_dataset(&stamp(), &name("passing")).await.unwrap_err().code(), Code::InUse);
    let view = "passing_view".parse().unwrap();
    host.catalog.edit::<_, TableError>(&stamp(), |_, edit| Ok(edit.remove_view(&view)?)).await.unwrap();
    host.tables.drop_dataset(&stamp(), &name("passing")).await.unwrap();
    let gone = host.tables.drop_dataset(&stamp(), &name("passing")).await.unwrap_err();
    assert_eq!(gone.public(), "dataset `passing` does not exist");
    let host = host.restart(&directory).await;
    assert_eq!((host.catalog.snapshot().datasets.len(), host.intents().await.len()), (1, 0));
    assert_eq!(write(&host.tables, request(), vec![rows(0, 4)]).await.unwrap().tombstoned_keys, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_be_read_is_refused_by_name_and_costs_no_other() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    for dataset in ["whole", "broken", "doomed"] {
        host.write(dataset, vec![rows(0, 3)]).await.unwrap();
    }
    // A write that a start would finish waits, too.
    interrupt(&host, true, "broken").await;
    let log = |dataset: &str| host.folder(dataset).join("_delta_log/00000000000000000000.json");
    let (broken, doomed, doomed_folder) = (log("broken"), log("doomed"), host.folder("doomed"));
    let text = std::fs::read_to_string(&broken).unwrap();
    std::fs::write(&broken, &text[..text.len() / 2]).unwrap();
    std::fs::remove_file(doomed).unwrap();
    std::fs::write(doomed_folder.join("_delta_log/00000000000000000007.json"), "{}").unwrap();

    let host = host.restart(&directory).await;
    assert_eq!(host.number("SELECT count(id) FROM whole").await, 3);
    for dataset in ["broken", "doomed"] {
        let told = host.tables.state(&name(dataset)).unwrap_err();
        assert_eq!((told.code(), told.kind()), (Code::Corrupt, ErrorKind::Bug));
        assert!(told.public().contains(dataset) && told.public().contains("Delta log"), "{}", told.public());
        assert!(!format!("{told:?}").contains("C-00000"), "no value is told: {told:?}");
        assert_eq!(host.write(dataset, vec![rows(0, 1)]).await.unwrap_err().code(), Code::Corrupt);
        let buried = host.tables.bury(&stamp(), &name(dataset), &column("id"), vec![json!(1)], None, String::new()).await;
        assert_eq!(buried.unwrap_err().code(), Code::Corrupt);
    }
    assert_eq!(host.intents().await.len(), 1, "the write waits");
    host.tables.drop_dataset(&stamp(), &name("doomed")).await.unwrap();
    assert!(eventually(async || !doomed_folder.exists()).await, "a table that cannot be read can be deleted");

    std::fs::write(&broken, text).unwrap();
    let host = host.restart(&directory).await;
    assert_eq!(host.number("SELECT count(id) FROM broken").await, 13, "the table and the write are there");
    assert_eq!((host.intents().await.len(), host.tables.datasets().len()), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_declared_takes_its_datasets_away_and_brings_them_back_whole() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("near", vec![rows(0, 3)]).await.unwrap();
    write(&host.tables, in_bucket("other", spec("far")), vec![rows(0, 4)]).await.unwrap();
    interrupt(&host, true, "far").await;
    // And a deletion that was interrupted.
    let ghost = directory.path().join("other").join(DATASETS).join("ghost");
    std::fs::create_dir_all(&ghost).unwrap();
    std::fs::write(ghost.join("part.parquet"), "x").unwrap();
    let bucket = BucketName::new("other").unwrap();
    let intent =
        Intent { by: (&stamp()).into(), dataset: name("dropped"), id: "ghost".to_owned(), bucket, stage: Stage::Dropping };
    let mut transaction = host.meta.begin().await.unwrap();
    transaction.put(&crate::folder::drop_key("ghost"), &intent).unwrap();
    transaction.commit().await.unwrap();
    let intents = host.intents().await.len();
    let before = files_under(&directory.path().join("other"));
    host.stop(&directory).await;

    for _ in 0..2 {
        let fewer = specs(&directory).into_iter().filter(|spec| spec.name.as_str() != "other").collect();
        let host = Host::open_with(fewer).await;
        assert_eq!(host.number("SELECT count(id) FROM near").await, 3);
        let missing =
            |error: &TableError| matches!(error, TableError::BucketMissing { .. }) && error.code() == Code::BucketMissing;
        assert!(missing(&host.tables.state(&name("far")).unwrap_err()));
        assert!(missing(&host.write("far", vec![rows(0, 1)]).await.unwrap_err()));
        assert!(missing(&host.tables.drop_dataset(&stamp(), &name("far")).await.unwrap_err()));
        assert!(host.tables.datasets().iter().all(|state| state.name != name("far")));
        assert_eq!(host.intents().await.len(), intents, "what is to be finished there waits");
        host.stop(&directory).await;
        assert_eq!(files_under(&directory.path().join("other")), before);
    }

    let host = Host::open(&directory).await;
    assert_eq!(host.number("SELECT count(id) FROM far").await, 14, "and the interrupted write is finished");
    assert_eq!(host.intents().await.len(), 0);
    assert!(!ghost.exists(), "so is the deletion");
    host.write("far", vec![rows(0, 1)]).await.unwrap();
}

fn files_under(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_whose_record_says_data_or_local_is_in_the_primary_bucket() {
    for legacy in ["data", "local"] {
        let directory = TempDir::new().unwrap();
        let host = Host::open(&directory).await;
        host.write("old", vec![rows(0, 3)]).await.unwrap();
        let mut record = DatasetRecord::clone(host.catalog.snapshot().dataset(&name("old")).unwrap());
        record.bucket = BucketName::new(legacy).unwrap();
        let mut transaction = host.meta.begin().await.unwrap();
        transaction.put("old", &record).unwrap();
        transaction.commit().await.unwrap();
        let host = host.restart(&directory).await;
        assert_eq!(host.number("SELECT count(id) FROM old").await, 3);
        assert_eq!(host.tables.state(&name("old")).unwrap().bucket, BucketName::primary());
        host.write("old", vec![rows(0, 1)]).await.unwrap();
        let migrated = host.catalog.migrate_buckets(&stamp(), |name| host.buckets.is_legacy_primary(name)).await.unwrap();
        assert_eq!((migrated.renamed, migrated.total), (1, 1));
    }
}

/// What the library says of a commit that is none quotes it; what we say does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_somebody_breaks_is_told_by_kind_and_not_by_what_stands_in_it() {
    const MARK: &str = "HUSH";
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 3)]).await.unwrap();
    let folder = host.folder("people");
    let commit = format!(r#"{{"add":{{"path":"{MARK}","partitionValues":{{}},"size":"{MARK}"}}}}"#);
    std::fs::write(folder.join("_delta_log/00000000000000000001.json"), commit).unwrap();

    let url = url::Url::from_directory_path(&folder).unwrap();
    let library = deltalake_core::open_table(url).await.unwrap_err();
    assert!(told(&library).contains(MARK), "the library quotes it: {}", told(&library));
    let table = host.tables.table(&name("people")).unwrap();
    let ours = table.log.load().await.unwrap_err();
    assert!(matches!(ours, TableError::Delta { .. }), "{ours:?}");
    let text = format!("{} {ours:?}", told(&ours));
    assert!(text.contains("Quiet(") && !text.contains(MARK), "{text}");
}

/// An error and its causes, as the log has them.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
