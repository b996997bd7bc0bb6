//! Opening everything in order, and shutting it down in reverse.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use lakehouse_access::{AccessError, AccessFile, Keys, NewKey};
use lakehouse_catalog::Catalog;
use lakehouse_ingest::{Ingest, IngestOptions};
use lakehouse_jobs::Jobs;
use lakehouse_journal::Journal;
use lakehouse_plugins::{Ceilings, Compiler, Registry, RegistryOptions};
use lakehouse_query::{QueryEngine, QueryOptions};
use lakehouse_settings::{BucketSettings, S3Settings, Settings};
use lakehouse_storage::{BucketKind, BucketOptions, BucketSpec, Buckets, Claim, Meta, MetaOptions, S3Credentials, S3Spec};
use lakehouse_tables::{TableOptions, Tables};
use lakehouse_truth::Truth;
use lakehouse_types::{Clock, SystemClock};
use tokio::{runtime::Handle, sync::Mutex};

use crate::{
    EngineError,
    follow::Follower,
    health::Probe,
    pace::Pace,
    runtime::{Changes, Cpu},
    sources::Sources,
    tasks::Tasks,
    turns::Turns,
    vectors::Vectors,
};

/// How long a call waits for a component instance before it is told that all are busy.
const QUEUE_WAIT: Duration = Duration::from_secs(5);

/// How long a shutdown waits for changes whose callers have left.
const LAST_CHANGES: Duration = Duration::from_secs(10);

/// What the settings do not say.
pub struct EngineOptions {
    pub clock: Arc<dyn Clock>,
    /// The first admin's key; absent, one is generated at first start. Once an admin key is in force another is ignored, with a
    /// warning.
    pub admin_key: Option<String>,
    /// How components are compiled apart from this process; absent, this program with `compile-component`.
    pub compiler: Option<Compiler>,
    /// Whether it comes to write, to write in another host's place, or to read beside the one who writes.
    pub claim: Claim,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), admin_key: None, compiler: None, claim: Claim::Write }
    }
}

impl std::fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EngineOptions")
    }
}

/// The whole system without a wire.
pub struct Engine {
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) buckets: Buckets,
    pub(crate) meta: Meta,
    pub(crate) journal: Journal,
    pub(crate) keys: Keys,
    pub(crate) pace: Pace,
    pub(crate) access_file: AccessFile,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) ingest: Ingest,
    pub(crate) turns: Turns,
    pub(crate) sources: Sources,
    pub(crate) truth: Truth,
    pub(crate) query: Arc<QueryEngine>,
    pub(crate) vectors: Vectors,
    pub(crate) jobs: Jobs,
    /// Held by the erasure that runs.
    pub(crate) erasing: Mutex<()>,
    /// Held while a profile binds a plugin, and while a plugin is deleted.
    pub(crate) binding: Arc<Mutex<()>>,
    /// Held while a view is defined or deleted.
    pub(crate) defining: Mutex<()>,
    pub(crate) changes: Changes,
    pub(crate) probe: Probe,
    pub(crate) follower: Follower,
    first_key: std::sync::Mutex<Option<NewKey>>,
    pub(crate) tasks: Tasks,
    draining: AtomicBool,
    pub(crate) cpu: Cpu,
}

