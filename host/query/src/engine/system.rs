//! The logs as tables: `system.journal`, the events, and `system.queries`, what was asked since the start.
//!
//! **Invariant**: who may not read everybody's entries sees only their own, whatever the statement asks; the journal is read page by
//! page as the statement asks for rows.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::{TableProvider, streaming::StreamingTable};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use lakehouse_journal::{Event, Filter, Journal};
use lakehouse_types::{Actor, Code};

use crate::{
    error::QueryError,
    history::{History, QueryRecord},
};

/// The schema of `system`.
pub(super) const SYSTEM: &str = "system";
const JOURNAL: &str = "journal";
const QUERIES: &str = "queries";
/// Its tables.
pub(super) const LOGS: &[&str] = &[JOURNAL, QUERIES];
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

static QUERY_COLUMNS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        text("id", false),
        text("request_id", false),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        text("state", false),
        text("code", true),
        text("actor", false),
        text("role", false),
        text("profile", false),
        text("statement", true),
        Field::new("rows", DataType::Int64, false),
        Field::new("duration_ms", DataType::Float64, false),
        Field::new("cached", DataType::Boolean, false),
    ]))
});

/// What the tables are of.
#[derive(Clone)]
pub(super) struct Logs {
    pub(super) journal: Journal,
    pub(super) history: Arc<History>,
}

/// Whose entries are seen.
pub(super) enum Whose {
    Everybodys,
    Own(Actor),
}

/// A table of this schema; `None` where it has no such one.
pub(super) fn table(logs: &Logs, whose: Whose, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
    let actor = match whose {
        Whose::Everybodys => None,
        Whose::Own(actor) => Some(actor),
    };
    let (columns, rows): (_, Arc<dyn PartitionStream>) = match name {
        JOURNAL => (&COLUMNS, Arc::new(Events { journal: logs.journal.clone(), filter: Filter { actor, ..Filter::default() } })),
        QUERIES => (&QUERY_COLUMNS, Arc::new(Asked { history: Arc::clone(&logs.history), actor })),
        _ => return Ok(None),
    };
    Ok(Some(Arc::new(StreamingTable::try_new(Arc::clone(columns), vec![rows])?)))
}

/// Queries of everybody, or of one.
struct Asked {
    history: Arc<History>,
    actor: Option<Actor>,
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked")
    }
}

impl PartitionStream for Asked {
    fn schema(&self) -> &SchemaRef {
        &QUERY_COLUMNS
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut asked = self.history.all();
        asked.retain(|query| self.actor.as_ref().is_none_or(|actor| *actor == query.actor));
        let batches = futures::stream::iter([queries(&asked)]);
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&QUERY_COLUMNS), batches))
    }
}

fn queries(asked: &[QueryRecord]) -> Result<RecordBatch> {
    let text = |value: fn(&QueryRecord) -> &str| Arc::new(StringArray::from_iter_values(asked.iter().map(value))) as ArrayRef;
    let maybe = |value: fn(&QueryRecord) -> Option<&str>| Arc::new(asked.iter().map(value).collect::<StringArray>()) as ArrayRef;
    let times = asked.iter().map(|query| query.began_at.timestamp_micros());
    let rows = asked.iter().map(|query| i64::try_from(query.rows).unwrap_or(i64::MAX));
    let columns: Vec<ArrayRef> = vec![
        text(|query| query.id.as_str()),
        text(|query| query.request_id.as_str()),
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
        text(|query| query.state.as_str()),
        maybe(|query| query.code.map(Code::as_str)),
        text(|query| query.actor.as_str()),
        text(|query| query.role),
        text(|query| query.profile.as_ref()),
        maybe(|query| query.statement.as_deref()),
        Arc::new(Int64Array::from_iter_values(rows)),
        Arc::new(Float64Array::from_iter_values(asked.iter().map(|query| query.duration.as_secs_f64() * 1e3))),
        Arc::new(asked.iter().map(|query| Some(query.cached)).collect::<BooleanArray>()),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&QUERY_COLUMNS), columns)?)
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
