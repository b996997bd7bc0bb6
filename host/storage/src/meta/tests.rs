use std::time::Duration;

use http::Method;
use lakehouse_s3_server::{Fault, S3Server};
use lakehouse_types::{BucketName, Code, Fault as _};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::{COMMITS_PER_SPILL, Meta, MetaOptions};
use crate::{BucketKind, BucketOptions, BucketSpec, Buckets, Claim, Record, StorageError, s3::tests::s3_spec};

mod damage;
mod renewal;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Number(u64);

impl Record for Number {
    const COLLECTION: &'static str = "number";
    const FORMAT: u32 = 1;
}

/// Its name begins as the other's does: collections must not run into each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Numbering(String);

impl Record for Numbering {
    const COLLECTION: &'static str = "number_2";
    const FORMAT: u32 = 1;
}

async fn buckets(kind: BucketKind) -> Buckets {
    let specs = vec![BucketSpec { name: BucketName::primary(), kind }];
    Buckets::open(specs, BucketOptions::new(Handle::current())).await.unwrap()
}

async fn memory() -> Meta {
    Meta::open(&buckets(BucketKind::Memory).await.primary(), MetaOptions::default()).await.unwrap()
}

async fn put(meta: &Meta, key: &str, value: u64) {
    let mut txn = meta.begin().await.unwrap();
    txn.put(key, &Number(value)).unwrap();
    txn.commit().await.unwrap();
}

