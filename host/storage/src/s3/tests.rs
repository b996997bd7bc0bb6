//! What S3 does to its clients: refuses, fails, hangs, and loses answers.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use http::Method;
use lakehouse_s3_server::{ACCESS_KEY, BUCKET, Fault, S3Server, SECRET_KEY};
use lakehouse_types::{BucketName, Fault as _, Secret};
use object_store::{
    Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion, buffered::BufWriter,
    path::Path,
};
use tokio::{io::AsyncWriteExt, runtime::Handle};

use super::{S3Credentials, S3Spec, Unusable};
use crate::{Bucket, BucketKind, BucketOptions, BucketSpec, Buckets, RetryPolicy, StorageError};

pub(crate) fn s3_spec(server: &S3Server) -> S3Spec {
    S3Spec {
        bucket: BUCKET.to_owned(),
        prefix: None,
        endpoint: Some(server.endpoint()),
        region: None,
        path_style: true,
        allow_http: true,
        credentials: S3Credentials::Keys {
            access_key_id: ACCESS_KEY.to_owned(),
            secret_access_key: Secret::new(SECRET_KEY),
            session_token: None,
        },
    }
}

async fn open(spec: S3Spec) -> Result<Bucket, StorageError> {
    let options = BucketOptions {
        remote_retry: RetryPolicy { first_pause: Duration::from_millis(5), attempts: 4, ..RetryPolicy::remote() },
        ..BucketOptions::new(Handle::current())
    };
    let specs = vec![BucketSpec { name: BucketName::primary(), kind: BucketKind::S3(spec) }];
    Buckets::open(specs, options).await.map(|buckets| buckets.primary())
}

fn create() -> PutOptions {
    PutOptions::from(PutMode::Create)
}

/// An error with all of its causes, as a log shows them.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(" {error} {error:?}");
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn a_bucket_that_cannot_be_used_is_refused_at_once_and_says_why() {
    let server = S3Server::start();
    let good = s3_spec(&server);
    let keys = |id: &str, secret: &str| S3Credentials::Keys {
        access_key_id: id.to_owned(),
        secret_access_key: Secret::new(secret),
        session_token: Some(Secret::new("the-session-token")),
    };
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (spec, expected) in [
        (S3Spec { credentials: keys(ACCESS_KEY, "not-the-secret"), ..good.clone() }, Unusable::Credentials),
        (S3Spec { credentials: keys("AKIANOBODY", SECRET_KEY), ..good.clone() }, Unusable::Credentials),
        (S3Spec { bucket: "puddle".to_owned(), ..good.clone() }, Unusable::NoSuchBucket),
        (S3Spec { endpoint: Some(format!("http://{closed}")), ..good.clone() }, Unusable::Unreachable),
        (S3Spec { endpoint: Some(format!("http://{}", silent.local_addr().unwrap())), ..good.clone() }, Unusable::TimedOut),
        (S3Spec { allow_http: false, ..good.clone() }, Unusable::Settings),
    ] {
        let begun = Instant::now();
        let error = open(spec).await.unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(8), "{expected:?} took {:?}", begun.elapsed());
        let StorageError::OpenRemote { why, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*why, expected, "{}", whole(&error));
        let told = whole(&error) + &error.public();
        for secret in ["not-the-secret", SECRET_KEY, "the-session-token", "told by the server"] {
            assert!(!told.contains(secret), "{told}");
        }
        assert!(told.contains("`primary`"), "{told}");
    }
    assert!(!format!("{good:?} {:?}", good.credentials).contains(SECRET_KEY));
}

#[tokio::test]
async fn a_service_that_creates_twice_is_refused() {
    let server = S3Server::start();
    server.ignore_preconditions();
    let error = open(s3_spec(&server)).await.unwrap_err();
    assert!(matches!(error, StorageError::OpenRemote { why: Unusable::NotConditional, .. }), "{error:?}");
    assert!(server.keys().is_empty(), "{:?}", server.keys());
}

#[tokio::test]
async fn health_notices_a_service_that_fails() {
    let server = S3Server::start();
    let bucket = open(s3_spec(&server)).await.unwrap();
    assert!(bucket.probe().await.healthy);
    server.inject(Method::HEAD, "_probe", Fault::Refuse, 100);
    assert!(!bucket.probe().await.healthy);
    server.heal();
    server.inject(Method::HEAD, "_probe", Fault::Hang, 1);
    let begun = Instant::now();
    assert!(!bucket.probe().await.healthy);
    assert!(begun.elapsed() < Duration::from_secs(4));
    server.heal();
    assert!(bucket.probe().await.healthy);
    bucket.store().delete(&Path::from("_probe")).await.unwrap();
    assert!(!bucket.probe().await.healthy, "whoever emptied the bucket took more than this");
}

