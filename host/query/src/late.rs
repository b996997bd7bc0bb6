//! What is decoded of a Parquet file only for rows that a join can use.
//!
//! A join that has read its smaller side knows which keys the other one needs, and says so to the scan while it runs. There, rows are left
//! out before their other columns are decoded. What a statement itself compares with a constant is cheaper above the scan: the reader
//! decodes a column twice for it, and mostly it lets much through. Measured: docs/BENCHMARKS.md.

mod adaptive; // a filter that is not asked in vain

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, FileSource, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::physical_expr::expressions::DynamicFilterTracking;
use datafusion::physical_expr::{PhysicalExpr, conjunction, utils::split_conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use adaptive::adaptive;

/// Lets scans that a join informs leave rows out while they decode. Comes after all push-down.
#[derive(Debug)]
pub(crate) struct LateDecoding;

impl PhysicalOptimizerRule for LateDecoding {
    fn name(&self) -> &'static str {
        "LateDecoding"
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _options: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_down(|node| match informed(&node) {
            Some(scan) => Ok(Transformed::yes(scan)),
            None => Ok(Transformed::no(node)),
        })
        .data()
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn informed(node: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let (config, source) = node.downcast_ref::<DataSourceExec>()?.downcast_to_file_source::<ParquetSource>()?;
    let predicate = source.filter()?;
    if !is_dynamic(&predicate) {
        return None;
    }
    // The keys that a join needs come first: what else is asked of a row is then asked of few. Push-down repeats what the table was asked.
    let mut parts: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
    for part in split_conjunction(&predicate) {
        if !parts.contains(part) {
            parts.push(Arc::clone(part));
        }
    }
    let (changing, others) = parts.into_iter().partition(is_dynamic);
    let source = source.with_predicate(conjunction(adaptive(changing, others))).with_pushdown_filters(true);
    Some(DataSourceExec::from_data_source(FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source)).build()))
}

/// Whether a join still has something to say in it.
fn is_dynamic(expr: &Arc<dyn PhysicalExpr>) -> bool {
    DynamicFilterTracking::classify(expr).contains_dynamic_filter()
}
