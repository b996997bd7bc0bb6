//! Appends that share a commit, or meet another one.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn appends_that_wait_together_share_a_commit_and_keep_their_own_outcomes() {
    const WRITERS: usize = 24;
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 1)]).await.unwrap();
    // All are ready before the first may go on.
    let table = host.tables.table(&name("people")).unwrap();
    let queue = table.queue().await.unwrap();
    let actor = |n: usize| Actor::new(format!("writer-{n}")).unwrap();
    let idempotency = |n: usize| Some(Idempotency { key: format!("key-{n}"), fingerprint: "f".to_owned() });
    let writing: Vec<_> = (1..=WRITERS)
        .map(|n| {
            let tables = Arc::clone(&host.tables);
            let spec = WriteSpec { by: Stamp { actor: actor(n), ..stamp() }, idempotency: idempotency(n), ..spec("people") };
            tokio::spawn(async move {
                // One of them brings a column of its own, one a type that does not fit.
                let column = |name: &str, values: ArrayRef| RecordBatch::try_from_iter_with_nullable([(name, values, true)]);
                let batch = match n {
                    7 => column("extra", Arc::new(Int64Array::from(vec![7]))),
                    8 => column("id", Arc::new(StringArray::from(vec!["x"]))),
                    _ => Ok(rows(n as i64, n as i64 + 1)),
                };
                write(&tables, spec, vec![batch.unwrap()]).await
            })
        })
        .collect();
    assert!(eventually(async || table.ready.lock().len() == WRITERS - 1).await, "{}", table.ready.lock().len());
    drop(queue);
    let mut versions = std::collections::BTreeSet::new();
    for (n, writer) in (1..=WRITERS).zip(writing) {
        match writer.await.unwrap() {
            Ok(report) => {
                assert_eq!(report.rows, 1);
                versions.insert(report.version);
            }
            Err(error) => assert!(n == 8 && matches!(error, TableError::SchemaConflict { .. }), "{n}: {error}"),
        }
    }
    assert!(versions.len() <= 3, "{versions:?}");
    assert_eq!(host.number("SELECT count(*) FROM people").await, WRITERS as i64);
    assert_eq!(host.number("SELECT count(DISTINCT id) FROM people").await, WRITERS as i64 - 1, "one has no id");
    let data = host.files().iter().filter(|name| name.ends_with(".snappy.parquet")).count();
    assert!(data <= 4, "the rows of those that went together are in one file: {data}");
    // Each has its event under its own name, and its own answer.
    for n in (1..=WRITERS).filter(|n| *n != 8) {
        let filter = Filter { actor: Some(actor(n)), ..Filter::default() };
        assert_eq!(host.journal.events(&filter, None, 10).await.unwrap().events.len(), 1, "{n}");
        let again = WriteSpec { by: Stamp { actor: actor(n), ..stamp() }, idempotency: idempotency(n), ..spec("people") };
        assert!(matches!(host.tables.begin(again).await.unwrap(), Begin::Replayed(report) if report.rows == 1), "{n}");
    }
    drop(table);
    assert_eq!(host.intents().await.len(), 0);
    let host = host.restart(&directory).await;
    assert_eq!(host.number("SELECT count(*) FROM people").await, WRITERS as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commits_are_gathered_in_checkpoints() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    let write = async |host: &Host, ids: std::ops::Range<i64>| {
        for n in ids {
            host.write("people", vec![rows(n, n + 1)]).await.unwrap();
        }
    };
    // However often the host starts anew.
    write(&host, 0..40).await;
    let host = host.restart(&directory).await;
    write(&host, 40..80).await;
    let folder = host.folder("people").join("_delta_log");
    let is_there = || folder.join("_last_checkpoint").exists();
    assert!(eventually(async || is_there()).await);
    assert_eq!(host.number("SELECT count(DISTINCT id) FROM people").await, 80);
    let version = host.tables.dataset(&name("people")).unwrap().version;
    let host = host.restart(&directory).await;
    assert_eq!(host.number("SELECT count(DISTINCT id) FROM people").await, 80);
    let state = host.tables.dataset(&name("people")).unwrap();
    assert_eq!((state.version, state.rows), (version, 80));
    host.write("people", vec![rows(80, 81)]).await.unwrap();
    assert_eq!(host.number("SELECT count(DISTINCT id) FROM people").await, 81);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_a_replacement_overtook_brings_nothing_back() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    let only = |ids: ArrayRef| RecordBatch::try_from_iter_with_nullable([("id", ids, true)]).unwrap();
    let integers = || only(Arc::new(Int64Array::from(vec![1, 2])));
    let texts = || only(Arc::new(StringArray::from(vec!["x"])));
    for (dataset, replacement) in [("narrowed", integers()), ("retyped", texts())] {
        host.write(dataset, vec![rows(0, 3)]).await.unwrap();
        let mut late = begin(&host.tables, spec(dataset)).await.unwrap();
        late.write(integers()).await.unwrap();
        let replace = WriteSpec { mode: WriteMode::Replace, ..spec(dataset) };
        let replaced = write(&host.tables, replace, vec![replacement.clone()]).await.unwrap();
        let error = late.finish(Vec::new(), 0).await.unwrap_err();
        assert!(matches!(error, TableError::Gone { .. }), "{dataset}: {error:?}");
        let state = host.tables.dataset(&name(dataset)).unwrap();
        assert_eq!((state.columns(), state.version), (replaced.columns, replaced.version), "{dataset}");
        assert_eq!(host.write(dataset, vec![replacement]).await.unwrap().version, 2, "it may be tried again");
    }
    // One that keeps all columns is no obstacle.
    host.write("kept", vec![rows(0, 3)]).await.unwrap();
    let mut late = begin(&host.tables, spec("kept")).await.unwrap();
    late.write(rows(5, 7)).await.unwrap();
    write(&host.tables, WriteSpec { mode: WriteMode::Replace, ..spec("kept") }, vec![rows(3, 5)]).await.unwrap();
    late.finish(Vec::new(), 0).await.unwrap();
    assert_eq!(host.number("SELECT sum(id) FROM kept").await, 3 + 4 + 5 + 6);
}
