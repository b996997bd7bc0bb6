//! Datasets that come and go under their names, and the buckets that they are in.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_name_comes_back_empty_and_its_files_go_with_the_last_reader() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 10)]).await.unwrap();
    host.tables.bury(&stamp(), &name("people"), &column("id"), vec![json!(1)], None, String::new()).await.unwrap();
    let reader = host.tables.dataset(&name("people")).unwrap();
    host.tables.drop_dataset(&stamp(), &name("people")).await.unwrap();
    assert!(host.tables.dataset(&name("people")).is_none());
    let session = host.session();
    session.register_table("pinned", reader.provider()).unwrap();
    let rows_read = session.sql("SELECT id FROM pinned").await.unwrap().collect().await.unwrap();
    assert_eq!(rows_read.iter().map(RecordBatch::num_rows).sum::<usize>(), 10, "a pinned state reads on");
    let old = reader.id.clone();
    drop((session, reader));
    host.write("people", vec![rows(5, 6)]).await.unwrap();
    assert_eq!(host.number("SELECT count(*) FROM people").await, 1);
    assert_eq!(host.tables.tombstones(&name("people"), None, 10).await.unwrap().records.len(), 0);
    let root = host.buckets.primary().local_path().unwrap().join(DATASETS).join(old);
    assert!(eventually(async || !root.exists()).await, "the old files are gone");
    let missing = host.tables.drop_dataset(&stamp(), &name("nobody")).await.unwrap_err();
    assert_eq!(missing.code(), Code::UnknownDataset);
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_and_names_are_kept_apart() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    let other = BucketName::new("other").unwrap();
    write(&host.tables, WriteSpec { bucket: Some(other.clone()), ..spec("far") }, vec![rows(0, 3)]).await.unwrap();
    assert_eq!(host.write("far", vec![rows(3, 4)]).await.unwrap().bucket, other, "a dataset stays where it is");
    let wrong = write(&host.tables, WriteSpec { bucket: Some(BucketName::primary()), ..spec("far") }, vec![rows(0, 1)]).await;
    assert_eq!(wrong.unwrap_err().code(), Code::BucketMismatch);
    assert_eq!(host.number("SELECT count(*) FROM far").await, 4);
    assert!(host.write("moved", vec![]).await.is_err());
    write(&host.tables, WriteSpec { bucket: Some(other.clone()), ..spec("moved") }, vec![rows(0, 1)]).await.unwrap();
    let nowhere = WriteSpec { bucket: Some(BucketName::new("nowhere").unwrap()), ..spec("x") };
    assert_eq!(host.tables.begin(nowhere).await.unwrap_err().code(), Code::UnknownBucket);
    host.put_view("far_view", "far").await;
    assert_eq!(host.write("far_view", vec![rows(0, 1)]).await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(host.tables.drop_dataset(&stamp(), &name("far")).await.unwrap_err().code(), Code::InUse);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_never_came_to_be_pins_no_bucket() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    // Two that give up at once: each sees the other at the table and leaves it.
    let held = {
        let mut writers = Vec::new();
        for _ in 0..2 {
            let mut writer = begin(&host.tables, spec("people")).await.unwrap();
            writer.write(rows(0, 5)).await.unwrap();
            writers.push(writer);
        }
        let held = host.tables.table(&name("people")).unwrap();
        for writer in writers {
            writer.abort().await;
        }
        held
    };
    assert!(host.tables.table(&name("people")).is_some(), "it was held when they gave up");
    let elsewhere = || in_bucket("other", spec("people"));
    assert_eq!(host.tables.begin(elsewhere()).await.unwrap_err().code(), Code::BucketMismatch, "somebody is at it");
    drop(held);
    assert_eq!(write(&host.tables, elsewhere(), vec![rows(0, 3)]).await.unwrap().bucket.as_str(), "other");

    // One whose outcome is open stays, and is settled by the next write.
    let mut first = begin(&host.tables, spec("open")).await.unwrap();
    first.write(rows(0, 10)).await.unwrap();
    let work = first.disarm();
    let id = work.id.clone();
    work.leave_behind(true).await;
    host.tables.table(&name("open")).unwrap().queue().await.unwrap().unsettled.push(id);
    let wide = in_bucket("other", spec("open"));
    assert_eq!(host.tables.begin(wide).await.unwrap_err().code(), Code::BucketMismatch);
    assert_eq!(host.write("open", vec![rows(10, 11)]).await.unwrap().version, 1);
    assert_eq!(host.number("SELECT count(id) FROM open").await, 11);
}
