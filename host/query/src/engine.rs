//! Queries from their text to their rows.

mod admission;
mod information;
mod listing;
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
use futures::StreamExt;
use lakehouse_access::Caller;
use lakehouse_catalog::{Catalog, CatalogError, ViewRecord, ViewStack};
use lakehouse_journal::Journal;
use lakehouse_plugins::Registry;
use lakehouse_storage::Buckets;
use lakehouse_tables::Tables;
use lakehouse_types::{Clock, DatasetName, QueryId};
use tokio::runtime::Handle;

pub(crate) use self::admission::Place;
use self::{admission::Admission, planning::Findings, scope::Scope, system::Logs};
pub use self::{
    listing::Listed,
    planning::Described,
    reading::{ReadRequest, Reading},
    scope::Governance,
    trial::{MAX_SAMPLE_ROWS, RuleTrial, Sample, Shown, TrialReport, ViewTrial},
};
use crate::{
    error::QueryError,
    history::{History, KEPT, QueryRecord, Started},
    literals::without_literals,
    names::Relations,
    pages::Pages,
    params::Params,
    result_cache::{CacheCounts, Question, ResultCache},
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
    /// Queries of one key at once; more wait likewise.
    pub concurrency_per_key: usize,
    /// Partitions of one query: the threads of the CPU runtime.
    pub partitions: usize,
    /// Upper bound of a statement, bytes.
    pub max_sql_bytes: usize,
    /// Upper bound of small answers that are kept to be given again, bytes; 0 keeps none.
    pub result_cache_bytes: usize,
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
    pub params: Params,
    /// Shorter than the server's.
    pub deadline: Option<Duration>,
    /// Fewer than the server's.
    pub max_rows: Option<u64>,
}

