//! SQL.
//!
//! **Invariant**: a failure before the first rows is an error, not a broken answer; encoding runs on the CPU runtime, a few
//! chunks ahead of the client, and ends when the client leaves. A small answer that was kept is written where it is asked for: the way to
//! another thread and back costs more.

use futures::{StreamExt, stream, stream::BoxStream};
use lakehouse_access::{Action, Caller};
use lakehouse_query::{
    Answer, Described, Listed, Params, QueryCounts, QueryError, QueryRecord, QueryRequest, Started,
    format::{self, Chunks, Format, ProblemText},
};
use lakehouse_types::{DatasetName, QueryId};
use tokio::sync::mpsc;

use crate::{Engine, EngineError};

/// Encoded chunks that wait for the client.
const CHUNKS_AHEAD: usize = 4;

/// How an answer is written.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    pub format: Format,
    /// 64-bit integers in quotes; of JSON and NDJSON.
    pub integers_as_text: bool,
}

/// Told of rows as they are sent.
pub trait RowCount: Send + 'static {
    fn add(&self, rows: u64);
}

impl Engine {
    /// Runs one reading statement as the caller sees the data, under the caller's profile.
    ///
    /// # Errors
    /// When the caller may not query, or the statement cannot be answered; failures after the first batch are in the stream, the end
    /// of the caller's key, or of a grant of it, among them.
    pub async fn query(&self, caller: &Caller, request: QueryRequest) -> Result<Started, EngineError> {
        self.require(caller, Action::Query).await?;
        // The first rows may take their time, too.
        let lease = self.lease(caller);
        let Started { id, mut answer } = match lease.over_work(Box::pin(self.query.query(caller, request))).await {
            Ok(started) => started,
            Err(error) => return Err(self.judged(caller, error).await),
        };
        let mut batches = lease.over(answer.batches);
        let first = match batches.next().await {
            Some(Err(error)) => return Err(error.into()),
            first => first,
        };
        answer.batches = stream::iter(first).chain(batches).boxed();
        Ok(Started { id, answer })
    }

    /// Journals what was refused to those who may not do everything: a name that is not theirs to read, whether or not anything has
    /// it, and a statement that only admins or nobody may run.
    pub(crate) async fn judged(&self, caller: &Caller, error: QueryError) -> EngineError {
        let what = match &error {
            _ if caller.principal.is_admin() => None,
            QueryError::UnknownTable { name, .. } => {
                Some(if could_be_named(name) { format!("read {name}") } else { "read what nothing can be named".to_owned() })
            }
            QueryError::Refused { .. } => Some("run the statement".to_owned()),
            _ => None,
        };
        match what {
            Some(what) => self.denied(caller, &what, error).await,
            None => error.into(),
        }
    }

    /// The same in pages of so many rows; the first of them. The others are had with [`Engine::query_page`].
    ///
    /// # Errors
    /// As [`Engine::query`], for every row; when it is more than the memory of all queries holds.
    pub async fn query_in_pages(&self, caller: &Caller, request: QueryRequest, page_rows: u64) -> Result<Started, EngineError> {
        self.require(caller, Action::Query).await?;
        // All rows are read meanwhile.
        match self.lease(caller).over_work(Box::pin(self.query.query_in_pages(caller, request, page_rows))).await {
            Ok(started) => Ok(started),
            Err(error) => Err(self.judged(caller, error).await),
        }
    }

    /// Rows of an answer in pages, after the first `after`.
    ///
    /// # Errors
    /// When the caller may not query, or nothing of that name is kept for this key under this profile.
    pub async fn query_page(&self, caller: &Caller, id: &QueryId, after: u64, limit: u64) -> Result<Answer, EngineError> {
        self.require(caller, Action::Query).await?;
        Ok(self.query.page(caller, id, after, limit)?)
    }

    /// An answer as bytes, written on the CPU runtime unless it is small and here already.
    ///
    /// # Errors
    /// When the answer does not fit the format.
    pub fn encoded(
        &self,
        mut answer: Answer,
        form: Form,
        problem: ProblemText,
        count: impl RowCount,
    ) -> Result<Chunks, EngineError> {
        let counted = answer.batches.inspect(move |batch| {
            if let Ok(batch) = batch {
                count.add(batch.num_rows() as u64);
            }
        });
        answer.batches = counted.boxed();
        if form.integers_as_text {
            answer = format::with_integers_as_text(answer);
        }
        let is_small = answer.outcome.from_cache() && !matches!(form.format, Format::Parquet);
        let chunks = format::encode(answer, form.format, problem)?;
        Ok(if is_small { chunks } else { self.on_cpu(chunks) })
    }