#[tokio::test]
async fn every_call_survives_a_service_that_fails_and_recovers() {
    let server = S3Server::start();
    let bucket = open(s3_spec(&server)).await.unwrap();
    let store = bucket.store();
    let all = |fault| {
        server.heal();
        for method in [Method::PUT, Method::GET, Method::HEAD, Method::POST, Method::DELETE] {
            server.inject(method, "", fault, 2);
        }
    };
    for fault in [Fault::Refuse, Fault::LoseAnswer, Fault::Drop] {
        let name = |part: &str| Path::from(format!("{fault:?}/{part}"));
        all(fault);
        store.put(&name("put"), "1".into()).await.unwrap();
        assert_eq!(store.get(&name("put")).await.unwrap().bytes().await.unwrap(), "1");
        all(fault);
        store.put_opts(&name("created"), "2".into(), create()).await.unwrap();
        store.head(&name("created")).await.unwrap();
        all(fault);
        assert_eq!(store.get_ranges(&name("put"), std::slice::from_ref(&(0..1))).await.unwrap(), ["1"]);
        let mut upload = BufWriter::with_capacity(store.clone(), name("parts"), 5 << 20);
        upload.write_all(&vec![7; 11 << 20]).await.unwrap();
        all(fault);
        upload.shutdown().await.unwrap();
        assert_eq!(store.head(&name("parts")).await.unwrap().size, 11 << 20);
        all(fault);
        store.copy(&name("put"), &name("copied")).await.unwrap();
        all(fault);
        let listed: Vec<_> = store.list(Some(&Path::from(format!("{fault:?}")))).try_collect().await.unwrap();
        assert_eq!(listed.len(), 4);
        all(fault);
        assert_eq!(store.list_with_delimiter(Some(&Path::from(format!("{fault:?}")))).await.unwrap().objects.len(), 4);
        all(fault);
        let locations = futures::stream::iter(listed.into_iter().map(|meta| Ok(meta.location))).boxed();
        assert_eq!(store.delete_stream(locations).try_collect::<Vec<_>>().await.unwrap().len(), 4);
        server.heal();
    }
    assert_eq!(server.keys(), ["_probe"]);
    let counts = bucket.counts();
    assert!(counts.retries > 30 && counts.errors == 0, "{counts:?}");
}

#[tokio::test]
async fn a_creation_ends_as_done_as_lost_to_another_or_as_unknown_and_never_as_lost_to_itself() {
    let server = S3Server::start();
    let bucket = open(s3_spec(&server)).await.unwrap();
    let store = bucket.store();
    for fault in [Fault::LoseAnswer, Fault::Drop, Fault::Refuse, Fault::Conflict] {
        let path = Path::from(format!("log/{fault:?}.json"));
        server.inject(Method::PUT, "log/", fault, 2);
        let created = store.put_opts(&path, "mine".into(), create()).await.unwrap();
        assert_eq!(store.head(&path).await.unwrap().e_tag, created.e_tag, "{fault:?}");
        let taken = store.put_opts(&path, "mine".into(), create()).await.unwrap_err();
        assert!(matches!(taken, Error::AlreadyExists { .. }), "the same bytes of another write: {taken:?}");
        // Of another, whose name was taken while our first call failed.
        server.inject(Method::PUT, "log/", Fault::Refuse, 1);
        let taken = store.put_opts(&path, "theirs".into(), create()).await.unwrap_err();
        assert!(matches!(taken, Error::AlreadyExists { .. }), "{taken:?}");
    }
    // Nobody can say what became of it: no conflict, but a failure.
    let path = Path::from("log/unknown.json");
    server.inject(Method::PUT, "log/", Fault::LoseAnswer, 100);
    server.inject(Method::HEAD, "log/", Fault::Refuse, 100);
    let unknown = store.put_opts(&path, "mine".into(), create()).await.unwrap_err();
    assert!(matches!(unknown, Error::Generic { .. }), "{unknown:?}");
    server.heal();
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "mine");
}

