use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::Int64Type;
use chrono::{DateTime, TimeDelta, Utc};
use datafusion::physical_plan::ExecutionPlanProperties;
use datafusion::prelude::{SessionConfig, SessionContext};
use lakehouse_catalog::{Catalog, DatasetRecord, ViewInput};
use lakehouse_journal::{EventKind, Filter, Journal, Stamp};
use lakehouse_storage::{Bucket, BucketKind, BucketOptions, BucketSpec, Buckets, Claim, Meta, MetaOptions};
use lakehouse_types::{Actor, BucketName, Clock, Code, ColumnName, DatasetName, ErrorKind, Fault, ManualClock, RequestId};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::RowGroupMetaData;
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::folder::{DATASETS, delete_all};
use crate::outcomes::{DAYS, forget_every};
use crate::records::{Intent, Outcome, Pending, Stage};
use crate::{
    Begin, CommitReport, FailureReason, Idempotency, TableError, TableOptions, TableWriter, Tables, WriteMode, WriteSpec,
};

mod compaction;
mod group;
mod keys;
mod names;
mod repeats;
mod small;
mod start;

/// How often something is looked for that comes by itself; a look each 10 ms.
const LOOKS: usize = 2000;

/// Readers here are waited for half a second.
const OPTIONS: TableOptions =
    TableOptions { retention: std::time::Duration::from_hours(24), patience: std::time::Duration::from_millis(500) };

/// One host on one directory.
struct Host {
    tables: Arc<Tables>,
    clock: Arc<ManualClock>,
    catalog: Arc<Catalog>,
    journal: Journal,
    meta: Meta,
    buckets: Buckets,
}

impl Host {
    async fn open(directory: &TempDir) -> Self {
        Self::open_with(specs(directory)).await
    }

    async fn open_with(specs: Vec<BucketSpec>) -> Self {
        Self::open_as(specs, Claim::Write).await
    }

    async fn open_as(specs: Vec<BucketSpec>, claim: Claim) -> Self {
        let buckets = Buckets::open(specs, BucketOptions { claim, ..BucketOptions::new(Handle::current()) }).await.unwrap();
        let meta = Meta::open(&buckets.primary(), MetaOptions { claim, ..MetaOptions::default() }).await.unwrap();
        let manual = Arc::new(ManualClock::at(DateTime::<Utc>::from_timestamp(1_700_000_000, 0).unwrap()));
        let clock: Arc<dyn Clock> = Arc::clone(&manual) as _;
        let journal = Journal::open(meta.clone(), Arc::clone(&clock)).await.unwrap();
        let catalog = Arc::new(Catalog::open(meta.clone(), journal.clone(), Arc::clone(&clock)).await.unwrap());
        let tables =
            Tables::open(buckets.clone(), meta.clone(), Arc::clone(&catalog), journal.clone(), clock, Handle::current(), OPTIONS)
                .await
                .unwrap();
        Self { tables, clock: manual, catalog, journal, meta, buckets }
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
        for _ in 0..LOOKS {
            if Buckets::open(specs(directory), BucketOptions::new(Handle::current())).await.is_ok() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
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

    async fn intents(&self) -> Vec<Intent> {
        self.meta.collection::<Intent>().all().await.unwrap().into_iter().map(|(_, intent)| intent).collect()
    }

    async fn put_view(&self, view: &str, base: &str) {
        let view = json!({ "name": view, "base_dataset": base, "columns": ["id"] });
        let view: ViewInput = serde_json::from_value(view).unwrap();
        let view = view.into_record(&stamp().actor, stamp().at, None);
        self.catalog.edit::<_, TableError>(&stamp(), |_, edit| Ok(edit.put_view(view)?)).await.unwrap();
    }

    /// Where a local bucket has the files of a dataset.
    fn folder(&self, dataset: &str) -> PathBuf {
        let table = self.tables.table(&name(dataset)).unwrap();
        table.folder.bucket().local_path().unwrap().join(table.folder.path().as_ref())
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
    let spec = |name: &str, kind| BucketSpec { name: BucketName::new(name).unwrap(), kind };
    let local = |name: &str| spec(name, BucketKind::Local { path: directory.path().join(name) });
    vec![local("primary"), local("other"), spec("scratch", BucketKind::Memory)]
}

/// Waits for what comes by itself.
async fn eventually(is_there: impl AsyncFn() -> bool) -> bool {
    for _ in 0..LOOKS {
        if is_there().await {
            return true;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    false
}

/// Copies a folder and all that is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
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
    assert!(host.tables.dataset(&name("people")).unwrap().version <= 31, "those that wait share commits");
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
    assert!(eventually(async || host.intents().await.is_empty()).await, "the intents are gone");
    assert_eq!(host.files(), Vec::<String>::new());
    let folders = std::fs::read_dir(host.buckets.primary().local_path().unwrap().join(DATASETS)).into_iter().flatten();
    assert_eq!(folders.count(), 0, "no folder stays either");
    assert_eq!(host.ingests().await, 0);
}

/// Leaves an intent and files as a host would that was killed, at one of three moments.
async fn interrupt(host: &Host, committed: bool, dataset: &str) -> Pending {
    let mut writer = begin(&host.tables, spec(dataset)).await.unwrap();
    writer.write(rows(100, 110)).await.unwrap();
    let work = writer.disarm();
    work.leave_behind(committed).await
}

fn idempotent(dataset: &str, key: &str) -> WriteSpec {
    let idempotency = Some(Idempotency { key: key.to_owned(), fingerprint: "a".to_owned() });
    WriteSpec { idempotency, ..spec(dataset) }
}

fn in_bucket(bucket: &str, spec: WriteSpec) -> WriteSpec {
    WriteSpec { bucket: Some(BucketName::new(bucket).unwrap()), ..spec }
}

/// A stamp of the host's present.
fn now(host: &Host) -> Stamp {
    Stamp { at: host.clock.now(), ..stamp() }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_commit_names_its_writer() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 1)]).await.unwrap();
    let host = host.restart(&directory).await;
    host.write("people", vec![rows(1, 2)]).await.unwrap();
    let epoch = |version: u64| -> u64 {
        let log = std::fs::read_to_string(host.folder("people").join(format!("_delta_log/{version:020}.json"))).unwrap();
        let mut actions = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        actions.find_map(|action| action["commitInfo"]["lakehouseEpoch"].as_u64()).unwrap()
    };
    assert!(epoch(0) < epoch(1));
    assert_eq!(epoch(1), host.meta.epoch());
}
