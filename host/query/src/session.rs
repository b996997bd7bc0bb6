//! The DataFusion session of one request.
//!
//! **Invariant**: sessions share one memory pool, one spill folder and the buckets' object stores, and nothing else; no store but a
//! bucket is reachable, no catalog but the principal's names, no statement can change an option; what works for a session can ask
//! whether its query goes on.

use std::{collections::HashMap, num::NonZeroUsize, path::Path, sync::Arc};

use chrono::{DateTime, Utc};
use datafusion::catalog::CatalogProviderList;
use datafusion::config::{ConfigNonZeroUsize, SpillCompression};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;
use lakehouse_storage::{Buckets, object_store_13::ObjectStore};
use url::Url;

use crate::{
    functions::Functions,
    guard::MAX_NESTING,
    names::{CATALOG, NoNames, SCHEMA},
    oversight::Oversight,
    spill::SpillFolder,
    watch::{analyzer_rules, optimizer_rules, physical_rules},
};

/// Rows of one batch.
pub(crate) const BATCH_ROWS: usize = 8192;
/// Joins of so few partitions share one hash table of up to [`ONE_TABLE_BYTES`] and [`ONE_TABLE_ROWS`].
const FEW_PARTITIONS: usize = 4;
const ONE_TABLE_BYTES: usize = 1 << 30;
const ONE_TABLE_ROWS: usize = 100_000_000;
/// Parquet footers that are kept in memory.
const FOOTER_CACHE_BYTES: usize = 64 * 1024 * 1024;

/// What all sessions have in common.
#[derive(Debug, Clone)]
pub(crate) struct Template(Arc<SessionState>, #[expect(dead_code, reason = "held")] Arc<SpillFolder>);

/// The shares of all queries together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shares<'a> {
    pub(crate) memory_bytes: u64,
    pub(crate) spill_path: &'a Path,
    pub(crate) spill_bytes: u64,
    pub(crate) partitions: usize,
}

impl Template {
    /// Makes a folder to spill to, and builds the common parts.
    pub(crate) fn new(shares: Shares<'_>, stores: BucketStores) -> Result<Self> {
        let functions = Functions::allowed();
        let spill = SpillFolder::make(shares.spill_path).map_err(DataFusionError::IoError)?;
        let state = SessionStateBuilder::new()
            .with_config(config(shares.partitions))
            .with_runtime_env(runtime(shares, spill.path(), stores)?)
            .with_catalog_list(Arc::new(NoNames))
            .with_scalar_functions(functions.scalar)
            .with_aggregate_functions(functions.aggregate)
            .with_window_functions(functions.window)
            .with_table_function_list(functions.table)
            .with_expr_planners(functions.planners)
            .with_analyzer_rules(analyzer_rules())
            .with_optimizer_rules(optimizer_rules())
            .with_physical_optimizer_rules(physical_rules())
            .build();
        Ok(Self(Arc::new(state), Arc::new(spill)))
    }

    /// A session without any table.
    pub(crate) fn bare(&self) -> &SessionState {
        &self.0
    }

    /// The memory that all queries share.
    pub(crate) fn memory(&self) -> &Arc<dyn MemoryPool> {
        &self.0.runtime_env().memory_pool
    }

    /// A session that knows the names of `catalogs`, the time of its start and the query that it is for.
    pub(crate) fn session(&self, catalogs: Arc<dyn CatalogProviderList>, now: DateTime<Utc>, query: Oversight) -> SessionState {
        let mut state = self.0.as_ref().clone();
        state.register_catalog_list(catalogs);
        state.config_mut().options_mut().extensions.insert(query);
        let options = Arc::clone(state.config_options());
        let props = state.execution_props_mut();
        props.query_execution_start_time = Some(now);
        props.config_options = Some(options);
        props.alias_generator = Arc::default();
        state
    }
}

fn config(partitions: usize) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(partitions)
        .with_batch_size(BATCH_ROWS)
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, SCHEMA);
    let options = config.options_mut();
    if let Ok(limit) = ConfigNonZeroUsize::try_new(2 * MAX_NESTING) {
        options.sql_parser.recursion_limit = limit;
    }
    // On few cores it costs more to hand rows around than to build one table for all: measured, docs/BENCHMARKS.md.
    if partitions <= FEW_PARTITIONS {
        options.optimizer.hash_join_single_partition_threshold = ONE_TABLE_BYTES;
        options.optimizer.hash_join_single_partition_threshold_rows = ONE_TABLE_ROWS;
    }
    // The current time is a moment, not a reading of some clock on a wall.
    options.execution.time_zone = Some("+00:00".to_owned());
    options.execution.spill_compression = SpillCompression::Lz4Frame;
    config
}

fn runtime(shares: Shares<'_>, spill: &Path, stores: BucketStores) -> Result<Arc<RuntimeEnv>> {
    const NAMED: NonZeroUsize = NonZeroUsize::MIN;
    let pool = FairSpillPool::new(usize::try_from(shares.memory_bytes).unwrap_or(usize::MAX));
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(TrackConsumersPool::new(pool, NAMED)))
        .with_temp_file_path(spill)
        .with_max_temp_directory_size(shares.spill_bytes)
        .with_metadata_cache_limit(FOOTER_CACHE_BYTES)
        .with_object_store_registry(Arc::new(stores))
        .build_arc()
}

/// What earlier releases called the primary bucket in the URLs of objects.
const PRIMARY_ALIAS: &str = "lakehouse://data";

/// The buckets, and no way to add another store.
#[derive(Debug, Default)]
pub(crate) struct BucketStores(HashMap<String, Arc<dyn ObjectStore>>);

impl BucketStores {
    pub(crate) fn of(buckets: &Buckets) -> Self {
        let own = buckets.iter().map(|bucket| (key(&bucket.url()), bucket.compat()));
        Self(own.chain([(PRIMARY_ALIAS.to_owned(), buckets.primary().compat())]).collect())
    }
}

fn key(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default())
}

impl ObjectStoreRegistry for BucketStores {
    fn register_store(&self, _url: &Url, _store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let store = self.0.get(&key(url)).map(Arc::clone);
        store.ok_or_else(|| DataFusionError::Plan("no bucket has this address".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::object_store::ObjectStoreRegistry;
    use lakehouse_storage::{BucketKind, BucketOptions, BucketSpec, Buckets, object_store_13::ObjectStoreExt};
    use lakehouse_types::BucketName;
    use tokio::runtime::Handle;
    use url::Url;

    use super::BucketStores;

    #[tokio::test]
    async fn the_old_address_of_the_primary_bucket_is_an_alias() {
        let spec = |name: &str| BucketSpec { name: BucketName::new(name).unwrap(), kind: BucketKind::Memory };
        let buckets = Buckets::open(vec![spec("primary"), spec("data")], BucketOptions::new(Handle::current())).await.unwrap();
        buckets.primary().compat().put(&"x".into(), "primary".into()).await.unwrap();
        let stores = BucketStores::of(&buckets);
        for (url, is_primary) in
            [("lakehouse://data/", true), ("lakehouse://lakehouse-primary/", true), ("lakehouse://lakehouse-data/", false)]
        {
            let store = stores.get_store(&Url::parse(url).unwrap()).unwrap();
            assert_eq!(store.get(&"x".into()).await.is_ok(), is_primary, "{url}");
        }
        assert!(stores.get_store(&Url::parse("lakehouse://elsewhere/").unwrap()).is_err());
    }
}
