//! Rows of some keys, dropped alone.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_dropped_alone() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 10)]).await.unwrap();
    host.write("people", vec![rows(10, 20)]).await.unwrap();
    host.hide("people", &["C-000003", "C-000013"]).await;
    let keys = Arc::new(crate::Tombstones::new(None, ["C-000003", "C-000004", "C-none"]));
    let scope = Scope::Erase { column: column("code"), keys, number: 1, gate: None };
    let report = host.tables.compact(&stamp(), &name("people"), scope, Arc::new(Unwatched)).await.unwrap();
    assert_eq!((report.files_rewritten, report.rows_dropped_by_tombstones, report.tombstones_applied), (1, 2, 1));
    let state = host.tables.state(&name("people")).unwrap();
    assert_eq!((state.rows, state.hidden, state.tombstones.keys().count()), (18, 1, 1));
    drop(state);
    // The number is there whether or not a row was, and outlives the log.
    let scope =
        Scope::Erase { column: column("code"), keys: Arc::new(crate::Tombstones::new(None, ["C-none"])), number: 2, gate: None };
    let report = host.tables.compact(&stamp(), &name("people"), scope, Arc::new(Unwatched)).await.unwrap();
    assert_eq!((report.files_rewritten, report.version), (0, 3));
    host.tables.purge(&name("people")).await.unwrap();
    host.write("people", vec![rows(20, 21)]).await.unwrap();
    let host = host.restart(&directory).await;
    assert_eq!(host.visible().await.len(), 18);
    assert_eq!(host.tables.erasures(&name("people")).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_stay_until_the_gate_is_open() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 10)]).await.unwrap();
    let keys = Arc::new(crate::Tombstones::new(None, ["C-000003"]));
    let compact = |gate: crate::Gate| {
        let (tables, keys) = (Arc::clone(&host.tables), Arc::clone(&keys));
        let scope = Scope::Erase { column: column("code"), keys, number: 1, gate: Some(gate) };
        tokio::spawn(async move { tables.compact(&stamp(), &name("people"), scope, Arc::new(Unwatched)).await })
    };
    let (keeper, gate) = crate::GateKeeper::new();
    let shut = compact(gate);
    assert!(eventually(async || host.data_files().len() == 2).await, "it is written anew");
    drop(keeper);
    assert!(matches!(shut.await.unwrap(), Err(TableError::Cancelled { .. })));
    assert_eq!((host.number("SELECT count(*) FROM people").await, host.data_files().len()), (10, 1));
    let (keeper, gate) = crate::GateKeeper::new();
    let opened = compact(gate);
    assert!(eventually(async || host.data_files().len() == 2).await);
    assert_eq!(host.number("SELECT count(*) FROM people").await, 10);
    keeper.open();
    opened.await.unwrap().unwrap();
    assert_eq!(host.number("SELECT count(*) FROM people").await, 9);
}