/// How much there is to do.
#[derive(Debug, Clone)]
pub struct QueryCounts {
    /// Queries that have begun and not ended, those that wait included.
    pub running: usize,
    /// Of these, the ones that wait for a place.
    pub waiting: usize,
    /// State, problem code (empty without one) and number of those that ended since the start.
    pub ended: Vec<(&'static str, &'static str, u64)>,
    /// Of the memory that all queries share.
    pub memory_bytes: u64,
    /// On disk now.
    pub spilled_bytes: u64,
    pub cache: CacheCounts,
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
    pages: Pages,
    results: Arc<ResultCache>,
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
        let admission = Admission::new(options.concurrency.max(1), options.concurrency_per_key.max(1));
        let logs = Logs { journal, history: Arc::new(History::new(Arc::clone(&options.clock), KEPT)) };
        let pages = Pages::new(Arc::clone(template.memory()));
        let results = Arc::new(ResultCache::new(Arc::clone(template.memory()), options.result_cache_bytes));
        Ok(Self { options, template, admission, tables, catalog, registry, logs, pages, results, cpu })
    }

    /// Answers one statement under the caller's grants and profile. The first batch is ready when this returns.
    ///
    /// # Errors
    /// Whatever goes wrong before the first batch; what goes wrong later ends [`Answer::batches`].
    pub async fn query(&self, caller: &Caller, request: QueryRequest) -> Result<Started, QueryError> {
        let sql = (request.sql.len() <= self.options.max_sql_bytes).then_some(request.sql.as_str());
        let max_rows = request.max_rows.map_or(self.options.max_rows, |asked| asked.min(self.options.max_rows));
        let question =
            sql.filter(|_| !self.results.is_off()).and_then(|sql| Question::new(caller, sql, &request.params, max_rows));
        if let Some(started) = question.as_ref().and_then(|question| self.again(caller, question)) {
            return Ok(started);
        }
        let cleared = self.results.cleared();
        let shown: Option<Arc<str>> = sql.and_then(without_literals).map(Into::into);
        let mut tracked = self.logs.history.begin(caller, shown.clone());
        let statement: Arc<str> = sql.unwrap_or_default().into();
        let work = async {
            let (answer, made_of) = self.answer(caller, request, max_rows, tracked.findings()).await?;
            Ok(match (question, made_of) {
                (Some(question), Some(made_of)) => self.results.watch(question, made_of, shown, cleared, answer),
                _ => answer,
            })
        };
        match tracked.unless_cancelled(Box::pin(work)).await {
            Ok(Answer { schema, batches, outcome }) => {
                let batches = batches.map(move |batch| batch.map_err(|error| error.placed(&statement))).boxed();
                Ok(tracked.over(Answer { schema, batches, outcome }))
            }
            Err(error) => {
                let error = error.placed(&statement);
                tracked.failed(&error);
                Err(error)
            }
        }
    }

    /// The answer that an equal question had, if the caller would be given the same now.
    fn again(&self, caller: &Caller, question: &Question) -> Option<Started> {
        let kept = self.results.get(question, |kept| {
            self.scope(caller).is_ok_and(|scope| kept.holds(|relation| scope.governance(relation).ok().flatten()))
        })?;
        Some(self.logs.history.begin(caller, kept.statement.clone()).over(kept.answer()))
    }

    /// The same, in pages: the first of them; [`QueryEngine::page`] gives the others.
    ///
    /// # Errors
    /// As [`QueryEngine::query`], for every row of the answer; when the memory of all queries does not hold it.
    pub async fn query_in_pages(&self, caller: &Caller, request: QueryRequest, page_rows: u64) -> Result<Started, QueryError> {
        let cleared = self.pages.cleared();
        let started = self.query(caller, request).await?;
        self.pages.first(caller, started, page_rows.max(1), cleared).await
    }

    /// Rows of an answer in pages, after the first `after`.
    ///
    /// # Errors
    /// [`QueryError::UnknownQuery`] of what was never asked in pages by this principal under this profile, or is kept no more.
    pub fn page(&self, caller: &Caller, id: &QueryId, after: u64, limit: u64) -> Result<Answer, QueryError> {
        self.pages.next(caller, id, after, limit.max(1))
    }

    /// Lets go of kept answers that nobody reads any more.
    pub fn forget_old_answers(&self) {
        self.pages.forget_old();
        self.results.forget_old();
    }

    /// The answer, and what it is made of when it stays the same as long as that does.
    async fn answer(
        &self,
        caller: &Caller,
        request: QueryRequest,
        max_rows: u64,
        findings: &Arc<Findings>,
    ) -> Result<(Answer, Option<Vec<(String, Governance)>>), QueryError> {
        let deadline = request.deadline.map_or(self.options.deadline, |asked| asked.min(self.options.deadline));
        let ends = Instant::now() + deadline;
        let place = self.admission.enter(&caller.principal.name, ends).await?;
        let watch = Watch::until(ends, deadline);
        let bounds = Bounds { ends, deadline, max_rows, place, watch: Arc::clone(&watch) };
        let scope = self.scope(caller)?;
        let job = planning::Job {
            sql: request.sql,
            params: request.params,
            max_sql_bytes: self.options.max_sql_bytes,
            max_rows,
            admin: scope.is_admin(),
            relations: Arc::clone(&scope) as Arc<dyn Relations>,
            template: self.template.clone(),
            now: self.options.clock.now(),
            watch,
            findings: Arc::clone(findings),
        };
        let answer = run::start(&self.cpu, bounds, job.stream()).await?;
        let governed = |name: &String| Some((name.clone(), scope.governance(name).ok().flatten()?));
        let made_of = findings.repeatable().and_then(|names| names.iter().map(governed).collect());
        Ok((answer, made_of))
    }

    /// Queries of everybody that run now, the oldest first.
    pub fn running(&self) -> Vec<QueryRecord> {
        self.logs.history.running()
    }

    /// What the metrics show.
    pub fn counts(&self) -> QueryCounts {
        let (running, ended) = self.logs.history.counts();
        let runtime = self.template.bare().runtime_env();
        QueryCounts {
            running,
            waiting: self.admission.waiting(),
            ended,
            memory_bytes: runtime.memory_pool.reserved() as u64,
            spilled_bytes: runtime.disk_manager.used_disk_space(),
            cache: self.results.counts(),
        }
    }

    /// One that runs, or is still remembered.
    pub fn record(&self, id: &QueryId) -> Option<QueryRecord> {
        self.logs.history.get(id)
    }

    /// Asks for the end of one that runs. It ends at its next batch or await, its thread at the next look at the watch.
    pub fn cancel(&self, id: &QueryId) {
        self.logs.history.cancel(id);
        self.pages.forget(id);
    }

    /// Lets go of what was read earlier: kept answers, and what is known of Parquet files beside their bytes, least and greatest values
    /// among it.
    pub fn forget_what_was_read(&self) {
        self.pages.forget_all();
        self.results.forget_all();
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
}

fn unstacked(record: &ViewRecord, fault: CatalogError) -> QueryError {
    QueryError::Rule { relation: record.name.to_string(), fault: Arc::new(fault) }
}

#[cfg(test)]
mod tests;
