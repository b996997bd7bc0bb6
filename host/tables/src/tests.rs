use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use chrono::{DateTime, Utc};
use datafusion::physical_plan::ExecutionPlanProperties;
use datafusion::prelude::{SessionConfig, SessionContext};
use lakehouse_catalog::{Catalog, ViewInput};
use lakehouse_journal::{EventKind, Filter, Journal, Stamp};
use lakehouse_storage::{Bucket, BucketKind, BucketOptions, BucketSpec, Buckets, Meta, MetaOptions};
use lakehouse_types::{Actor, BucketName, Clock, Code, ColumnName, DatasetName, Fault, ManualClock, RequestId};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::RowGroupMetaData;
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::folder::{DATASETS, delete_all};
use crate::records::{Intent, Pending, Stage};
use crate::{Begin, CommitReport, FailureReason, Idempotency, TableError, TableWriter, Tables, WriteMode, WriteSpec};

/// One host on one directory.
struct Host {
    tables: Arc<Tables>,
    catalog: Arc<Catalog>,
    journal: Journal,
    meta: Meta,
    buckets: Buckets,
}

impl Host {
    async fn open(directory: &TempDir) -> Self {
        let buckets = Buckets::open(specs(directory), BucketOptions::new(Handle::current())).await.unwrap();
        let meta = Meta::open(&buckets.primary(), MetaOptions::default()).await.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(DateTime::<Utc>::from_timestamp(1_700_000_000, 0).unwrap()));
        let journal = Journal::open(meta.clone(), Arc::clone(&clock)).await.unwrap();
        let catalog = Arc::new(Catalog::open(meta.clone(), journal.clone(), Arc::clone(&clock)).await.unwrap());
        let tables = Tables::open(buckets.clone(), meta.clone(), Arc::clone(&catalog), journal.clone(), clock, Handle::current())
            .await
            .unwrap();
        Self { tables, catalog, journal, meta, buckets }
    }

    /// Ends the host without a farewell and opens another on the same directory.
    async fn restart(self, directory: &TempDir) -> Self {
        self.stop(directory).await;
        Self::open(directory).await
    }

    async fn stop(self, directory: &TempDir) {
        self.meta.close().await.unwrap();
        drop(self);
        // The lock of a bucket goes with the last task that holds it.
        for _ in 0..100 {
            if Buckets::open(specs(directory), BucketOptions::new(Handle::current())).await.is_ok() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    async fn write(&self, dataset: &str, batches: Vec<RecordBatch>) -> Result<CommitReport, TableError> {
        write(&self.tables, spec(dataset), batches).await
    }

    async fn sql(&self, sql: &str) -> Vec<RecordBatch> {
        let session = self.session();
        session.sql(sql).await.unwrap().collect().await.unwrap()
    }

    fn session(&self) -> SessionContext {
        let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        for bucket in self.buckets.iter() {
            session.register_object_store(&bucket.url(), bucket.compat());
        }
        for state in self.tables.datasets() {
            session.register_table(state.name.as_str(), state.provider()).unwrap();
        }
        session
    }

    async fn number(&self, sql: &str) -> i64 {
        self.sql(sql).await[0].column(0).as_primitive::<Int64Type>().value(0)
    }

    async fn ingests(&self) -> usize {
        let filter = Filter { kind: Some(EventKind::Ingest), ..Filter::default() };
        self.journal.events(&filter, None, 1000).await.unwrap().events.len()
    }

    fn files(&self) -> Vec<String> {
        let root = self.buckets.primary().local_path().unwrap().join(DATASETS);
        let mut found = Vec::new();
        let mut open = vec![root];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { open.push(path) } else { found.push(path.file_name().unwrap().to_string_lossy().into_owned()) }
            }
        }
        found.sort();
        found
    }
}

fn specs(directory: &TempDir) -> Vec<BucketSpec> {
    let spec = |name: &str| BucketSpec {
        name: BucketName::new(name).unwrap(),
        kind: BucketKind::Local { path: directory.path().join(name) },
    };
    vec![spec("primary"), spec("other")]
}

fn stamp() -> Stamp {
    Stamp {
        actor: Actor::new("ada").unwrap(),
        role: "writer".into(),
        profile: None,
        request_id: RequestId::fresh(),
        at: DateTime::<Utc>::from_timestamp(1_700_000_000, 0).unwrap(),
    }
}

fn name(name: &str) -> DatasetName {
    DatasetName::new(name).unwrap()
}

