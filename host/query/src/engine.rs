//! Queries from their text to their rows.

mod admission;
pub(crate) mod planning;
mod reading;
mod scope;
mod shape;
mod system;
mod texts;
mod trial;
mod width;

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::datatypes::SchemaRef;
use lakehouse_access::Caller;
use lakehouse_catalog::{Catalog, CatalogError, ViewRecord, ViewStack};
use lakehouse_journal::Journal;
use lakehouse_plugins::Registry;
use lakehouse_storage::Buckets;
use lakehouse_tables::Tables;
use lakehouse_types::{Clock, DatasetName, QueryId};
use serde_json::Value;
use tokio::runtime::Handle;

use self::{admission::Admission, scope::Scope, system::Logs};
pub use self::{
    reading::{ReadRequest, Reading},
    scope::Governance,
    trial::{MAX_SAMPLE_ROWS, RuleTrial, Sample, Shown, TrialReport, ViewTrial},
};
use crate::{
    error::QueryError,
    history::{History, KEPT, QueryRecord, Started},
    names::Names,
    run::{self, Answer, Bounds},
    session::{BucketStores, Shares, Template},
    view::{self, Reader},
    watch::Watch,
};

/// What bounds all queries; `[query]` of the server's config.
#[derive(Clone)]
pub struct QueryOptions {
    /// How long a query may run; a request may ask for less.
    pub deadline: Duration,
    /// Memory of all queries together, bytes; beyond it they spill.
    pub memory_bytes: u64,
    /// Where they spill. Made if absent; emptied of what a killed process left.
    pub spill_path: PathBuf,
    /// Upper bound of all spilled files, bytes.
    pub spill_bytes: u64,
    /// Rows of one answer; a request may ask for fewer.
    pub max_rows: u64,
    /// Queries at once. Four times as many may wait for a place, until their deadline.
    pub concurrency: usize,
    /// Partitions of one query: the threads of the CPU runtime.
    pub partitions: usize,
    /// Upper bound of a statement, bytes.
    pub max_sql_bytes: usize,
    /// What `now()` answers.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for QueryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryOptions")
            .field("deadline", &self.deadline)
            .field("memory_bytes", &self.memory_bytes)
            .field("max_rows", &self.max_rows)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

/// One statement and its bounds.
#[derive(Debug, Clone, Default)]
pub struct QueryRequest {
    pub sql: String,
    /// Values of `$1`, `$2`, …: NULL, booleans, numbers and texts.
    pub params: Vec<Value>,
    /// Shorter than the server's.
    pub deadline: Option<Duration>,
    /// Fewer than the server's.
    pub max_rows: Option<u64>,
}

/// Answers statements.
pub struct QueryEngine {
    options: QueryOptions,
    template: Template,
    admission: Admission,
    tables: Arc<Tables>,
    catalog: Arc<Catalog>,
    registry: Arc<Registry>,
    logs: Logs,
    cpu: Handle,
}

impl fmt::Debug for QueryEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryEngine").field("options", &self.options).finish_non_exhaustive()
    }
}

impl QueryEngine {
    /// `cpu` runs queries and components; give its threads stacks of 8 MiB.
    ///
    /// # Errors
    /// When the spill folder cannot be made.
    pub fn new(
        options: QueryOptions,
        tables: Arc<Tables>,
        catalog: Arc<Catalog>,
        registry: Arc<Registry>,
        journal: Journal,
        buckets: &Buckets,
        cpu: Handle,
    ) -> Result<Self, QueryError> {
        let shares = Shares {
            memory_bytes: options.memory_bytes,
            spill_path: &options.spill_path,
            spill_bytes: options.spill_bytes,
            partitions: options.partitions.max(1),
        };
        let template = Template::new(shares, BucketStores::of(buckets)).map_err(|error| QueryError::execution(&error))?;
        let admission = Admission::new(options.concurrency.max(1));
        let logs = Logs { journal, history: Arc::new(History::new(Arc::clone(&options.clock), KEPT)) };
        Ok(Self { options, template, admission, tables, catalog, registry, logs, cpu })
    }

    /// Answers one statement under the caller's grants and profile. The first batch is ready when this returns.
    ///
    /// # Errors
    /// Whatever goes wrong before the first batch; what goes wrong later ends [`Answer::batches`].
    pub async fn query(&self, caller: &Caller, request: QueryRequest) -> Result<Started, QueryError> {
        let sql = (request.sql.len() <= self.options.max_sql_bytes).then_some(request.sql.as_str());
        let mut tracked = self.logs.history.begin(caller, sql);
        match tracked.unless_cancelled(Box::pin(self.answer(caller, request))).await {
            Ok(answer) => Ok(tracked.over(answer)),
            Err(error) => {
                tracked.failed(&error);
                Err(error)
            }
        }
    }