    /// What a statement would answer with, and what it is to be given; it is planned and not run.
    ///
    /// # Errors
    /// As [`Engine::query`] before it reads anything.
    pub async fn describe_statement(&self, caller: &Caller, sql: String, params: Params) -> Result<Described, EngineError> {
        self.require(caller, Action::Query).await?;
        match self.query.describe(caller, sql, params).await {
            Ok(described) => Ok(described),
            Err(error) => Err(self.judged(caller, error).await),
        }
    }

    /// Relations that the caller may query and `wanted` says yes to by schema, name and kind, in order; with their columns, if asked for.
    ///
    /// # Errors
    /// When the caller may not query, or time runs out.
    pub async fn relations(
        &self,
        caller: &Caller,
        with_columns: bool,
        wanted: impl Fn(&str, &str, &str) -> bool,
    ) -> Result<Vec<Listed>, EngineError> {
        self.require(caller, Action::Query).await?;
        Ok(self.query.relations(caller, with_columns, wanted).await?)
    }

    /// What the metrics show of queries.
    pub fn query_counts(&self) -> QueryCounts {
        self.query.counts()
    }

    /// Queries that run now, the oldest first: the caller's own, everybody's for those who may read the whole journal.
    pub fn running_queries(&self, caller: &Caller) -> Vec<QueryRecord> {
        let mut running = self.query.running();
        running.retain(|query| sees(caller, query));
        running
    }

    /// One query, running or ended.
    ///
    /// # Errors
    /// When it is not known, or another's.
    pub fn query_record(&self, caller: &Caller, id: &QueryId) -> Result<QueryRecord, EngineError> {
        let found = self.query.record(id).filter(|query| sees(caller, query));
        Ok(found.ok_or_else(|| QueryError::UnknownQuery { id: id.clone() })?)
    }

    /// Asks for the end of a query that runs: of one's own, or of any for an admin. Nothing happens to one that has ended.
    ///
    /// # Errors
    /// When it is not known, or another's.
    pub fn cancel_query(&self, caller: &Caller, id: &QueryId) -> Result<QueryRecord, EngineError> {
        let query = self.query_record(caller, id)?;
        if query.actor != caller.principal.name && !caller.principal.is_admin() {
            return Err(QueryError::UnknownQuery { id: id.clone() }.into());
        }
        self.query.cancel(id);
        Ok(query)
    }

    /// Drives a stream on the CPU runtime. A stream that ends without its last word ends in an error, never in silence.
    pub fn on_cpu<T: Send + 'static>(
        &self,
        mut chunks: BoxStream<'static, Result<T, QueryError>>,
    ) -> BoxStream<'static, Result<T, QueryError>> {
        let (send, receive) = mpsc::channel(CHUNKS_AHEAD);
        let patience = self.settings.query.deadline;
        self.cpu.handle().spawn(async move {
            loop {
                let chunk = tokio::select! {
                    // The client has left.
                    () = send.closed() => return,
                    chunk = chunks.next() => chunk,
                };
                let is_last = !matches!(chunk, Some(Ok(_)));
                // A client that reads nothing holds a query no longer than a query may take.
                let sent = send.send_timeout(chunk, patience).await;
                if is_last || sent.is_err() {
                    return;
                }
            }
        });
        stream::unfold(Some(receive), |receive| async move {
            let mut receive = receive?;
            match receive.recv().await {
                Some(Some(Ok(chunk))) => Some((Ok(chunk), Some(receive))),
                Some(Some(Err(error))) => Some((Err(error), None)),
                Some(None) => None,
                None => Some((Err(QueryError::Internal { detail: "the answer was not finished".into() }), None)),
            }
        })
        .boxed()
    }
}

/// Whether a relation may have such a name. Other words, which may be anything that somebody forgot to quote, are not kept.
fn could_be_named(name: &str) -> bool {
    let parts = name.split('.').map(|part| part.strip_prefix("__raw__").unwrap_or(part));
    parts.map(DatasetName::new).all(|part| part.is_ok())
}

fn sees(caller: &Caller, query: &QueryRecord) -> bool {
    query.actor == caller.principal.name || caller.principal.may(Action::ReadJournal)
}