impl Engine {
    /// Opens storage, metadata, and everything above them; installs what is missing at a first start, unless it comes to read only.
    /// Must be called on the runtime that serves, which is also the one that stores run on.
    ///
    /// # Errors
    /// When a part cannot be opened: the storage is held by another host ([`EngineError::is_held`]), damaged, or not reachable.
    pub async fn open(settings: Settings, options: EngineOptions) -> Result<Arc<Self>, EngineError> {
        let clock = options.clock.clone();
        let io = Handle::current();
        let cpu = Cpu::start(settings.query.threads)?;
        let claim = options.claim;
        let buckets = Buckets::open(bucket_specs(&settings), BucketOptions { claim, ..BucketOptions::new(io.clone()) }).await?;
        let meta = Meta::open(&buckets.primary(), MetaOptions { flush: settings.storage.meta_flush, claim }).await?;
        let journal = Journal::open(meta.clone(), clock.clone()).await?;
        let keys = Keys::open(meta.clone(), journal.clone(), clock.clone()).await?;
        let first_key = if claim == Claim::Read { None } else { keys.bootstrap(options.admin_key.clone()).await? };
        if let Some(why) = options.admin_key.as_deref().and_then(|given| keys.why_ignored(given)) {
            tracing::warn!("LAKEHOUSE_ADMIN_KEY was ignored: {why}");
        }
        let access_file = AccessFile::open(&settings.auth.access_file, keys.clone()).await.map_err(AccessError::from)?;
        let catalog = Arc::new(Catalog::open(meta.clone(), journal.clone(), clock.clone()).await?);
        let registry = open_registry(&settings, &options, &buckets, &meta, &journal, &catalog, &cpu).await?;
        let keeping = table_options(&settings);
        let (buckets_of, meta_of) = (buckets.clone(), meta.clone());
        let tables = Tables::open(buckets_of, meta_of, catalog.clone(), journal.clone(), clock.clone(), io, keeping).await?;
        let jobs = Jobs::open(meta.clone(), clock.clone()).await?;
        let truth = Truth::open(&settings.truth.dir).await?;
        let query = QueryEngine::new(
            query_options(&settings, &clock, cpu.threads()),
            tables.clone(),
            catalog.clone(),
            registry.clone(),
            journal.clone(),
            &buckets,
            cpu.handle(),
        )?;
        let ingest = Ingest::new(tables.clone(), ingest_options(&settings));
        let turns = Turns::new(settings.ingest.concurrency);
        let sources = Sources::new(&settings.sources);
        let vectors = Vectors::new(&buckets, &settings.vector, cpu.threads());

        let tasks = Tasks::default();
        let pace = Pace::new(&settings.auth);
        let query = Arc::new(query);
        tasks.tidy(pace.clone(), Arc::clone(&query));
        tasks.watch_truth(truth.clone(), settings.truth.poll, journal.clone(), clock.clone());
        tasks.watch_access(access_file.watch(settings.auth.poll), &keys, journal.clone(), clock.clone());
        if claim != Claim::Read {
            tasks.keep_uses(keys.clone());
            tasks.watch_plugins(&registry, settings.plugins.folder.clone());
        }
        let engine = Arc::new(Self {
            settings,
            clock,
            buckets,
            meta,
            journal,
            keys,
            pace,
            access_file,
            catalog,
            registry,
            tables,
            ingest,
            turns,
            sources,
            truth,
            query,
            vectors,
            jobs,
            erasing: Mutex::default(),
            binding: Arc::default(),
            defining: Mutex::default(),
            changes: Changes::default(),
            probe: Probe::default(),
            follower: Follower::default(),
            first_key: std::sync::Mutex::new(first_key),
            tasks,
            draining: AtomicBool::new(false),
            cpu,
        });
        if claim == Claim::Read {
            engine.tasks.follow(&engine);
            return Ok(engine);
        }
        // Before anything is written, so that nothing that is being written is taken for litter.
        lakehouse_vector::sweep(&engine.meta, &engine.buckets).await?;
        engine.repeat_erasures().await?;
        engine.pay_owed_purges().await?;
        engine.tasks.watch_schedule(&engine);
        engine.tasks.give_signs_of_life(&engine);
        Ok(engine)
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The admin key that the first start made, once.
    pub fn take_first_key(&self) -> Option<NewKey> {
        self.first_key.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    /// Whether the engine takes work.
    pub fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed)
    }

