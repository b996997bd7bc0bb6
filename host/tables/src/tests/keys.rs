//! Key columns, and the rows that tombstones hide.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_hide_by_text_form_and_tell_what_failed() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 10), rows(0, 1)]).await.unwrap();
    let values = vec![json!(0), json!("3"), json!(99), json!(null), json!(1.5), json!([1]), json!(3)];
    let burial = host.tables.bury(&stamp(), &name("people"), &column("id"), values, None, "asked".to_owned()).await.unwrap();
    assert_eq!(burial.rows_tombstoned, 3, "two rows have id 0");
    let reasons: Vec<_> = burial.failures.iter().map(|failure| failure.reason).collect();
    use FailureReason::{AlreadyTombstoned, InvalidValue, NotFound};
    assert_eq!(reasons, [NotFound, InvalidValue, InvalidValue, InvalidValue]);
    let again = host.tables.bury(&stamp(), &name("people"), &column("id"), vec![json!("0")], None, String::new()).await.unwrap();
    assert_eq!(again.failures[0].reason, AlreadyTombstoned);

    let host = host.restart(&directory).await;
    let state = host.tables.dataset(&name("people")).unwrap();
    assert_eq!((state.rows, state.visible_rows()), (11, 8));
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), Some(1), None, Some(3)]));
    assert_eq!(state.tombstones.keep_mask(&ids).values().iter().collect::<Vec<_>>(), [false, true, true, false]);
    assert_eq!(host.write("people", vec![rows(2, 5)]).await.unwrap().tombstoned_keys, 1);
    let other = host.tables.bury(&stamp(), &name("people"), &column("code"), vec![json!("C-000001")], None, String::new()).await;
    assert!(matches!(other, Err(TableError::KeyColumnMismatch { .. })));

    let page = host.tables.tombstones(&name("people"), None, 1).await.unwrap();
    let rest = host.tables.tombstones(&name("people"), page.next.as_deref(), 10).await.unwrap();
    let mut keys: Vec<_> = page.records.iter().chain(&rest.records).map(|record| record.row_key_value.as_str()).collect();
    keys.sort_unstable();
    assert_eq!((keys, rest.next), (vec!["0", "3"], None));
    let events =
        host.journal.events(&Filter { kind: Some(EventKind::Tombstone), ..Filter::default() }, None, 10).await.unwrap().events;
    assert_eq!(events.len(), 1);
    let told = events[0].details["keys"].as_array().unwrap();
    assert!(told.iter().all(|key| key.as_str().unwrap().len() > 8), "pseudonyms: {told:?}");

    let undone = host.tables.restore(&stamp(), &name("people"), vec![json!(3), json!(4)]).await.unwrap();
    assert_eq!((undone.rows_restored, undone.failures[0].reason), (2, FailureReason::NotTombstoned));
    assert_eq!(host.tables.dataset(&name("people")).unwrap().visible_rows(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_hidden_or_shown_during_a_write_count() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    let people = || host.tables.dataset(&name("people")).unwrap();
    host.write("people", vec![rows(0, 10)]).await.unwrap();
    let mut writer = begin(&host.tables, spec("people")).await.unwrap();
    writer.write(rows(0, 5)).await.unwrap();
    host.tables.bury(&stamp(), &name("people"), &column("id"), vec![json!(0), json!(1)], None, String::new()).await.unwrap();
    assert_eq!(writer.finish(Vec::new(), 0).await.unwrap().tombstoned_keys, 2);
    assert_eq!((people().hidden, people().visible_rows()), (4, 11));

    let mut writer = begin(&host.tables, spec("people")).await.unwrap();
    writer.write(rows(0, 5)).await.unwrap();
    host.tables.restore(&stamp(), &name("people"), vec![json!(0)]).await.unwrap();
    assert_eq!(writer.finish(Vec::new(), 0).await.unwrap().tombstoned_keys, 1);
    assert_eq!((people().hidden, people().visible_rows()), (3, 17));

    let mut writer = begin(&host.tables, WriteSpec { mode: WriteMode::Replace, ..spec("people") }).await.unwrap();
    writer.write(rows(0, 3)).await.unwrap();
    host.tables.bury(&stamp(), &name("people"), &column("id"), vec![json!(2)], None, String::new()).await.unwrap();
    assert_eq!(writer.finish(Vec::new(), 0).await.unwrap().tombstoned_keys, 2);
    assert_eq!((people().hidden, people().visible_rows()), (2, 1));
    let host = host.restart(&directory).await;
    assert_eq!(host.tables.dataset(&name("people")).unwrap().hidden, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_names_a_thousand_keys_and_counts_all() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 1100)]).await.unwrap();
    let keys = || (0..1100).map(|id| json!(id)).collect();
    let burial = host.tables.bury(&stamp(), &name("people"), &column("id"), keys(), None, String::new()).await.unwrap();
    assert_eq!(burial.rows_tombstoned, 1100);
    assert_eq!(host.tables.restore(&stamp(), &name("people"), keys()).await.unwrap().rows_restored, 1100);
    for kind in [EventKind::Tombstone, EventKind::TombstoneUndo] {
        let filter = Filter { kind: Some(kind), ..Filter::default() };
        let events = host.journal.events(&filter, None, 10).await.unwrap().events;
        let details = &events[0].details;
        assert_eq!((details["keys"].as_array().unwrap().len(), details["key_count"].as_u64()), (1000, Some(1100)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_column_of_a_write_that_was_published_after_all_is_kept() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 10)]).await.unwrap();
    let behind = host.tables.dataset(&name("people")).unwrap();
    write(&host.tables, WriteSpec { key: Some(column("id")), ..spec("people") }, vec![rows(10, 20)]).await.unwrap();
    let table = host.tables.table(&name("people")).unwrap();
    let mut queue = table.queue().await.unwrap();
    table.set_state(Some(behind));
    queue.doubt("published");
    drop(queue);
    host.write("people", vec![rows(20, 30)]).await.unwrap();
    let state = host.tables.dataset(&name("people")).unwrap();
    assert_eq!((state.tombstones.column.clone(), state.rows), (Some(column("id")), 30));
    assert_eq!(host.catalog.snapshot().dataset(&name("people")).unwrap().key_column, Some(column("id")));
}

#[tokio::test(flavor = "multi_thread")]
async fn unsigned_integers_of_64_bits_are_keys() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    let ids: ArrayRef = Arc::new(UInt64Array::from(vec![Some(7), Some(u64::MAX), None]));
    let batch = || RecordBatch::try_from_iter([("id", Arc::clone(&ids))]).unwrap();
    write(&host.tables, WriteSpec { key: Some(column("id")), ..spec("people") }, vec![batch()]).await.unwrap();
    let keys = vec![json!(u64::MAX), json!("7"), json!(8)];
    let burial = host.tables.bury(&stamp(), &name("people"), &column("id"), keys, None, String::new()).await.unwrap();
    assert_eq!((burial.rows_tombstoned, burial.failures.len()), (2, 1));
    let report = host.write("people", vec![batch()]).await.unwrap();
    assert_eq!(report.tombstoned_keys, 2);
    let host = host.restart(&directory).await;
    assert_eq!(host.tables.dataset(&name("people")).unwrap().visible_rows(), 2, "rows without a key stay");
}
