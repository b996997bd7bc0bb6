//! The engine without a gateway, over memory.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use lakehouse_access::{Caller, Principal};
use lakehouse_catalog::CatalogError;
use lakehouse_plugins::Compiler;
use lakehouse_settings::{BucketSettings, Settings};
use lakehouse_types::{BucketName, ManualClock, ProfileId, RequestId, ViewName};
use serde_json::{from_value, json};
use tokio::{sync::oneshot, time::timeout};

use crate::{Bury, Engine, EngineError, EngineOptions, EventFilter, EventKind, Format, IngestFile, IngestMode, OnError};

async fn open() -> (Arc<Engine>, tempfile::TempDir) {
    open_with(EngineOptions::default(), None).await
}

async fn open_with(options: EngineOptions, schedule: Option<&str>) -> (Arc<Engine>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::default().rooted(folder.path());
    settings.buckets.insert(BucketName::primary(), BucketSettings::Memory);
    settings.query.threads = 2;
    settings.compaction.schedule = schedule.map(Into::into);
    let options = EngineOptions { compiler: Some(Compiler::in_process()), ..options };
    (Engine::open(settings, options).await.unwrap(), folder)
}

fn admin() -> Caller {
    let principal = Arc::new(Principal::local_admin());
    Caller { principal, profile: ProfileId::default_profile(), request_id: RequestId::fresh() }
}

async fn ingest(engine: &Arc<Engine>, caller: &Caller) {
    let file = IngestFile {
        dataset: "people".parse().unwrap(),
        bucket: None,
        mode: IngestMode::Append,
        format: Some(Format::Csv),
        file_name: None,
        content_type: None,
        key: None,
        on_error: OnError::Fail,
        idempotency_key: None,
    };
    engine.ingest(caller, file, stream::iter([Ok("id\n1\n".into())]).boxed()).await.unwrap();
}

/// What the gateway says of a request that it gave up: the work goes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_its_caller_gave_up_goes_on() {
    let (engine, _folder) = open().await;
    let caller = admin();
    ingest(&engine, &caller).await;
    let view = |name: &str| from_value(json!({"name": name, "base_dataset": "people", "columns": ["id"]})).unwrap();
    let profile = |id: &str| from_value(json!({"id": id})).unwrap();
    engine.put_view(&caller, view("old"), None).await.unwrap();
    engine.put_profile(&caller, profile("old")).await.unwrap();

    // An edit that stands still keeps the others waiting.
    let (stands, standing) = oneshot::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (catalog, by) = (Arc::clone(&engine.catalog), engine.stamp(&caller));
    let still = tokio::spawn(async move {
        let edit = catalog.edit(&by, move |_, _| {
            stands.send(()).unwrap();
            tokio::task::block_in_place(|| wait.recv().unwrap());
            Ok::<_, CatalogError>(())
        });
        edit.await
    });
    standing.await.unwrap();

    let (old_view, old_profile): (ViewName, ProfileId) = ("old".parse().unwrap(), "old".parse().unwrap());
    let given_up = Duration::from_millis(100);
    assert!(timeout(given_up, engine.put_view(&caller, view("new"), None)).await.is_err());
    assert!(timeout(given_up, engine.delete_view(&caller, &old_view)).await.is_err());
    assert!(timeout(given_up, engine.put_profile(&caller, profile("new"))).await.is_err());
    assert!(timeout(given_up, engine.delete_profile(&caller, &old_profile)).await.is_err());
    go.send(()).unwrap();
    still.await.unwrap().unwrap();

    timeout(Duration::from_secs(20), engine.changes.ended()).await.expect("they come to their end");
    let present = engine.catalog.snapshot();
    assert_eq!(present.views.keys().map(ViewName::as_str).collect::<Vec<_>>(), ["new"]);
    assert_eq!(present.profiles.keys().map(ProfileId::as_str).collect::<Vec<_>>(), ["default", "new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nothing_has_is_unknown_to_those_who_may_know_all() {
    let (engine, _folder) = open().await;
    let told = engine.view(&admin(), &"nothing".parse().unwrap()).await.unwrap_err();
    assert!(matches!(told, EngineError::Catalog(CatalogError::UnknownView { .. })), "{told}");
    assert_eq!(engine.journal.stats().total_events_created, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_rows_go_at_the_time_that_the_schedule_says() {
    let clock = Arc::new(ManualClock::at("2026-01-02T03:00:00Z".parse().unwrap()));
    let options = EngineOptions { clock: clock.clone(), ..EngineOptions::default() };
    let (engine, _folder) = open_with(options, Some("30 3 * * *")).await;
    let (caller, people) = (admin(), "people".parse().unwrap());
    ingest(&engine, &caller).await;
    let one = Bury { column: "id".parse().unwrap(), values: vec![json!(1)], actor: None, reason: String::new() };
    engine.bury(&caller, &people, one).await.unwrap();
    let compacted = || async {
        let filter = EventFilter { kind: Some(EventKind::Compact), ..EventFilter::default() };
        engine.journal.events(&filter, None, 10).await.unwrap().events
    };

    clock.advance(chrono::Duration::minutes(29));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(compacted().await.len(), 0, "before its time");

    clock.advance(chrono::Duration::minutes(2));
    let soon = async {
        while compacted().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(20), soon).await.expect("it compacts");
    let events = compacted().await;
    assert_eq!((events.len(), events[0].actor.as_str(), events[0].role.as_ref()), (1, "schedule", "system"));
    assert_eq!(engine.tables.state(&people).unwrap().tombstones.len(), 0);
}
