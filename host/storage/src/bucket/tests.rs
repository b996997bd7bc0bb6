use lakehouse_types::{BucketName, Code, Fault};
use object_store::{ObjectStoreExt, path::Path};
use tokio::runtime::Handle;

use super::{BucketKind, BucketOptions, BucketSpec, Buckets, Claim};
use crate::{BucketCounts, StorageError, lock::NextLock};

fn spec(name: &str, kind: BucketKind) -> BucketSpec {
    BucketSpec { name: BucketName::new(name).unwrap(), kind }
}

async fn open(specs: Vec<BucketSpec>) -> Result<Buckets, StorageError> {
    Buckets::open(specs, BucketOptions::new(Handle::current())).await
}

#[tokio::test]
async fn an_unknown_bucket_is_answered_with_the_known_ones() {
    let buckets = open(vec![spec("testing", BucketKind::Memory), spec("primary", BucketKind::Memory)]).await.unwrap();
    let error = buckets.get(&BucketName::new("testin").unwrap()).unwrap_err();
    assert_eq!(error.code(), Code::UnknownBucket);
    assert_eq!(error.members()["valid_buckets"], serde_json::json!(["primary", "testing"]));
    assert_eq!(buckets.primary().url().as_str(), "lakehouse://lakehouse-primary/");
    assert!(buckets.primary().is_volatile());
}

#[tokio::test]
async fn declarations_that_cannot_work_are_refused() {
    assert!(matches!(open(vec![spec("other", BucketKind::Memory)]).await, Err(StorageError::NoPrimary)));
    let clash = vec![
        spec("primary", BucketKind::Memory),
        spec("profile:a_b", BucketKind::Memory),
        spec("profile:a-b", BucketKind::Memory),
    ];
    assert!(matches!(open(clash).await, Err(StorageError::BucketClash { .. })));
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), "").unwrap();
    let blocked = BucketKind::Local { path: root.path().join("file/below") };
    assert_eq!(open(vec![spec("primary", blocked)]).await.unwrap_err().code(), Code::StorageUnavailable);
}

#[tokio::test]
async fn a_primary_directory_has_one_host_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let kind = BucketKind::Local { path: root.path().join("deep/data") };
    let first = open(vec![spec("primary", kind.clone())]).await.unwrap();
    assert!(!first.primary().is_volatile());
    let error = open(vec![spec("primary", kind.clone())]).await.unwrap_err();
    assert_eq!(error.code(), Code::ReadOnly);
    drop(first);
    open(vec![spec("primary", kind)]).await.unwrap();
}

#[tokio::test]
async fn every_local_directory_has_one_host_and_one_bucket_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let local = |name: &str| BucketKind::Local { path: root.path().join(name) };
    let first = open(vec![spec("primary", local("a")), spec("archive", local("shared"))]).await.unwrap();
    let other = || vec![spec("primary", local("b")), spec("archive", local("shared"))];
    assert!(matches!(open(other()).await, Err(StorageError::Locked { path }) if path.ends_with("shared")));
    drop(first);
    drop(open(other()).await.unwrap());
    let twice = vec![spec("primary", local("a")), spec("archive", local("a"))];
    assert_eq!(open(twice).await.unwrap_err().code(), Code::ReadOnly);
}

#[tokio::test]
async fn storage_is_taken_from_another_host_as_a_whole_or_not_at_all() {
    let root = tempfile::tempdir().unwrap();
    let specs = || {
        let local = |name: &str| BucketKind::Local { path: root.path().join(name) };
        vec![spec("primary", local("a")), spec("archive", local("b"))]
    };
    let in_its_place = || BucketOptions { claim: Claim::TakeOver, ..BucketOptions::new(Handle::current()) };
    let first = open(specs()).await.unwrap();
    let other = NextLock::prepare(&root.path().join("b")).unwrap();
    assert!(matches!(Buckets::open(specs(), in_its_place()).await, Err(StorageError::Locked { path }) if path.ends_with("b")));
    assert!(!first.is_lock_free(), "nothing was taken");
    drop(other);
    let second = Buckets::open(specs(), in_its_place()).await.unwrap();
    drop(first);
    assert!(!second.is_lock_free());
    assert!(matches!(open(specs()).await, Err(StorageError::Locked { .. })));
}

#[tokio::test]
async fn leftovers_are_swept_in_every_local_bucket() {
    let root = tempfile::tempdir().unwrap();
    let leftover = root.path().join("archive/part.parquet#1");
    std::fs::create_dir(root.path().join("archive")).unwrap();
    std::fs::write(&leftover, "half").unwrap();
    let old = std::fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
    std::fs::File::options().write(true).open(&leftover).unwrap().set_times(old).unwrap();
    let local = |name: &str| BucketKind::Local { path: root.path().join(name) };
    let _buckets = open(vec![spec("primary", local("primary")), spec("archive", local("archive"))]).await.unwrap();
    for _ in 0..2000 {
        if !leftover.exists() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the leftover stayed");
}

#[tokio::test]
async fn counters_tell_what_was_done() {
    let root = tempfile::tempdir().unwrap();
    let buckets = open(vec![spec("primary", BucketKind::Local { path: root.path().into() })]).await.unwrap();
    let bucket = buckets.primary();
    let (store, path) = (bucket.store(), Path::from("a"));
    store.put(&path, "12345".into()).await.unwrap();
    store.get(&path).await.unwrap();
    store.get_ranges(&path, &[0..2, 3..4]).await.unwrap();
    store.head(&path).await.unwrap();
    store.delete(&path).await.unwrap();
    assert!(store.get(&path).await.is_err());
    store.put(&Path::parse("bad#1").unwrap(), "x".into()).await.unwrap_err();
    let expected =
        BucketCounts { reads: 3, read_bytes: 8, writes: 1, written_bytes: 5, deletes: 1, errors: 1, ..BucketCounts::default() };
    assert_eq!(bucket.counts(), expected);
}

#[tokio::test]
async fn health_notices_a_directory_that_went_away() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let buckets =
        open(vec![spec("primary", BucketKind::Local { path: data.clone() }), spec("mem", BucketKind::Memory)]).await.unwrap();
    assert!(buckets.health().await.iter().all(|bucket| bucket.healthy));
    std::fs::remove_dir_all(data).unwrap();
    let healthy: Vec<_> = buckets.health().await.iter().map(|bucket| bucket.healthy).collect();
    assert_eq!(healthy, [true, false]);
}