fn column(name: &str) -> ColumnName {
    ColumnName::new(name).unwrap()
}

fn spec(dataset: &str) -> WriteSpec {
    WriteSpec {
        dataset: name(dataset),
        bucket: None,
        mode: WriteMode::Append,
        key: None,
        idempotency: None,
        by: stamp(),
        started: Instant::now(),
    }
}

async fn begin(tables: &Arc<Tables>, spec: WriteSpec) -> Result<TableWriter, TableError> {
    match tables.begin(spec).await? {
        Begin::Writer(writer) => Ok(writer),
        Begin::Replayed(_) => panic!("a new write was replayed"),
    }
}

async fn write(tables: &Arc<Tables>, spec: WriteSpec, batches: Vec<RecordBatch>) -> Result<CommitReport, TableError> {
    let mut writer = match tables.begin(spec).await? {
        Begin::Writer(writer) => writer,
        Begin::Replayed(report) => return Ok(report),
    };
    for batch in batches {
        writer.write(batch).await?;
    }
    writer.finish(Vec::new(), 0).await
}

/// Rows `from..to`: `id` (integer), `code` (text).
fn rows(from: i64, to: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..to));
    let codes: ArrayRef = Arc::new(StringArray::from_iter_values((from..to).map(|id| format!("C-{id:06}"))));
    RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("code", codes, true)]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_visible_when_the_write_answers_and_after_a_restart() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    let report = host.write("people", vec![rows(0, 10), rows(10, 30)]).await.unwrap();
    assert_eq!((report.rows, report.version), (30, 0));
    assert_eq!(host.write("people", vec![rows(30, 40)]).await.unwrap().version, 1);
    let host = host.restart(&directory).await;
    assert_eq!(host.number("SELECT count(*) FROM people WHERE code >= 'C-000035'").await, 5);
    assert_eq!(host.tables.dataset(&name("people")).unwrap().rows, 40);
    assert_eq!(host.ingests().await, 2);
    assert_eq!(host.number("SELECT sum(id) FROM people").await, (0..40).sum::<i64>());
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_and_bounds_are_answered_without_a_scan_and_scans_are_parallel() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    let batches = (0..13).map(|part| rows(part * 8192, (part + 1) * 8192)).collect();
    host.write("people", batches).await.unwrap();
    let session = host.session();
    let plan = session.sql("SELECT count(*), min(id), max(id) FROM people").await.unwrap().create_physical_plan().await.unwrap();
    let shown = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
    assert!(!shown.contains("DataSourceExec"), "{shown}");
    let plan = session.sql("SELECT code FROM people WHERE id % 2 = 0").await.unwrap().create_physical_plan().await.unwrap();
    let shown = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
    assert!(shown.contains("file_groups={2 groups"), "{shown}");
    assert_eq!(plan.output_partitioning().partition_count(), 2);
    let batches = datafusion::physical_plan::collect(plan, session.task_ctx()).await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 13 * 8192 / 2);
    // Each half of the file's bytes holds the middle of a row group, so that both partitions have work.
    let state = host.tables.dataset(&name("people")).unwrap();
    let path = host.buckets.primary().local_path().unwrap().join(state.files[0].meta.location.as_ref());
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
    let groups: Vec<i64> = reader.metadata().row_groups().iter().map(RowGroupMetaData::num_rows).collect();
    assert_eq!(groups, [32_768, 32_768, 32_768, 8_192]);
    assert_eq!(host.number("SELECT count(*) FROM (SELECT id FROM people LIMIT 7)").await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_grow_and_refuse() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 2)]).await.unwrap();
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![7]));
    let wide = RecordBatch::try_from_iter([("seen at (local)", times)]).unwrap();
    host.write("people", vec![wide]).await.unwrap();
    assert_eq!(host.number("SELECT count(*) FROM people WHERE \"seen at (local)\" IS NULL").await, 2);
    assert_eq!(host.number("SELECT count(*) FROM people WHERE id IS NULL").await, 1);
    let odd: ArrayRef = Arc::new(Float64Array::from(vec![None, Some(0.5)]));
    let error = host.write("people", vec![RecordBatch::try_from_iter([("id", odd)]).unwrap()]).await.unwrap_err();
    assert_eq!(error.code(), Code::SchemaConflict);
    assert_eq!(error.public(), "column `id` is integer, the input has float (first at row 2)");
    let host = host.restart(&directory).await;
    assert_eq!(host.tables.dataset(&name("people")).unwrap().columns().len(), 3);
    assert_eq!(host.number("SELECT count(*) FROM people").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn replace_swaps_rows_and_schema_and_empty_tables_work() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 100)]).await.unwrap();
    let before = host.tables.dataset(&name("people")).unwrap();
    let flat: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let batch = RecordBatch::try_from_iter([("id", flat)]).unwrap();
    let report = write(&host.tables, WriteSpec { mode: WriteMode::Replace, ..spec("people") }, vec![batch]).await.unwrap();
    assert_eq!((report.rows, report.columns.len()), (1, 1));
    assert_eq!(host.number("SELECT count(*) FROM people").await, 1);
    assert_eq!(before.rows, 100, "a pinned state stays as it is");

    host.write("empty", vec![rows(0, 0)]).await.unwrap();
    assert_eq!(host.number("SELECT count(*) FROM empty WHERE id > 3").await, 0);
    assert_eq!(host.tables.dataset(&name("empty")).unwrap().columns().len(), 2);
    assert!(matches!(host.write("nothing", vec![]).await, Err(TableError::NoColumns)));
    assert!(host.tables.dataset(&name("nothing")).is_none());
}

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
    assert!(reports.iter().all(|report| *report == reports[0]));
    assert_eq!(host.number("SELECT count(*) FROM people").await, 10);
    assert_eq!(host.ingests().await, 1);
    let host = host.restart(&directory).await;
    let again = write(&host.tables, WriteSpec { idempotency: idempotency("a"), ..spec("people") }, vec![]).await.unwrap();
    assert_eq!(again, reports[0], "the answer survives a restart");
    let other = write(&host.tables, WriteSpec { idempotency: idempotency("b"), ..spec("people") }, vec![]).await;
    assert!(matches!(other, Err(TableError::IdempotencyMismatch)));
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_writers_lose_no_rows() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    let tasks = (0..32).map(|writer| {
        let tables = Arc::clone(&host.tables);
        tokio::spawn(async move { write(&tables, spec("people"), vec![rows(writer * 10, writer * 10 + 10)]).await })
    });
    for outcome in futures::future::try_join_all(tasks).await.unwrap() {
        outcome.unwrap();
    }
    assert_eq!(host.number("SELECT count(DISTINCT id) FROM people").await, 320);
    assert_eq!(host.ingests().await, 32);
    assert_eq!(host.tables.dataset(&name("people")).unwrap().version, 31);
}

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
    queue.unsettled = Some("published".to_owned());
    drop(queue);
    host.write("people", vec![rows(20, 30)]).await.unwrap();
    let state = host.tables.dataset(&name("people")).unwrap();
    assert_eq!((state.tombstones.column.clone(), state.rows), (Some(column("id")), 30));
    assert_eq!(host.catalog.snapshot().dataset(&name("people")).unwrap().key_column, Some(column("id")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_catalog_sweeps_no_datasets() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    write(&host.tables, WriteSpec { bucket: Some(BucketName::new("other").unwrap()), ..spec("far") }, vec![rows(0, 3)])
        .await
        .unwrap();
    host.stop(&directory).await;
    let (primary, away) = (directory.path().join("primary"), directory.path().join("away"));
    std::fs::rename(&primary, &away).unwrap();
    let stray = directory.path().join("other").join(DATASETS).join("stray");
    std::fs::create_dir_all(&stray).unwrap();
    std::fs::write(stray.join("part.parquet"), "x").unwrap();
    let host = Host::open(&directory).await;
    assert!(host.tables.datasets().is_empty());
    assert!(stray.exists(), "nothing is swept");
    host.stop(&directory).await;
    std::fs::remove_dir_all(&primary).unwrap();
    std::fs::rename(&away, &primary).unwrap();
    let host = Host::open(&directory).await;
    assert_eq!(host.number("SELECT count(id) FROM far").await, 3);
    assert!(!stray.exists(), "what no dataset has is swept by the right catalog");
}

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
    for _ in 0..200 {
        if !root.exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(!root.exists(), "the old files are gone");
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
    let view = json!({ "name": "far_view", "base_dataset": "far", "columns": ["id"] });
    let view: ViewInput = serde_json::from_value(view).unwrap();
    let view = view.into_record(&stamp().actor, stamp().at, None);
    host.catalog.edit::<_, TableError>(&stamp(), |_, edit| Ok(edit.put_view(view)?)).await.unwrap();
    assert_eq!(host.write("far_view", vec![rows(0, 1)]).await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(host.tables.drop_dataset(&stamp(), &name("far")).await.unwrap_err().code(), Code::InUse);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_gives_up_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    let mut writer = begin(&host.tables, spec("people")).await.unwrap();
    writer.write(rows(0, 50_000)).await.unwrap();
    writer.abort().await;
    let mut writer = begin(&host.tables, spec("people")).await.unwrap();
    writer.write(rows(0, 50_000)).await.unwrap();
    drop(writer);
    for _ in 0..200 {
        if host.meta.collection::<Intent>().all().await.unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(host.meta.collection::<Intent>().all().await.unwrap().len(), 0);
    assert_eq!(host.files(), Vec::<String>::new());
    assert_eq!(host.ingests().await, 0);
}

/// Leaves an intent and files as a host would that was killed, at one of three moments.
async fn interrupt(host: &Host, committed: bool, dataset: &str) -> Pending {
    let mut writer = begin(&host.tables, spec(dataset)).await.unwrap();
    writer.write(rows(100, 110)).await.unwrap();
    let work = writer.disarm();
    work.leave_behind(committed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_write_is_finished_if_the_log_has_it_and_undone_if_not() {
    for existing in [false, true] {
        for committed in [false, true] {
            let directory = TempDir::new().unwrap();
            let host = Host::open(&directory).await;
            let before = if existing { 10 } else { 0 };
            if existing {
                host.write("people", vec![rows(0, 10)]).await.unwrap();
            }
            interrupt(&host, committed, "people").await;
            assert_eq!(host.meta.collection::<Intent>().all().await.unwrap().len(), 1);
            let host = host.restart(&directory).await;
            assert_eq!(host.meta.collection::<Intent>().all().await.unwrap().len(), 0);
            let expected = before + if committed { 10 } else { 0 };
            let rows = host.tables.dataset(&name("people")).map_or(0, |state| state.rows);
            assert_eq!(rows, expected, "existing {existing}, committed {committed}");
            assert_eq!(host.ingests().await, usize::from(existing) + usize::from(committed));
            if expected > 0 {
                assert_eq!(host.number("SELECT count(id) FROM people").await as u64, expected);
            } else {
                assert_eq!(host.files(), Vec::<String>::new());
            }
            host.write("people", vec![super::tests::rows(0, 1)]).await.unwrap();
            let host = host.restart(&directory).await;
            assert_eq!(host.number("SELECT count(id) FROM people").await as u64, expected + 1, "a second start changes nothing");
        }
    }
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
    queue.unsettled = Some(id);
    drop(queue);
    let report = write(&host.tables, request(), vec![rows(10, 20)]).await.unwrap();
    assert_eq!((report.rows, report.version), (10, 1));
    assert_eq!(host.number("SELECT count(id) FROM people").await, 20);
    assert_eq!(host.ingests().await, 2);
    assert_eq!(host.meta.collection::<Intent>().all().await.unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_catalog_has_is_never_swept() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 10)]).await.unwrap();
    let state = host.tables.dataset(&name("people")).unwrap();
    let intent = Intent {
        by: (&stamp()).into(),
        dataset: name("people"),
        id: state.id.clone(),
        bucket: state.bucket.clone(),
        stage: Stage::Dropping,
    };
    drop(state);
    let mut transaction = host.meta.begin().await.unwrap();
    transaction.put(&crate::folder::drop_key(&intent.id), &intent).unwrap();
    transaction.commit().await.unwrap();
    let host = host.restart(&directory).await;
    assert_eq!(host.number("SELECT count(id) FROM people").await, 10);
    assert_eq!(host.meta.collection::<Intent>().all().await.unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_deletion_is_finished() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 10)]).await.unwrap();
    let pinned = host.tables.dataset(&name("people")).unwrap();
    host.tables.drop_dataset(&stamp(), &name("people")).await.unwrap();
    assert!(matches!(host.meta.collection::<Intent>().all().await.unwrap()[0].1.stage, Stage::Dropping));
    // A killed host drops nothing.
    std::mem::forget(pinned);
    let stray: Bucket = host.buckets.primary();
    let path = object_store_13::path::Path::from("datasets/stray/part.parquet");
    object_store_13::ObjectStoreExt::put(&stray.compat(), &path, "x".into()).await.unwrap();
    assert_eq!(delete_all(&stray, &"datasets/none".into(), "").await.unwrap(), 0);
    let repaired = Arc::clone(&host.tables);
    repaired.repair().await.unwrap();
    assert_eq!(host.files(), Vec::<String>::new(), "the dropped files and the stray one are gone");
}