    async fn answer(&self, caller: &Caller, request: QueryRequest) -> Result<Answer, QueryError> {
        let deadline = request.deadline.map_or(self.options.deadline, |asked| asked.min(self.options.deadline));
        let ends = Instant::now() + deadline;
        let place = self.admission.enter(ends).await?;
        let watch = Watch::until(ends, deadline);
        let max_rows = request.max_rows.map_or(self.options.max_rows, |asked| asked.min(self.options.max_rows));
        let bounds = Bounds { ends, deadline, max_rows, place, watch: Arc::clone(&watch) };
        let scope = self.scope(caller)?;
        let job = planning::Job {
            sql: request.sql,
            params: request.params,
            max_sql_bytes: self.options.max_sql_bytes,
            max_rows,
            admin: scope.is_admin(),
            relations: scope,
            template: self.template.clone(),
            now: self.options.clock.now(),
            watch,
        };
        run::start(&self.cpu, bounds, job.stream()).await
    }

    /// Queries of everybody that run now, the oldest first.
    pub fn running(&self) -> Vec<QueryRecord> {
        self.logs.history.running()
    }

    /// One that runs, or is still remembered.
    pub fn record(&self, id: &QueryId) -> Option<QueryRecord> {
        self.logs.history.get(id)
    }

    /// Asks for the end of one that runs. It ends at its next batch or await, its thread at the next look at the watch.
    pub fn cancel(&self, id: &QueryId) {
        self.logs.history.cancel(id);
    }

    /// Lets go of what is known of Parquet files beside their bytes: least and greatest values among it.
    pub fn forget_footers(&self) {
        self.template.bare().runtime_env().cache_manager.get_file_metadata_cache().clear();
    }

    /// What this request sees, pinned now.
    fn scope(&self, caller: &Caller) -> Result<Arc<Scope>, QueryError> {
        Scope::pin(caller, &self.tables, &self.catalog.snapshot(), &self.registry, &self.logs, &self.template).map(Arc::new)
    }

    /// Checks a definition against its base and the caller's profile: columns, row filter, rules and their configs.
    ///
    /// # Errors
    /// Names the column, the place in the filter or the rule that does not fit, in a component's own words where it has any.
    pub async fn check_view(&self, caller: &Caller, record: &ViewRecord) -> Result<(), QueryError> {
        self.view_schema(caller, record).await.map(|_| ())
    }

    /// The schema that readers of a view get under the caller's profile.
    ///
    /// # Errors
    /// As [`QueryEngine::check_view`].
    pub async fn view_schema(&self, caller: &Caller, record: &ViewRecord) -> Result<SchemaRef, QueryError> {
        let stack = self.catalog.snapshot().stack(Arc::new(record.clone()));
        self.stack_schema(caller, stack.map_err(|fault| unstacked(record, fault))?).await
    }

    /// The same, of a view over views that need not be in force yet.
    ///
    /// # Errors
    /// As [`QueryEngine::check_view`].
    pub async fn stack_schema(&self, caller: &Caller, stack: ViewStack) -> Result<SchemaRef, QueryError> {
        let scope = self.scope(caller)?;
        let state = self.state(&stack.dataset().name)?;
        let template = self.template.clone();
        // Components run on the CPU runtime only.
        let task = self.cpu.spawn(async move {
            let view = view::view(&stack, &state, scope.bindings(), template.bare(), Reader::Author).await?;
            Ok(view.schema())
        });
        task.await.map_err(|_| QueryError::Internal { detail: "a view's check ended early".into() })?
    }

    fn state(&self, name: &DatasetName) -> Result<Arc<lakehouse_tables::DatasetState>, QueryError> {
        self.tables.dataset(name).ok_or_else(|| QueryError::UnknownTable { name: name.to_string(), similar: Vec::new() })
    }

    /// The names of datasets and views that the caller may query, each with `dataset` or `view`.
    ///
    /// # Errors
    /// When the caller's profile is gone.
    pub fn visible(&self, caller: &Caller) -> Result<Vec<(String, &'static str)>, QueryError> {
        Ok(Names::of(self.scope(caller)?).listing())
    }
}

fn unstacked(record: &ViewRecord, fault: CatalogError) -> QueryError {
    QueryError::Rule { relation: record.name.to_string(), fault: Arc::new(fault) }
}

#[cfg(test)]
mod tests;
