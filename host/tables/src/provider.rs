//! The Parquet files of one version as a DataFusion table.
//!
//! **Invariant**: the plan reads exactly the files of the pinned state, and holds the state, so that the files outlive the stream.
//!
//! Read in DataFusion 55: a scan asks for the footer without the page index, which is then all that the cache keeps, and with a predicate each
//! partition reads and parses the index of the whole file once more.

use std::{ops::Range, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::catalog::Session;
use datafusion::common::{Statistics, ToDFSchema};
use datafusion::config::TableParquetOptions;
use datafusion::datasource::TableProvider;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::parquet::{CachedParquetFileReaderFactory, ParquetFileReaderFactory};
use datafusion::datasource::physical_plan::{FileGroup, FileGroupPartitioner, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::conjunction;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::{FutureExt, future::BoxFuture};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use crate::DatasetState;

/// Below this many rows a second partition costs more than it brings.
const ROWS_WORTH_SPLITTING: u64 = 20_000;
/// To open a file of less than this takes about as long as to read it.
const SMALL_FILE_BYTES: u64 = 1 << 20;
/// Partitions for each that was asked for, where files are small: while one opens its next file, another reads.
const STREAMS_OF_SMALL_FILES: usize = 2;

/// One version as a table.
#[derive(Debug)]
pub(crate) struct DatasetProvider {
    state: Arc<DatasetState>,
}

impl DatasetProvider {
    pub(crate) fn new(state: Arc<DatasetState>) -> Self {
        Self { state }
    }

    /// The files, cut into byte ranges of equal sum, one group a partition.
    fn groups(&self, partitions: usize) -> Vec<FileGroup> {
        let file = |file: &crate::state::DataFile| {
            PartitionedFile::new_from_meta(file.meta.clone()).with_statistics(Arc::clone(&file.statistics))
        };
        let whole = vec![FileGroup::new(self.state.files.iter().map(file).collect())];
        if partitions < 2 || self.state.rows < ROWS_WORTH_SPLITTING {
            return whole;
        }
        let are_small = self.state.bytes < SMALL_FILE_BYTES * self.state.files.len() as u64;
        let is_worth_it = are_small && self.state.files.len() > partitions * STREAMS_OF_SMALL_FILES;
        let partitions = if is_worth_it { partitions * STREAMS_OF_SMALL_FILES } else { partitions };
        let split = FileGroupPartitioner::new()
            .with_target_partitions(partitions)
            .with_repartition_file_min_size(0)
            .repartition_file_groups(&whole);
        split.unwrap_or(whole)
    }
}

#[async_trait]
impl TableProvider for DatasetProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.state.scan_schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(self.state.statistics.as_ref().clone())
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.schema();
        if self.state.files.is_empty() {
            let projected = projection.map_or(Ok(Arc::clone(&schema)), |columns| schema.project(columns).map(Arc::new))?;
            return Ok(Arc::new(EmptyExec::new(projected)));
        }
        let url = ObjectStoreUrl::parse(self.state.folder.bucket().url())?;
        let runtime = session.runtime_env();
        let footers = runtime.cache_manager.get_file_metadata_cache();
        let reader = CachedParquetFileReaderFactory::new(runtime.object_store(&url)?, footers);
        let options =
            TableParquetOptions { global: session.config_options().execution.parquet.clone(), ..TableParquetOptions::default() };
        let hint = options.global.metadata_size_hint;
        let mut source = ParquetSource::new(Arc::clone(&schema))
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(PinnedReader { reader, state: Arc::clone(&self.state) }));
        if let Some(hint) = hint {
            source = source.with_metadata_size_hint(hint);
        }
        let columns = Arc::clone(&schema).to_dfschema()?;
        // Inexact: what has no physical form here, like a subquery, is left to the filter above.
        let predicates = filters.iter().filter_map(|filter| session.create_physical_expr(filter.clone(), &columns).ok());
        let predicates: Vec<_> = predicates.collect();
        if !predicates.is_empty() {
            source = source.with_predicate(conjunction(predicates));
        }
        let scan = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(self.groups(session.config().target_partitions()))
            .with_statistics(self.state.statistics.as_ref().clone())
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }
}

/// Opens files through the session's footer cache, and keeps the state that they belong to.
#[derive(Debug)]
struct PinnedReader {
    reader: CachedParquetFileReaderFactory,
    state: Arc<DatasetState>,
}

impl ParquetFileReaderFactory for PinnedReader {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        tracing::trace!(version = self.state.version, partition = partition_index, "opening a data file");
        let has_pages = file.object_meta.size >= SMALL_FILE_BYTES;
        let reader = self.reader.create_reader(partition_index, file, metadata_size_hint, metrics)?;
        Ok(if has_pages { Box::new(Indexed(reader)) } else { reader })
    }
}

/// Asks for the page index together with the footer, so that the cache keeps both.
struct Indexed(Box<dyn AsyncFileReader + Send>);

impl AsyncFileReader for Indexed {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        self.0.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        self.0.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move {
            let options = options.cloned().unwrap_or_default().with_page_index_policy(PageIndexPolicy::Optional);
            self.0.get_metadata(Some(&options)).await
        }
        .boxed()
    }
}
