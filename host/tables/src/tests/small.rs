//! Writes that stay in memory until they are committed, and versions that follow from what was committed.

use super::*;

/// What a table says of itself, and what its log says of it.
async fn both(host: &Host, dataset: &str) -> (crate::DatasetState, Arc<crate::DatasetState>) {
    let table = host.tables.table(&name(dataset)).unwrap();
    let present = table.state().unwrap();
    let loaded = table.log.load().await.unwrap();
    let anew = crate::DatasetState::new(
        table.name.clone(),
        Arc::clone(&table.folder),
        loaded,
        Arc::clone(&present.tombstones),
        present.hidden,
        None,
    );
    (anew.unwrap(), present)
}

/// A version that follows from the one before is the one that a new host finds in the log.
#[tokio::test(flavor = "multi_thread")]
async fn what_follows_from_a_commit_is_what_its_log_says() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    let wider = RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from(vec![900])) as ArrayRef, true),
        ("extra", Arc::new(Float64Array::from(vec![0.5])) as ArrayRef, true),
    ]);
    let wider = wider.unwrap();
    let mode = |mode| WriteSpec { mode, key: Some(column("id")), ..spec("people") };
    let steps: Vec<(WriteSpec, Vec<RecordBatch>)> = vec![
        (spec("people"), vec![rows(0, 10)]),
        (spec("people"), vec![rows(10, 11)]),
        // Files of two schemas in one write, and one that is too large to be held.
        (spec("people"), vec![rows(11, 12), wider]),
        (spec("people"), vec![rows(1000, 50_000), rows(50_000, 50_001)]),
        (spec("people"), vec![rows(12, 13)]),
        // Takes out files that the log had, and such as were added since.
        (mode(WriteMode::Upsert), vec![rows(9, 13)]),
        (spec("people"), vec![rows(13, 14)]),
        (spec("people"), vec![rows(14, 15)]),
        (mode(WriteMode::Replace), vec![rows(0, 3)]),
        (spec("people"), vec![rows(3, 4)]),
    ];
    for (step, (spec, batches)) in steps.into_iter().enumerate() {
        write(&host.tables, spec, batches).await.unwrap();
        let (anew, present) = both(&host, "people").await;
        assert_eq!((anew.version, anew.rows, anew.bytes), (present.version, present.rows, present.bytes), "{step}");
        assert_eq!((&anew.schema, &anew.statistics), (&present.schema, &present.statistics), "{step}");
        let files = |state: &crate::DatasetState| format!("{:?}", state.files);
        assert_eq!(files(&anew), files(&present), "{step}");
    }
    assert_eq!(host.number("SELECT count(DISTINCT id) FROM people").await, 4);
    let host = host.restart(&directory).await;
    assert_eq!(host.number("SELECT count(DISTINCT id) FROM people").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_write_has_neither_file_nor_intent_before_it_is_committed() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 1)]).await.unwrap();
    let before = host.files();
    let mut writer = begin(&host.tables, spec("people")).await.unwrap();
    writer.write(rows(1, 100)).await.unwrap();
    let writer = writer.close().await.unwrap();
    assert_eq!((host.files(), host.intents().await.len()), (before.clone(), 0));
    drop(writer);
    let mut large = begin(&host.tables, spec("people")).await.unwrap();
    large.write(rows(1, 100)).await.unwrap();
    large.write(rows(100, 100_000)).await.unwrap();
    assert_eq!(host.intents().await.len(), 1);
    large.abort().await;
    assert_eq!((host.files(), host.intents().await.len()), (before, 0));
    // Killed with a durable intent, and files or none.
    for committed in [false, true] {
        interrupt(&host, committed, "people").await;
    }
    let host = host.restart(&directory).await;
    assert_eq!((host.number("SELECT count(*) FROM people").await, host.intents().await.len()), (11, 0));
}

/// A foreign writer has taken the next version: the append is put behind it, and has its rows, too.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_goes_behind_that_of_a_foreign_writer() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 1)]).await.unwrap();
    host.write("people", vec![rows(1, 2)]).await.unwrap();
    let log = host.folder("people").join("_delta_log");
    let version = host.tables.dataset(&name("people")).unwrap().version;
    let info = json!({ "commitInfo": { "timestamp": 1_700_000_000_000_i64, "operation": "WRITE" } });
    std::fs::write(log.join(format!("{:020}.json", version + 1)), format!("{info}\n")).unwrap();
    let report = host.write("people", vec![rows(2, 3)]).await.unwrap();
    assert_eq!(report.version, version + 2);
    let (anew, present) = both(&host, "people").await;
    assert_eq!((anew.version, anew.rows), (present.version, present.rows));
    assert_eq!(host.number("SELECT count(DISTINCT id) FROM people").await, 3);
}

/// A log that was shortened meanwhile, up to a version that this host has not seen, would take in a commit that nobody ever reads.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_to_a_log_that_was_shortened_meanwhile_is_refused() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 1)]).await.unwrap();
    let log = host.folder("people").join("_delta_log");
    let version = host.tables.dataset(&name("people")).unwrap().version;
    let entry = |version: u64| log.join(format!("{version:020}.json"));
    std::fs::rename(entry(version), entry(version + 5)).unwrap();
    host.write("people", vec![rows(1, 2)]).await.unwrap_err();
    assert!(!entry(version + 1).exists());
}

/// A commit is in the log though its answer was lost, and the log cannot be read just now: it is looked for later, and nothing is undone.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_may_be_there_is_never_undone() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 1)]).await.unwrap();
    host.write("people", vec![rows(1, 2)]).await.unwrap();
    let log = host.folder("people").join("_delta_log");
    let version = host.tables.dataset(&name("people")).unwrap().version;
    let entry = |version: u64| log.join(format!("{version:020}.json"));
    let mut writer = begin(&host.tables, spec("people")).await.unwrap();
    writer.write(rows(2, 3)).await.unwrap();
    let work = writer.disarm();
    let info = json!({ "commitInfo": { "timestamp": 1_700_000_000_000_i64, "operation": "WRITE", "lakehouseWrite": work.id } });
    std::fs::write(entry(version + 1), format!("{info}\n")).unwrap();
    let readable = std::fs::read(entry(version)).unwrap();
    std::fs::write(entry(version), b"damaged").unwrap();
    let error = work.commit(Vec::new(), 0).await.unwrap_err();
    assert!(matches!(error, TableError::OutcomeUnknown { .. }), "{error}");
    assert_eq!(host.intents().await.len(), 1);
    std::fs::write(entry(version), readable).unwrap();
    host.write("people", vec![rows(3, 4)]).await.unwrap();
    assert_eq!((host.intents().await.len(), host.ingests().await), (0, 4), "it is settled as done");
}
