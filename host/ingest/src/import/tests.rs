use lakehouse_types::{BucketName, Fault};
use object_store::ObjectStoreExt;

use super::ImportRequest;
use crate::ingest::tests::{Lake, name, request};
use crate::{Format, IngestError, IngestReport, OnError, Pulled};

async fn put(lake: &Lake, path: &str, text: &str) {
    lake.buckets.primary().store().put(&path.into(), text.to_owned().into()).await.unwrap();
}

fn asked(lake: &Lake, path: &str) -> ImportRequest {
    let request = request("t", Format::Csv);
    ImportRequest {
        dataset: request.dataset,
        bucket: None,
        mode: request.mode,
        from: lake.buckets.get(&BucketName::primary()).unwrap(),
        path: path.parse().unwrap(),
        format: None,
        key: None,
        on_error: OnError::Fail,
        idempotency_key: None,
        by: request.by,
    }
}

async fn run(lake: &Lake, request: ImportRequest) -> Result<IngestReport, IngestError> {
    match lake.ingest.import(request).await? {
        Pulled::Replayed(report) => Ok(report),
        Pulled::Whole(rows) => rows.commit().await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_many_formats_become_one_version() {
    let lake = Lake::open().await;
    put(&lake, "in/2.ndjson", "{\"id\": 3, \"colour\": \"red\"}\n").await;
    put(&lake, "in/1.csv", "id,name\n1,Ana\n2,Bo\n").await;
    put(&lake, "in/deep/er/3.tsv", "id\tname\n4\tCy\n").await;
    put(&lake, "in/notes.txt", "not meant").await;
    put(&lake, "out/1.csv", "id\nx\n").await;
    let report = run(&lake, asked(&lake, "in/**/?.*")).await.unwrap();
    assert_eq!((report.rows, report.version), (4, 0));
    assert_eq!(lake.types(), ["integer", "text", "text"]);
    assert_eq!(run(&lake, asked(&lake, "in/1.csv")).await.unwrap().rows, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_file_leaves_nothing_and_is_named() {
    let lake = Lake::open().await;
    put(&lake, "in/1.csv", "id,v\n1,2\n").await;
    put(&lake, "in/2.csv", "id,v\n2,two\n3\n").await;
    let error = run(&lake, asked(&lake, "in/*.csv")).await.unwrap_err();
    assert_eq!(error.code().as_str(), "invalid_data");
    assert!(error.public().starts_with("file `in/2.csv`: line 2, column `v`: "), "{}", error.public());
    assert_eq!((&error.members()["file"], &error.members()["line"]), (&"in/2.csv".into(), &2.into()));
    assert!(lake.tables.dataset(&name("t")).is_none());

    let report = run(&lake, ImportRequest { on_error: OnError::Skip, ..asked(&lake, "in/*.csv") }).await.unwrap();
    assert_eq!((report.rows, report.rejected_rows), (1, 2));
    assert!(report.rejected[0].reason.starts_with("file `in/2.csv`: column `v`: "), "{:?}", report.rejected);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_and_too_much_are_refused_and_a_repeat_is_known_by_its_files() {
    let lake = Lake::open().await;
    assert!(matches!(run(&lake, asked(&lake, "in/*.csv")).await, Err(IngestError::NoFiles)));
    put(&lake, "in/1.csv", "id\n1\n").await;
    let once = || ImportRequest { idempotency_key: Some("once".into()), ..asked(&lake, "in/*.csv") };
    let first = run(&lake, once()).await.unwrap();
    let again = run(&lake, once()).await.unwrap();
    assert_eq!((again.version, again.is_repeat), (first.version, true));
    put(&lake, "in/2.csv", "id\n2\n").await;
    assert_eq!(run(&lake, once()).await.unwrap_err().code().as_str(), "idempotency_mismatch");
    for n in 0..1000 {
        put(&lake, &format!("in/many-{n}.csv"), "id\n1\n").await;
    }
    assert!(matches!(run(&lake, asked(&lake, "in/*.csv")).await, Err(IngestError::TooManyFiles { .. })));
}
