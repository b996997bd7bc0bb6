//! For tests: statements over tables in memory, through the same guard, session, plan and run as those of the server.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use futures::TryStreamExt;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use crate::{
    engine::planning::Job,
    error::QueryError,
    names::{Relations, SCHEMA},
    run::{self, Answer, Bounds},
    session::{BucketStores, Shares, Template},
    watch::Watch,
};

/// Tables by name.
#[derive(Debug, Default, Clone)]
pub(crate) struct Lake {
    tables: BTreeMap<String, Arc<dyn TableProvider>>,
    /// None for the template that tests share.
    apart: Option<Arc<Apart>>,
}

#[derive(Debug)]
struct Apart {
    template: Template,
    _folder: tempfile::TempDir,
}

impl Apart {
    fn new(memory_bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shares = Shares { memory_bytes, spill_path: folder.path(), spill_bytes: 1 << 30, partitions: 2 };
        Self { template: Template::new(shares, BucketStores::default()).unwrap(), _folder: folder }
    }
}

#[async_trait]
impl Relations for Lake {
    async fn relation(&self, schema: &str, name: &str) -> Result<Option<Arc<dyn TableProvider>>, QueryError> {
        Ok(self.tables.get(name).filter(|_| schema == SCHEMA).cloned())
    }

    fn listing(&self) -> Vec<(String, &'static str)> {
        self.tables.keys().map(|name| (name.clone(), "dataset")).collect()
    }
}

/// The batches as one table of several partitions.
pub(crate) fn table(batches: Vec<RecordBatch>) -> Arc<dyn TableProvider> {
    let schema = batches[0].schema();
    let partitions = batches.into_iter().map(|batch| vec![batch]).collect();
    Arc::new(MemTable::try_new(schema, partitions).unwrap())
}

pub(crate) fn template() -> Template {
    static SHARED: OnceLock<Apart> = OnceLock::new();
    SHARED.get_or_init(|| Apart::new(256 << 20)).template.clone()
}

/// The CPU runtime that tests share.
pub(crate) fn cpu() -> &'static Runtime {
    static CPU: OnceLock<Runtime> = OnceLock::new();
    CPU.get_or_init(runtime)
}

/// Two threads with the stacks of the server's.
pub(crate) fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).thread_stack_size(8 << 20).enable_all().build().unwrap()
}

impl Lake {
    pub(crate) fn with(mut self, name: &str, table: Arc<dyn TableProvider>) -> Self {
        self.tables.insert(name.to_owned(), table);
        self
    }

    /// With memory of its own: the tests beside neither take from it nor miss it.
    pub(crate) fn apart(mut self, memory_bytes: u64) -> Self {
        self.apart = Some(Arc::new(Apart::new(memory_bytes)));
        self
    }

    pub(crate) async fn start(
        &self,
        sql: &str,
        params: &[Value],
        deadline: Duration,
        max_rows: u64,
    ) -> Result<Answer, QueryError> {
        self.start_as(sql, params, deadline, max_rows, false).await
    }

    /// As a reader, on a runtime of the caller's.
    pub(crate) async fn start_on(&self, cpu: &Runtime, sql: &str, deadline: Duration) -> Result<Answer, QueryError> {
        let (bounds, job) = self.job(sql, &[], deadline, u64::MAX, false).await;
        run::start(cpu.handle(), bounds, job.stream()).await
    }

    pub(crate) async fn start_as(
        &self,
        sql: &str,
        params: &[Value],
        deadline: Duration,
        max_rows: u64,
        admin: bool,
    ) -> Result<Answer, QueryError> {
        let (bounds, job) = self.job(sql, params, deadline, max_rows, admin).await;
        run::start(cpu().handle(), bounds, job.stream()).await
    }

    async fn job(&self, sql: &str, params: &[Value], deadline: Duration, max_rows: u64, admin: bool) -> (Bounds, Job) {
        let ends = Instant::now() + deadline;
        let watch = Watch::until(ends, deadline);
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let bounds = Bounds { ends, deadline, max_rows, place: place.into(), watch: Arc::clone(&watch) };
        let job = Job {
            sql: sql.to_owned(),
            params: params.to_vec().into(),
            max_sql_bytes: 256 * 1024,
            max_rows,
            relations: Arc::new(self.clone()),
            admin,
            template: self.apart.as_ref().map_or_else(template, |apart| apart.template.clone()),
            now: DateTime::<Utc>::from_timestamp(1_700_000_000, 0).unwrap(),
            watch,
            findings: Arc::default(),
        };
        (bounds, job)
    }

    /// All rows.
    pub(crate) async fn rows(&self, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
        self.start(sql, &[], Duration::from_secs(20), 1_000_000).await?.batches.try_collect().await
    }

    /// All rows as text, one line a row, cells with ` | ` between.
    pub(crate) async fn text(&self, sql: &str) -> Result<String, QueryError> {
        use arrow::util::display::{ArrayFormatter, FormatOptions};
        let mut lines = Vec::new();
        for batch in self.rows(sql).await? {
            let options = FormatOptions::default().with_null("NULL");
            let cells: Vec<_> = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
            for row in 0..batch.num_rows() {
                lines.push(cells.iter().map(|cell| cell.value(row).to_string()).collect::<Vec<_>>().join(" | "));
            }
        }
        Ok(lines.join("\n"))
    }
}