fn numbers(rows: &[(String, Number)]) -> Vec<(&str, u64)> {
    rows.iter().map(|(key, number)| (key.as_str(), number.0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_all_or_nothing() {
    let meta = memory().await;
    let mut txn = meta.begin().await.unwrap();
    txn.put("a", &Number(1)).unwrap();
    txn.put("x", &Numbering("one".into())).unwrap();
    assert_eq!(txn.get::<Number>("a").await.unwrap(), Some(Number(1)));
    assert_eq!(meta.collection::<Number>().get("a").await.unwrap(), None);
    drop(txn);
    assert_eq!(meta.collection::<Number>().get("a").await.unwrap(), None);

    let mut txn = meta.begin().await.unwrap();
    txn.put("a", &Number(1)).unwrap();
    txn.put("b", &Number(2)).unwrap();
    txn.put("x", &Numbering("one".into())).unwrap();
    txn.commit().await.unwrap();
    let mut txn = meta.begin().await.unwrap();
    txn.delete::<Number>("a");
    txn.put("c", &Number(3)).unwrap();
    txn.commit().await.unwrap();
    assert_eq!(numbers(&meta.collection().all().await.unwrap()), [("b", 2), ("c", 3)]);
    assert_eq!(meta.collection::<Numbering>().get("x").await.unwrap(), Some(Numbering("one".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn scans_are_ordered_paged_and_keep_to_their_prefix() {
    let meta = memory().await;
    for (key, value) in [("b/2", 2), ("a", 9), ("b/1", 1), ("b/10", 10), ("b0", 7), ("b/é", 4)] {
        put(&meta, key, value).await;
    }
    let all = meta.collection::<Number>();
    assert_eq!(numbers(&all.scan("b/", None, 9).await.unwrap()), [("b/1", 1), ("b/10", 10), ("b/2", 2), ("b/é", 4)]);
    assert_eq!(numbers(&all.scan("b/", Some("b/10"), 1).await.unwrap()), [("b/2", 2)]);
    assert_eq!(numbers(&all.scan("b/", Some("b/é"), 9).await.unwrap()), []);
    assert_eq!(numbers(&all.scan("", Some("b/é"), 9).await.unwrap()), [("b0", 7)]);
    assert_eq!(all.all().await.unwrap().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_race_is_a_conflict_and_writes_nothing() {
    let meta = memory().await;
    put(&meta, "n", 1).await;
    let mut first = meta.begin().await.unwrap();
    let mut second = meta.begin().await.unwrap();
    for txn in [&mut first, &mut second] {
        let Number(seen) = txn.get("n").await.unwrap().unwrap();
        txn.put(&format!("seen-{seen}"), &Number(seen)).unwrap();
        txn.put("n", &Number(seen + 1)).unwrap();
    }
    first.commit().await.unwrap();
    let error = second.commit().await.unwrap_err();
    assert!(error.is_conflict());
    assert_eq!(error.code(), Code::WriteConflict);
    assert_eq!(meta.collection::<Number>().get("n").await.unwrap(), Some(Number(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn increments_that_race_are_all_counted() {
    let meta = memory().await;
    put(&meta, "n", 0).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let meta = meta.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    loop {
                        let mut txn = meta.begin().await.unwrap();
                        let Number(seen) = txn.get("n").await.unwrap().unwrap();
                        txn.put("n", &Number(seen + 1)).unwrap();
                        match txn.commit().await {
                            Ok(()) => break,
                            Err(error) if error.is_conflict() => {}
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(meta.collection::<Number>().get("n").await.unwrap(), Some(Number(80)));
}

/// Copies a directory as a crash would leave it: no farewell from the process.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            // The store may remove a file while we look.
            let _ = std::fs::copy(entry.path(), target);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_there_after_a_crash_and_a_start_reads_little() {
    let root = tempfile::tempdir().unwrap();
    let (before, after) = (root.path().join("before"), root.path().join("after"));
    let meta =
        Meta::open(&buckets(BucketKind::Local { path: before.clone() }).await.primary(), MetaOptions::default()).await.unwrap();
    let commits = COMMITS_PER_SPILL + 48;
    for n in 0..commits {
        put(&meta, &format!("{n:04}"), n).await;
    }
    // The files do not change under the copy: what the spill writes is written.
    let spilled = || !meta.store().db().unwrap().manifest().l0().is_empty();
    for _ in 0..2000 {
        if spilled() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(spilled(), "the log was not moved into sorted files");
    copy(&before, &after);
    let bucket = buckets(BucketKind::Local { path: after }).await.primary();
    let reopened = Meta::open(&bucket, MetaOptions::default()).await.unwrap();
    let all = reopened.collection::<Number>().all().await.unwrap();
    let reads = bucket.counts().reads;
    assert_eq!(all.len() as u64, commits);
    assert!(all.iter().enumerate().all(|(n, (_, number))| number.0 == n as u64));
    // Each log file costs at least one read, and nearly every commit here has a file of its own.
    assert!(reads < commits, "{reads} reads after {commits} commits");
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_writes_everything_and_ends_service() {
    let root = tempfile::tempdir().unwrap();
    let kind = BucketKind::Local { path: root.path().into() };
    let first = buckets(kind.clone()).await;
    let meta = Meta::open(&first.primary(), MetaOptions::default()).await.unwrap();
    put(&meta, "a", 1).await;
    meta.health().await.unwrap();
    meta.close().await.unwrap();
    meta.close().await.unwrap();
    assert_eq!(meta.health().await.unwrap_err().code(), Code::ShuttingDown);
    assert_eq!(meta.collection::<Number>().get("a").await.unwrap_err().code(), Code::ShuttingDown);
    drop((meta, first));
    let meta = Meta::open(&buckets(kind).await.primary(), MetaOptions::default()).await.unwrap();
    assert_eq!(meta.collection::<Number>().get("a").await.unwrap(), Some(Number(1)));
}

async fn seen(reader: &Meta, count: usize) {
    for _ in 0..400 {
        reader.refresh().await.unwrap();
        if reader.collection::<Number>().all().await.unwrap().len() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} of {count} seen", reader.collection::<Number>().all().await.unwrap().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_what_the_writer_wrote_through_a_renewal_and_writes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let kind = BucketKind::Local { path: root.path().into() };
    let to_read = || BucketOptions { claim: Claim::Read, ..BucketOptions::new(Handle::current()) };
    let specs = || vec![BucketSpec { name: BucketName::primary(), kind: kind.clone() }];
    let empty = Buckets::open(specs(), to_read()).await.unwrap();
    assert!(matches!(Meta::follow(&empty.primary(), MetaOptions::default()).await, Err(StorageError::Empty)));

    let writer = buckets(kind.clone()).await;
    let meta = Meta::open(&writer.primary(), MetaOptions::default()).await.unwrap();
    put(&meta, "a", 1).await;
    let bucket = Buckets::open(specs(), to_read()).await.unwrap().primary();
    let reader = Meta::follow(&bucket, MetaOptions::default()).await.unwrap();
    assert!(reader.is_reader() && !meta.is_reader());
    seen(&reader, 1).await;
    put(&meta, "b", 2).await;
    seen(&reader, 2).await;
    assert!(!reader.refresh().await.unwrap(), "there is nothing new");
    for n in 0..COMMITS_PER_SPILL {
        put(&meta, &format!("n{n:04}"), n).await;
    }
    let all = 2 + usize::try_from(COMMITS_PER_SPILL).unwrap();
    seen(&reader, all).await;
    meta.renew().await.unwrap();
    put(&meta, "c", 3).await;
    seen(&reader, all + 1).await;
    assert_eq!(reader.last_beat().await.unwrap().map(|beat| beat.has_ended), Some(false));

    assert_eq!(reader.begin().await.unwrap_err().code(), Code::ReadOnly);
    assert_eq!((bucket.counts().writes, bucket.counts().deletes), (0, 0));
    let object = object_store::path::Path::from("x");
    assert!(object_store::ObjectStoreExt::put(&*bucket.store(), &object, "x".into()).await.is_err());
    assert!(object_store::ObjectStoreExt::delete(&*bucket.store(), &object).await.is_err());
    meta.close().await.unwrap();
    for _ in 0..400 {
        reader.refresh().await.unwrap();
        if reader.last_beat().await.unwrap().is_some_and(|beat| beat.has_ended) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the writer said farewell");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_superseded_sweeps_nothing_of_its_successor() {
    let bucket = buckets(BucketKind::Memory).await.primary();
    let old = Meta::open(&bucket, MetaOptions::default()).await.unwrap();
    let new = Meta::open(&bucket, MetaOptions::default()).await.unwrap();
    let begun = object_store::path::Path::from("_meta/2/half");
    object_store::ObjectStoreExt::put(&*bucket.store(), &begun, "x".into()).await.unwrap();
    assert!(old.sweep_others(&bucket).await.unwrap_err().is_fenced());
    assert!(object_store::ObjectStoreExt::head(&*bucket.store(), &begun).await.is_ok());
    new.sweep_others(&bucket).await.unwrap();
    assert!(object_store::ObjectStoreExt::head(&*bucket.store(), &begun).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_writer_is_fenced() {
    let bucket = buckets(BucketKind::Memory).await.primary();
    let old = Meta::open(&bucket, MetaOptions::default()).await.unwrap();
    put(&old, "a", 1).await;
    let new = Meta::open(&bucket, MetaOptions::default()).await.unwrap();
    assert!(new.epoch() > old.epoch());
    // It may learn of its fate by itself before it tries to write.
    let late = async {
        let mut late = old.begin().await?;
        late.put("a", &Number(2))?;
        late.commit().await
    };
    let error = late.await.unwrap_err();
    assert_eq!(error.code(), Code::ReadOnly, "{error:?}");
    assert_eq!(new.collection::<Number>().get("a").await.unwrap(), Some(Number(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_never_a_wrong_answer() {
    let root = tempfile::tempdir().unwrap();
    let (whole, damaged) = (root.path().join("whole"), root.path().join("damaged"));
    let meta =
        Meta::open(&buckets(BucketKind::Local { path: whole.clone() }).await.primary(), MetaOptions::default()).await.unwrap();
    put(&meta, "a", 41).await;
    let log = whole.join("_meta/1/wal");
    let mut files: Vec<_> = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let last = files.iter().rfind(|file| file.metadata().unwrap().len() > 0).unwrap();
    let bytes = std::fs::read(last).unwrap();
    for bit in (0..bytes.len() * 8).step_by(61) {
        let _ = std::fs::remove_dir_all(&damaged);
        copy(&whole, &damaged);
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(damaged.join(last.strip_prefix(&whole).unwrap()), flipped).unwrap();
        let bucket = buckets(BucketKind::Local { path: damaged.clone() }).await.primary();
        let answer = async {
            let meta = Meta::open(&bucket, MetaOptions::default()).await?;
            let found = meta.collection::<Number>().get("a").await;
            let _ = meta.close().await;
            found
        };
        match tokio::time::timeout(Duration::from_secs(20), answer).await.expect("no hang") {
            Ok(found) => assert_eq!(found, Some(Number(41)), "bit {bit}"),
            Err(StorageError::Meta(_)) => {}
            Err(error) => panic!("bit {bit}: {error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_settled_records_are_answered_from_memory() {
    let bucket = buckets(BucketKind::Memory).await.primary();
    let meta = Meta::open(&bucket, MetaOptions::default()).await.unwrap();
    let mut txn = meta.begin().await.unwrap();
    for n in 0..20_000 {
        txn.put(&format!("{n:05}"), &Number(n)).unwrap();
    }
    txn.commit().await.unwrap();
    meta.close().await.unwrap();

    let meta = Meta::open(&bucket, MetaOptions::default()).await.unwrap();
    let numbers = meta.collection::<Number>();
    let reads = async |key: &str| {
        let before = bucket.counts().reads;
        assert!(numbers.get(key).await.unwrap().is_some());
        bucket.counts().reads - before
    };
    assert!(reads("12345").await > 0, "it was in memory all along");
    // The store itself polls now and then; one of a few reads is surely undisturbed.
    let mut repeated = Vec::new();
    for _ in 0..5 {
        repeated.push(reads("12345").await);
    }
    assert!(repeated.contains(&0), "{repeated:?}");
}

fn remote(server: &S3Server) -> BucketKind {
    BucketKind::S3(s3_spec(server))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_store_keeps_what_it_acknowledged_and_fences() {
    let server = S3Server::start();
    let options = MetaOptions { flush: Duration::from_millis(50), ..MetaOptions::default() };
    let first = Meta::open(&buckets(remote(&server)).await.primary(), options.clone()).await.unwrap();
    for n in 0..20 {
        put(&first, &format!("{n:02}"), n).await;
    }
    // No farewell: what a killed host leaves, and one that lives looks the same.
    let held = Meta::open(&buckets(remote(&server)).await.primary(), options.clone()).await.unwrap_err();
    assert!(held.is_fenced(), "{held:?}");
    put(&first, "21", 21).await;
    let in_its_place = MetaOptions { claim: Claim::TakeOver, ..options.clone() };
    let second = Meta::open(&buckets(remote(&server)).await.primary(), in_its_place).await.unwrap();
    assert_eq!(second.collection::<Number>().all().await.unwrap().len(), 21);
    let late = async {
        let mut late = first.begin().await?;
        late.put("late", &Number(1))?;
        late.commit().await
    };
    assert_eq!(late.await.unwrap_err().code(), Code::ReadOnly);
    put(&second, "20", 20).await;
    second.close().await.unwrap();
    let third = Meta::open(&buckets(remote(&server)).await.primary(), options).await.unwrap();
    assert_eq!(third.collection::<Number>().all().await.unwrap().len(), 22);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_on_the_way_is_one_commit() {
    let server = S3Server::start();
    let meta = Meta::open(&buckets(remote(&server)).await.primary(), MetaOptions::default()).await.unwrap();
    for (n, fault) in [(1, Fault::LoseAnswer), (2, Fault::Drop), (3, Fault::Refuse), (4, Fault::Conflict)] {
        server.inject(Method::PUT, "/wal/", fault, 2);
        put(&meta, "n", n).await;
        assert_eq!(meta.collection::<Number>().get("n").await.unwrap(), Some(Number(n)), "{fault:?}");
    }
    meta.close().await.unwrap();
    let meta = Meta::open(&buckets(remote(&server)).await.primary(), MetaOptions::default()).await.unwrap();
    assert_eq!(meta.collection::<Number>().get("n").await.unwrap(), Some(Number(4)));
}
