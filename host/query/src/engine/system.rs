//! `system.journal`: the event log as a table.
//!
//! **Invariant**: who may not read everybody's events sees only their own, whatever the statement asks; the log is read page by
//! page as the statement asks for rows.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::{TableProvider, streaming::StreamingTable};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use lakehouse_journal::{Event, Filter, Journal};

use crate::error::QueryError;

/// The schema of `system`.
pub(super) const SYSTEM: &str = "system";
/// Its one table.
pub(super) const JOURNAL: &str = "journal";
/// Events of one batch.
const PAGE: usize = 1_000;

static COLUMNS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        Field::new("seq", DataType::Int64, false),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        text("kind", false),
        text("outcome", false),
        text("actor", false),
        text("role", false),
        text("profile", true),
        text("request_id", false),
        text("dataset", true),
        text("subject", false),
        text("details", true),
    ]))
});

/// The events that `filter` admits.
pub(super) fn journal(journal: Journal, filter: Filter) -> Result<Arc<dyn TableProvider>> {
    let events = Arc::new(Events { journal, filter });
    Ok(Arc::new(StreamingTable::try_new(Arc::clone(&COLUMNS), vec![events])?))
}

struct Events {
    journal: Journal,
    filter: Filter,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

impl PartitionStream for Events {
    fn schema(&self) -> &SchemaRef {
        &COLUMNS
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (journal, filter) = (self.journal.clone(), self.filter.clone());
        let batches = async_stream::try_stream! {
            let mut after = None;
            loop {
                let page = journal.events(&filter, after, PAGE).await.map_err(|fault| QueryError::Rule {
                    relation: "system.journal".to_owned(),
                    fault: Arc::new(fault),
                })?;
                if !page.events.is_empty() {
                    yield batch(&page.events)?;
                }
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        };
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&COLUMNS), Box::pin(batches)))
    }
}

fn batch(events: &[Event]) -> Result<RecordBatch> {
    let text = |value: fn(&Event) -> &str| Arc::new(StringArray::from_iter_values(events.iter().map(value))) as ArrayRef;
    let maybe = |value: fn(&Event) -> Option<&str>| Arc::new(events.iter().map(value).collect::<StringArray>()) as ArrayRef;
    let numbers = events.iter().map(|event| i64::try_from(event.seq).unwrap_or(i64::MAX));
    let times = events.iter().map(|event| event.at.timestamp_micros());
    let details = events.iter().map(|event| (!event.details.is_null()).then(|| event.details.to_string()));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(numbers)),
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
        text(|event| event.kind.as_str()),
        text(|event| match event.outcome {
            lakehouse_journal::Outcome::Done => "done",
            lakehouse_journal::Outcome::Denied => "denied",
            lakehouse_journal::Outcome::Refused => "refused",
        }),
        text(|event| event.actor.as_str()),
        text(|event| &event.role),
        maybe(|event| event.profile.as_ref().map(AsRef::as_ref)),
        text(|event| event.request_id.as_str()),
        maybe(|event| event.dataset.as_ref().map(AsRef::as_ref)),
        text(|event| &event.subject),
        Arc::new(details.collect::<StringArray>()),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&COLUMNS), columns)?)
}
