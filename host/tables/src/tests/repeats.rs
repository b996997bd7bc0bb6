//! Requests that are sent again.

use lakehouse_types::DatasetId;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_equal_requests_have_one_effect() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    let idempotency = |fingerprint: &str| Some(Idempotency { key: "once".to_owned(), fingerprint: fingerprint.to_owned() });
    let tasks = (0..100).map(|_| {
        let (tables, spec) = (Arc::clone(&host.tables), WriteSpec { idempotency: idempotency("a"), ..spec("people") });
        tokio::spawn(async move { write(&tables, spec, vec![rows(0, 10)]).await.unwrap() })
    });
    let reports = futures::future::try_join_all(tasks).await.unwrap();
    let first = reports.iter().find(|report| !report.is_repeat).expect("one of them was the first");
    let repeat = CommitReport { is_repeat: true, ..first.clone() };
    assert_eq!(reports.iter().filter(|report| **report == repeat).count(), 99);
    assert_eq!(host.number("SELECT count(*) FROM people").await, 10);
    assert_eq!(host.ingests().await, 1);
    let host = host.restart(&directory).await;
    let again = write(&host.tables, WriteSpec { idempotency: idempotency("a"), ..spec("people") }, vec![]).await.unwrap();
    assert_eq!(again, repeat, "the answer survives a restart");
    let other = write(&host.tables, WriteSpec { idempotency: idempotency("b"), ..spec("people") }, vec![]).await;
    assert!(matches!(other, Err(TableError::IdempotencyMismatch)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_again_while_its_outcome_is_unknown_has_one_effect() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 10)]).await.unwrap();
    let request = || {
        let idempotency = Some(Idempotency { key: "once".to_owned(), fingerprint: "a".to_owned() });
        WriteSpec { idempotency, ..spec("people") }
    };
    let mut writer = begin(&host.tables, request()).await.unwrap();
    writer.write(rows(10, 20)).await.unwrap();
    let work = writer.disarm();
    let id = work.id.clone();
    work.leave_behind(true).await;
    let table = host.tables.table(&name("people")).unwrap();
    let mut queue = table.queue().await.unwrap();
    queue.doubt(&id);
    drop(queue);
    let report = write(&host.tables, request(), vec![rows(10, 20)]).await.unwrap();
    assert_eq!((report.rows, report.version), (10, 1));
    assert_eq!(host.number("SELECT count(id) FROM people").await, 20);
    assert_eq!(host.ingests().await, 2);
    assert_eq!(host.meta.collection::<Intent>().all().await.unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_again_that_another_write_settled_has_one_effect() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 10)]).await.unwrap();
    let mut first = begin(&host.tables, idempotent("people", "once")).await.unwrap();
    first.write(rows(10, 20)).await.unwrap();
    let work = first.disarm();
    let id = work.id.clone();
    work.leave_behind(true).await;
    let table = host.tables.table(&name("people")).unwrap();
    table.queue().await.unwrap().unsettled.push(id);
    // It begins while the outcome is unknown, and commits when another write has made it known.
    let mut again = begin(&host.tables, idempotent("people", "once")).await.unwrap();
    again.write(rows(10, 20)).await.unwrap();
    host.write("people", vec![rows(20, 30)]).await.unwrap();
    let report = again.finish(Vec::new(), 0).await.unwrap();
    assert_eq!((report.rows, report.version, report.is_repeat), (10, 1, true));
    assert_eq!(host.number("SELECT count(id) FROM people").await, 30);
    assert_eq!((host.ingests().await, host.intents().await.len()), (3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_repeated_for_a_week_and_as_long_as_its_dataset_is_there() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    let ask = async |dataset: &str, key: &str| {
        write(&host.tables, WriteSpec { by: now(&host), ..idempotent(dataset, key) }, vec![rows(0, 10)]).await.unwrap()
    };
    let kept = async || host.meta.collection::<Outcome>().all().await.unwrap().len();
    assert!(!ask("people", "a").await.is_repeat);
    assert!(ask("people", "a").await.is_repeat);
    host.tables.drop_dataset(&stamp(), &name("people")).await.unwrap();
    let anew = ask("people", "a").await;
    assert_eq!((anew.is_repeat, anew.version), (false, 0), "rows that were deleted are not reported");
    assert!(ask("people", "a").await.is_repeat);

    ask("people", "b").await;
    host.clock.advance(TimeDelta::days(DAYS) + TimeDelta::seconds(1));
    let anew = ask("people", "a").await;
    assert_eq!((anew.is_repeat, anew.version), (false, 2), "an old answer is forgotten without a restart");
    assert_eq!(kept().await, 2);
    host.tables.forget_outcomes().await.unwrap();
    assert_eq!(kept().await, 1, "the old one goes, the new one stays");
    assert!(ask("people", "a").await.is_repeat);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_answers_are_forgotten_while_the_host_runs() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    write(&host.tables, idempotent("people", "once"), vec![rows(0, 10)]).await.unwrap();
    let kept = async || host.meta.collection::<Outcome>().all().await.unwrap().len();
    let pause = std::time::Duration::from_millis(10);
    let forgetting = tokio::spawn(forget_every(pause, Arc::downgrade(&host.tables)));
    tokio::time::sleep(10 * pause).await;
    assert_eq!(kept().await, 1, "it is not old");
    host.clock.advance(TimeDelta::days(DAYS) + TimeDelta::seconds(1));
    assert!(eventually(async || kept().await == 0).await);
    drop(host);
    assert!(eventually(async || forgetting.is_finished()).await, "it ends with the tables");
}

#[test]
fn the_stored_forms_of_an_answer_stay_readable() {
    let golden = include_str!("../../golden/outcome-1.json");
    let mut lines = golden.lines();
    let first: Outcome = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!((first.dataset_id, first.report.version, first.report.is_repeat), (None, 3, false));
    let second: Outcome = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(second.report.replaced_rows, 0);
    let present = lines.next().unwrap();
    let read: Outcome = serde_json::from_str(present).unwrap();
    assert_eq!(read.dataset_id.as_ref().map(DatasetId::as_str), Some("01J0000000000000000000000"));
    assert_eq!(serde_json::to_string(&read).unwrap(), present);
}
