//! The conformance suite: every backend answers the adapter's calls alike, errors included.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use lakehouse_s3_server::S3Server;
use lakehouse_types::BucketName;
use object_store_13::{
    CopyMode, CopyOptions, Error, GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, PutPayload, path::Path,
};
use proptest::prelude::*;
use tokio::runtime::Handle;

use crate::{BucketKind, BucketOptions, BucketSpec, Buckets, S3Spec, s3::tests::s3_spec};

/// Runs a suite on every kind of bucket.
async fn on_every_backend<F: Future<Output = ()>>(suite: impl Fn(Arc<dyn ObjectStore>, &'static str) -> F) {
    let (root, server) = (tempfile::tempdir().unwrap(), S3Server::start());
    let remote = s3_spec(&server);
    let inside = S3Spec { prefix: Some("deep/down".into()), ..remote.clone() };
    for kind in
        [BucketKind::Memory, BucketKind::Local { path: root.path().join("b") }, BucketKind::S3(remote), BucketKind::S3(inside)]
    {
        let kind_name = kind.as_str();
        let specs = vec![BucketSpec { name: BucketName::primary(), kind }];
        let buckets = Buckets::open(specs, BucketOptions::new(Handle::current())).await.unwrap();
        suite(buckets.primary().compat(), kind_name).await;
    }
    assert!(server.keys().iter().any(|key| key.starts_with("deep/down/")), "the prefix was not used");
}

async fn text(store: &dyn ObjectStore, path: &str) -> String {
    let bytes = store.get(&Path::from(path)).await.unwrap().bytes().await.unwrap();
    String::from_utf8(bytes.into()).unwrap()
}

fn create() -> PutOptions {
    PutOptions::from(PutMode::Create)
}

async fn names(listing: impl futures::Stream<Item = object_store_13::Result<ObjectMeta>>) -> Vec<String> {
    let mut names: Vec<_> = listing.map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn puts_overwrite_or_create_as_asked() {
    on_every_backend(|store, kind| async move {
        let path = Path::from("t/_delta_log/00000000000000000000.json");
        store.put(&path, "one".into()).await.unwrap();
        assert_eq!(text(&*store, path.as_ref()).await, "one");
        store.put(&path, PutPayload::from_iter([Bytes::from("t"), Bytes::from("wo")])).await.unwrap();
        assert_eq!(text(&*store, path.as_ref()).await, "two");

        let taken = store.put_opts(&path, "three".into(), create()).await.unwrap_err();
        assert!(matches!(taken, Error::AlreadyExists { .. }), "{taken:?}");
        assert_eq!(text(&*store, path.as_ref()).await, "two");
        store.put_opts(&Path::from("t/new"), "x".into(), create()).await.unwrap();

        let stale = PutOptions::from(PutMode::Update(object_store_13::UpdateVersion { e_tag: Some("no".into()), version: None }));
        let refused = store.put_opts(&path, "four".into(), stale).await.unwrap_err();
        if kind == "local" {
            assert!(matches!(refused, Error::NotImplemented { .. }), "{refused:?}");
        } else {
            assert!(matches!(refused, Error::Precondition { .. }), "{refused:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_creators_wins() {
    on_every_backend(|store, _| async move {
        let tries = (0..16).map(|n| {
            let store = Arc::clone(&store);
            async move { store.put_opts(&Path::from("log/1.json"), n.to_string().into(), create()).await }
        });
        let outcomes = futures::future::join_all(tries).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        let winner = outcomes.iter().position(Result::is_ok).unwrap();
        assert_eq!(text(&*store, "log/1.json").await, winner.to_string());
        assert!(
            outcomes.iter().flatten().count() == 1
                && outcomes.iter().all(|o| o.is_ok() || matches!(o, Err(Error::AlreadyExists { .. })))
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gets_honour_ranges_and_preconditions() {
    on_every_backend(|store, _| async move {
        let path = Path::from("r");
        store.put(&path, "0123456789".into()).await.unwrap();
        for (range, expected) in [
            (GetRange::Bounded(2..5), "234"),
            (GetRange::Offset(7), "789"),
            (GetRange::Suffix(2), "89"),
            (GetRange::Bounded(8..99), "89"),
        ] {
            let found = store.get_opts(&path, GetOptions::new().with_range(Some(range))).await.unwrap();
            assert_eq!(found.meta.size, 10);
            assert_eq!(found.bytes().await.unwrap(), expected);
        }
        assert_eq!(store.get_ranges(&path, &[1..2, 4..6, 0..1]).await.unwrap(), ["1", "45", "0"]);
        assert!(store.get_range(&path, 20..30).await.is_err());

        let head = store.head(&path).await.unwrap();
        assert_eq!((head.size, head.location.as_ref()), (10, "r"));
        let tag = head.e_tag.unwrap();
        let unchanged = store.get_opts(&path, GetOptions::new().with_if_none_match(Some(tag.clone()))).await.unwrap_err();
        assert!(matches!(unchanged, Error::NotModified { .. }), "{unchanged:?}");
        let other = store.get_opts(&path, GetOptions::new().with_if_match(Some("other"))).await.unwrap_err();
        assert!(matches!(other, Error::Precondition { .. }), "{other:?}");
        assert!(store.get_opts(&path, GetOptions::new().with_if_match(Some(tag))).await.is_ok());

        let missing = store.get(&Path::from("absent")).await.unwrap_err();
        assert!(matches!(missing, Error::NotFound { .. }), "{missing:?}");
        let missing = store.get_ranges(&Path::from("absent"), &[0..1, 2..3]).await.unwrap_err();
        assert!(matches!(missing, Error::NotFound { .. }), "{missing:?}");
        store.put(&Path::from("empty"), PutPayload::new()).await.unwrap();
        assert_eq!(text(&*store, "empty").await, "");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_object_arrives_whole_by_parts_and_by_stream() {
    on_every_backend(|store, _| async move {
        let part = |n: u8| Bytes::from(vec![n; 5 << 20]);
        let path = Path::from("big");
        let mut upload: Box<dyn MultipartUpload> = store.put_multipart(&path).await.unwrap();
        let parts = [upload.put_part(part(1).into()), upload.put_part(part(2).into())];
        futures::future::try_join_all(parts).await.unwrap();
        assert!(matches!(store.head(&path).await, Err(Error::NotFound { .. })), "visible before it was complete");
        upload.complete().await.unwrap();

        let found = store.get(&path).await.unwrap();
        assert_eq!(found.range, 0..10 << 20);
        let chunks: Vec<Bytes> = found.into_stream().try_collect().await.unwrap();
        assert_eq!(chunks.concat(), [part(1), part(2)].concat());
        let middle = GetOptions::new().with_range(Some(GetRange::Bounded(1..(9 << 20))));
        assert_eq!(store.get_opts(&path, middle).await.unwrap().bytes().await.unwrap().len(), (9 << 20) - 1);

        let mut abandoned = store.put_multipart(&Path::from("half")).await.unwrap();
        abandoned.put_part(part(3).into()).await.unwrap();
        abandoned.abort().await.unwrap();
        assert!(matches!(store.head(&Path::from("half")).await, Err(Error::NotFound { .. })));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_see_what_is_there() {
    on_every_backend(|store, _| async move {
        for name in ["a/1", "a/2", "a/b/3", "c", "odd name/ü %41+&=#?"] {
            store.put(&Path::from(name), name.to_owned().into()).await.unwrap();
        }
        assert_eq!(names(store.list(Some(&Path::from("a")))).await, ["a/1", "a/2", "a/b/3"]);
        assert_eq!(names(store.list_with_offset(Some(&Path::from("a")), &Path::from("a/1"))).await, ["a/2", "a/b/3"]);
        assert!(names(store.list(Some(&Path::from("none")))).await.is_empty());
        let level = store.list_with_delimiter(Some(&Path::from("a"))).await.unwrap();
        assert_eq!(level.common_prefixes, [Path::from("a/b")]);
        assert_eq!(level.objects.len(), 2);

        let odd = store.list(Some(&Path::from("odd name"))).next().await.unwrap().unwrap();
        assert_eq!(odd.location, Path::from("odd name/ü %41+&=#?"));
        assert_eq!(odd.size, 20);
        assert_eq!(store.get(&odd.location).await.unwrap().bytes().await.unwrap(), "odd name/ü %41+&=#?");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_copies_and_renames_do_what_they_say() {
    on_every_backend(|store, kind| async move {
        let (a, b, c) = (Path::from("d/a"), Path::from("e/b"), Path::from("f/g/c"));
        store.put(&a, "A".into()).await.unwrap();
        store.copy(&a, &b).await.unwrap();
        let taken = store.copy_opts(&a, &b, CopyOptions::new().with_mode(CopyMode::Create)).await.unwrap_err();
        assert!(matches!(taken, Error::AlreadyExists { .. }), "{taken:?}");
        let taken = store.rename_if_not_exists(&a, &b).await.unwrap_err();
        assert!(matches!(taken, Error::AlreadyExists { .. }), "{taken:?}");
        store.rename_if_not_exists(&a, &c).await.unwrap();
        assert!(matches!(store.head(&a).await, Err(Error::NotFound { .. })));
        store.rename(&c, &b).await.unwrap();
        assert_eq!(text(&*store, "e/b").await, "A");
        assert!(matches!(store.copy(&a, &c).await, Err(Error::NotFound { .. })));

        let many: Vec<_> = (0..100).map(|n| Path::from(format!("m/{}/{n}", n % 3))).collect();
        for path in &many {
            store.put(path, "x".into()).await.unwrap();
        }
        let locations = futures::stream::iter(many.clone().into_iter().map(Ok)).boxed();
        let deleted: Vec<_> = store.delete_stream(locations).try_collect().await.unwrap();
        assert_eq!(deleted, many);
        assert!(names(store.list(Some(&Path::from("m")))).await.is_empty());
        let absent = store.delete(&Path::from("absent")).await;
        // As object stores differ: only a local one minds that nothing is there.
        assert_eq!(matches!(absent, Err(Error::NotFound { .. })), kind == "local", "{absent:?}");
    })
    .await;
}

#[test]
fn work_of_another_runtime_is_done_on_the_io_runtime() {
    let root = tempfile::tempdir().unwrap();
    let runtime = |name: &'static str| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build().unwrap()
    };
    let (io, cpu) = (runtime("io"), runtime("cpu"));
    let specs = vec![BucketSpec { name: BucketName::primary(), kind: BucketKind::Local { path: root.path().into() } }];
    let buckets = io.block_on(Buckets::open(specs, BucketOptions::new(io.handle().clone()))).unwrap();
    let store = buckets.primary().compat();
    let before = cpu.metrics().num_alive_tasks();
    cpu.block_on(async {
        store.put(&Path::from("x"), vec![7; 6 << 20].into()).await.unwrap();
        assert_eq!(store.get(&Path::from("x")).await.unwrap().bytes().await.unwrap().len(), 6 << 20);
        assert_eq!(names(store.list(None)).await, ["_lock", "x"]);
    });
    assert_eq!(cpu.metrics().num_alive_tasks(), before);
    assert_eq!(blocking_threads("cpu"), 1, "the CPU runtime has its one worker and read no file itself");
    assert!(blocking_threads("io") > 1);
}

/// Threads of this process with this name: a runtime's workers and those it reads files on.
fn blocking_threads(name: &str) -> usize {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter(|task| std::fs::read_to_string(task.as_ref().unwrap().path().join("comm")).is_ok_and(|comm| comm.trim() == name))
        .count()
}

proptest! {
    /// Paths survive the way there and back, whatever characters they were made of.
    #[test]
    fn paths_have_one_text_form(text in "[^\\x00]{0,40}") {
        let old = Path::from(text.as_str());
        let new = crate::convert::path_to_new(&old).unwrap();
        prop_assert_eq!(new.as_ref(), old.as_ref());
        prop_assert_eq!(crate::convert::path_to_old(&new).unwrap(), old);
    }

    #[test]
    fn tags_survive(pairs in prop::collection::vec(("\\PC{1,8}", "\\PC{0,8}"), 0..4)) {
        let mut old = object_store_13::TagSet::default();
        let mut new = object_store::TagSet::default();
        for (key, value) in &pairs {
            old.push(key, value);
            new.push(key, value);
        }
        let converted = crate::convert::put_options_to_new(PutOptions::from(old));
        prop_assert_eq!(converted.tags, new);
    }
}

#[test]
fn errors_keep_their_variants() {
    use crate::convert::error_to_old;
    use object_store::Error as New;
    let (path, source) = (|| "p".to_owned(), || Box::<dyn std::error::Error + Send + Sync>::from("s"));
    assert!(matches!(error_to_old(New::AlreadyExists { path: path(), source: source() }), Error::AlreadyExists { .. }));
    assert!(matches!(error_to_old(New::NotFound { path: path(), source: source() }), Error::NotFound { .. }));
    assert!(matches!(error_to_old(New::Precondition { path: path(), source: source() }), Error::Precondition { .. }));
    assert!(matches!(error_to_old(New::NotModified { path: path(), source: source() }), Error::NotModified { .. }));
    assert!(matches!(error_to_old(New::PermissionDenied { path: path(), source: source() }), Error::PermissionDenied { .. }));
    assert!(matches!(error_to_old(New::Unauthenticated { path: path(), source: source() }), Error::Unauthenticated { .. }));
    assert!(matches!(error_to_old(New::Generic { store: "x", source: source() }), Error::Generic { store: "x", .. }));
}
