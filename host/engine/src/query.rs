//! SQL.
//!
//! **Invariant**: a failure before the first rows is an error, not a broken answer; encoding runs on the CPU runtime, a few
//! chunks ahead of the client, and ends when the client leaves.

use futures::{StreamExt, stream};
use lakehouse_access::{Action, Caller};
use lakehouse_query::{
    QueryError, QueryRecord, QueryRequest, Started,
    format::{self, Chunks, Format, ProblemText},
};
use lakehouse_types::QueryId;
use tokio::sync::mpsc;

use crate::{Engine, EngineError};

/// Encoded chunks that wait for the client.
const CHUNKS_AHEAD: usize = 4;

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
        let Started { id, mut answer } = match self.query.query(caller, request).await {
            Ok(started) => started,
            Err(error) => return Err(self.judged(caller, error).await),
        };
        // The first rows may take their time, too.
        let mut batches = self.lease(caller).over(answer.batches);
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
            QueryError::UnknownTable { name, .. } => Some(format!("read {name}")),
            QueryError::Refused { .. } => Some("run the statement".to_owned()),
            _ => None,
        };
        match what {
            Some(what) => self.denied(caller, &what, error).await,
            None => error.into(),
        }
    }

    /// The same, encoded.
    ///
    /// # Errors
    /// As [`Engine::query`]; when the answer does not fit the format.
    pub async fn query_as(
        &self,
        caller: &Caller,
        request: QueryRequest,
        format: Format,
        problem: ProblemText,
        count: impl RowCount,
    ) -> Result<(QueryId, Chunks), EngineError> {
        let Started { id, mut answer } = self.query(caller, request).await?;
        let counted = answer.batches.inspect(move |batch| {
            if let Ok(batch) = batch {
                count.add(batch.num_rows() as u64);
            }
        });
        answer.batches = counted.boxed();
        Ok((id, self.on_cpu(format::encode(answer, format, problem)?)))
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
    fn on_cpu(&self, mut chunks: Chunks) -> Chunks {
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
                Some(Some(Ok(bytes))) => Some((Ok(bytes), Some(receive))),
                Some(Some(Err(error))) => Some((Err(error), None)),
                Some(None) => None,
                None => Some((Err(QueryError::Internal { detail: "the answer was not finished".into() }), None)),
            }
        })
        .boxed()
    }
}

fn sees(caller: &Caller, query: &QueryRecord) -> bool {
    query.actor == caller.principal.name || caller.principal.may(Action::ReadJournal)
}
