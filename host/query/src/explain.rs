//! Plans as text.
//!
//! **Invariant**: a governed relation shows its name and nothing of its inside, to anyone. Who is no admin sees operators without
//! files, statistics or measurements.

use std::{fmt, sync::Arc};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};

/// A small table of text, as a stream.
pub(crate) fn table(columns: &[&str], rows: &[Vec<String>]) -> Result<SendableRecordBatchStream> {
    let fields: Vec<Field> = columns.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let arrays: Vec<ArrayRef> = (0..columns.len())
        .map(|at| Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row[at].as_str()))) as ArrayRef)
        .collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter([Ok(batch)]))))
}

/// The rows of EXPLAIN.
pub(crate) fn plans(logical: &LogicalPlan, physical: &Arc<dyn ExecutionPlan>, admin: bool) -> Vec<Vec<String>> {
    let physical =
        if admin { DisplayableExecutionPlan::new(physical.as_ref()).indent(false).to_string() } else { outline(physical) };
    vec![
        vec!["logical_plan".to_owned(), logical.display_indent().to_string()],
        vec!["physical_plan".to_owned(), physical.trim_end().to_owned()],
    ]
}

/// The row of EXPLAIN ANALYZE, after the plan has run.
pub(crate) fn measured(physical: &Arc<dyn ExecutionPlan>) -> Vec<Vec<String>> {
    let text = DisplayableExecutionPlan::with_metrics(physical.as_ref()).indent(false).to_string();
    vec![vec!["plan_with_metrics".to_owned(), text.trim_end().to_owned()]]
}

/// Operators with their expressions; of what they read, only the kind.
fn outline(plan: &Arc<dyn ExecutionPlan>) -> String {
    let mut text = String::new();
    let mut waiting = vec![(Arc::clone(plan), 0usize)];
    while let Some((node, depth)) = waiting.pop() {
        let children = node.children();
        let line = if children.is_empty() && node.name() != "GovernExec" {
            node.name().to_owned()
        } else {
            Line(node.as_ref()).to_string()
        };
        text.push_str(&"  ".repeat(depth));
        text.push_str(&line);
        text.push('\n');
        waiting.extend(children.into_iter().rev().map(|child| (Arc::clone(child), depth + 1)));
    }
    text
}

struct Line<'a>(&'a dyn ExecutionPlan);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_as(DisplayFormatType::Default, f)
    }
}