#[tokio::test]
async fn an_update_names_the_version_that_it_replaces() {
    let server = S3Server::start();
    let store = open(s3_spec(&server)).await.unwrap().store();
    let path = Path::from("boundary");
    let update =
        |e_tag: &Option<String>| PutOptions::from(PutMode::Update(UpdateVersion { e_tag: e_tag.clone(), version: None }));
    let first = store.put(&path, "1".into()).await.unwrap().e_tag;
    for fault in [Fault::LoseAnswer, Fault::Conflict] {
        server.inject(Method::PUT, "boundary", fault, 1);
        let second = store.put_opts(&path, format!("{fault:?}").into(), update(&first)).await.unwrap().e_tag;
        let stale = store.put_opts(&path, "3".into(), update(&first)).await.unwrap_err();
        assert!(matches!(stale, Error::Precondition { .. }), "{stale:?}");
        store.put_opts(&path, "1".into(), update(&second)).await.unwrap();
    }
    let absent = store.put_opts(&Path::from("absent"), "1".into(), update(&first)).await.unwrap_err();
    assert!(matches!(absent, Error::Precondition { .. }), "{absent:?}");
}

#[tokio::test]
async fn a_body_goes_on_where_it_broke_off_and_only_of_the_same_object() {
    let server = S3Server::start();
    let store = open(s3_spec(&server)).await.unwrap().store();
    let path = Path::from("big");
    let bytes: Vec<u8> = (0..3_u32 << 20).map(|n| u8::try_from(n % 251).unwrap()).collect();
    store.put(&path, PutPayload::from(bytes.clone())).await.unwrap();
    for _ in 0..3 {
        server.inject(Method::GET, "big", Fault::Cut(1 << 20), 1);
        server.inject(Method::GET, "big", Fault::Cut(0), 2);
    }
    assert!(store.get(&path).await.unwrap().bytes().await.unwrap() == bytes);
    server.inject(Method::GET, "big", Fault::Cut(10), 1);
    let part = GetOptions::new().with_range(Some(100..200));
    assert!(store.get_opts(&path, part).await.unwrap().bytes().await.unwrap() == bytes[100..200]);

    server.inject(Method::GET, "big", Fault::Cut(1 << 20), 1);
    let mut body = store.get(&path).await.unwrap().into_stream();
    body.next().await.unwrap().unwrap();
    store.put(&path, PutPayload::from(vec![0; 3 << 20])).await.unwrap();
    let rest: Result<Vec<_>, _> = body.try_collect().await;
    assert!(rest.is_err(), "two objects in one body");
}

#[tokio::test]
async fn an_upload_that_is_dropped_leaves_nothing_to_pay_for() {
    let server = S3Server::start();
    let store = open(s3_spec(&server)).await.unwrap().store();
    let mut upload = store.put_multipart(&Path::from("half")).await.unwrap();
    upload.put_part(vec![1; 5 << 20].into()).await.unwrap();
    assert_eq!(server.open_uploads(), 1);
    drop(upload);
    for _ in 0..500 {
        if server.open_uploads() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the upload stayed");
}

#[tokio::test]
async fn a_service_that_fails_for_good_is_asked_a_bounded_number_of_times() {
    let server = S3Server::start();
    let bucket = open(s3_spec(&server)).await.unwrap();
    server.inject(Method::GET, "gone", Fault::Refuse, 1000);
    let before = server.requests();
    let error = bucket.store().get(&Path::from("gone")).await.unwrap_err();
    assert_eq!(server.requests() - before, 4);
    assert!(!whole(&error).contains("told by the server"), "{}", whole(&error));
    assert_eq!(bucket.counts().errors, 1);
}

#[test]
fn a_bucket_is_where_its_settings_say() {
    let spec = |endpoint: Option<&str>, path_style| S3Spec {
        bucket: "lake".to_owned(),
        prefix: Some("a/b".to_owned()),
        endpoint: endpoint.map(str::to_owned),
        region: None,
        path_style,
        allow_http: false,
        credentials: S3Credentials::Environment,
    };
    assert_eq!(spec(None, false).location(), "s3://lake/a/b");
    assert_eq!(spec(Some("https://s3.example.com/"), true).location(), "https://s3.example.com/lake/a/b");
    for (endpoint, path_style, expected) in [
        ("https://s3.example.com", true, "https://s3.example.com"),
        ("https://s3.example.com/", false, "https://lake.s3.example.com"),
        ("https://lake.s3.example.com", false, "https://lake.s3.example.com"),
    ] {
        assert_eq!(spec(None, path_style).host(endpoint), expected);
    }
}

#[test]
fn every_variable_that_is_looked_for_is_one_that_the_client_knows() {
    for name in super::REGION_VARIABLES.iter().chain(&super::CREDENTIAL_VARIABLES) {
        assert!(name.to_ascii_lowercase().parse::<object_store::aws::AmazonS3ConfigKey>().is_ok(), "{name}");
    }
}