    /// From now on `/ready` says no.
    pub fn begin_shutdown(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Ends background work, writes what is held back, and closes the metadata store. Call it when no request runs any more.
    ///
    /// # Errors
    /// When something could not be written.
    pub async fn shutdown(&self) -> Result<(), EngineError> {
        self.begin_shutdown();
        self.jobs.cancel_all();
        if tokio::time::timeout(LAST_CHANGES, self.changes.ended()).await.is_err() {
            tracing::warn!("changes still run; what is not durable yet is lost");
        }
        if tokio::time::timeout(LAST_CHANGES, self.jobs.ended()).await.is_err() {
            tracing::warn!("jobs still run; the next start will say that they were interrupted");
        }
        self.tasks.stop().await;
        match tokio::time::timeout(LAST_CHANGES, self.keys.keep_uses()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "when keys were last used could not be written down"),
            Err(_) => tracing::debug!("when keys were last used could not be written down in time"),
        }
        let flushed = if self.is_reader() { Ok(()) } else { self.journal.flush().await };
        // Whatever could not be written, the store is let go.
        self.meta.close().await?;
        Ok(flushed?)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

fn bucket_specs(settings: &Settings) -> Vec<BucketSpec> {
    let kind = |bucket: &BucketSettings| match bucket {
        BucketSettings::Local { path } => BucketKind::Local { path: path.clone() },
        BucketSettings::Memory => BucketKind::Memory,
        BucketSettings::S3(remote) => BucketKind::S3(s3_spec(remote)),
    };
    settings.buckets.iter().map(|(name, bucket)| BucketSpec { name: name.clone(), kind: kind(bucket) }).collect()
}

fn s3_spec(settings: &S3Settings) -> S3Spec {
    S3Spec {
        bucket: settings.bucket.clone(),
        prefix: settings.prefix.clone(),
        endpoint: settings.endpoint.clone(),
        region: settings.region.clone(),
        path_style: settings.path_style,
        allow_http: settings.allow_http,
        credentials: match &settings.keys {
            None => S3Credentials::Environment,
            Some(keys) => S3Credentials::Keys {
                access_key_id: keys.access_key_id.clone(),
                secret_access_key: keys.secret_access_key.clone(),
                session_token: keys.session_token.clone(),
            },
        },
    }
}

/// Opens the registry and installs the shipped components that were never installed here.
async fn open_registry(
    settings: &Settings,
    options: &EngineOptions,
    buckets: &Buckets,
    meta: &Meta,
    journal: &Journal,
    catalog: &Arc<Catalog>,
    cpu: &Cpu,
) -> Result<Arc<Registry>, EngineError> {
    let plugins = &settings.plugins;
    let compiler = match &options.compiler {
        Some(compiler) => compiler.clone(),
        None => Compiler::this_program().map_err(EngineError::Program)?,
    };
    let registry = Registry::open(RegistryOptions {
        bucket: buckets.primary(),
        meta: meta.clone(),
        journal: journal.clone(),
        catalog: Some(catalog.clone()),
        clock: options.clock.clone(),
        cpu: cpu.handle(),
        cache_path: plugins.cache_path.clone(),
        compiler: compiler.with_limits(plugins.compile_deadline, plugins.compile_memory_bytes),
        ceilings: Ceilings {
            memory_bytes: plugins.memory_bytes,
            deadline: plugins.deadline,
            output_bytes: plugins.output_bytes,
            log_bytes: plugins.log_bytes,
        },
        pool: plugins.pool,
        queue_wait: QUEUE_WAIT,
        max_component_bytes: plugins.max_component_bytes,
    })
    .await?;
    if let Some(folder) = plugins.distribution.as_ref().filter(|_| options.claim != Claim::Read) {
        // Without them the short forms of redactions fail closed; everything else works.
        if let Err(error) = registry.install_shipped(folder).await {
            tracing::error!(%error, folder = %folder.display(), "the shipped components could not all be installed");
        }
    }
    Ok(registry)
}

fn query_options(settings: &Settings, clock: &Arc<dyn Clock>, threads: usize) -> QueryOptions {
    let query = &settings.query;
    QueryOptions {
        deadline: query.deadline,
        memory_bytes: query.memory_bytes,
        spill_path: query.spill_path.clone(),
        spill_bytes: query.spill_bytes,
        max_rows: query.max_rows,
        concurrency: query.concurrency,
        concurrency_per_key: query.concurrency_per_key,
        partitions: threads,
        max_sql_bytes: query.max_sql_bytes,
        result_cache_bytes: query.result_cache_bytes,
        clock: clock.clone(),
    }
}

fn table_options(settings: &Settings) -> TableOptions {
    // A query that is over its deadline has had its last row a moment later.
    const MOMENT: Duration = Duration::from_secs(1);
    TableOptions { retention: settings.storage.version_retention, patience: settings.query.deadline + MOMENT }
}

fn ingest_options(settings: &Settings) -> IngestOptions {
    let ingest = &settings.ingest;
    IngestOptions {
        spool: ingest.spool_path.clone(),
        max_spool_bytes: ingest.spool_bytes,
        max_record_bytes: ingest.max_line_bytes,
        batch_rows: ingest.batch_rows,
    }
}
