//! The calls of Flight SQL.
//!
//! **Invariant**: each begins with [`Service::enter`], which knows the caller, before it looks at what is asked.

mod calls;
mod parameters; // of prepared statements

use std::{fmt, sync::Arc};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, IpcMessage, SchemaAsIpc, Ticket, sql::ProstMessageExt};
use bytes::Bytes;
use lakehouse_engine::{Caller, Described, Engine, QueryRequest, format::Plain};
use lakehouse_types::{Code, RequestId};
use prost::Message;
use tonic::{Request, Response, Status, metadata::MetadataMap};

use crate::{
    admission::{self, Calls},
    catalog::CatalogFailure,
    handle::Statement,
    rows::{self, Flown},
    status::{REQUEST_ID, refused, told},
};

/// The query id's key in the answer of `DoGet`.
const QUERY_ID: &str = "x-query-id";

/// Held until an answer has ended.
pub(crate) type Held = Box<dyn Send + Sync>;

/// Answers Flight SQL calls with the engine.
#[derive(Clone)]
pub(crate) struct Service {
    engine: Arc<Engine>,
    calls: Arc<dyn Calls>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

/// A call that was let in.
struct Entered {
    caller: Caller,
    held: Held,
}

impl Entered {
    fn request_id(&self) -> &RequestId {
        &self.caller.request_id
    }
}

impl Service {
    pub(crate) fn new(engine: Arc<Engine>, calls: Arc<dyn Calls>) -> Self {
        Self { engine, calls }
    }

    async fn enter(&self, method: &'static str, metadata: &MetadataMap) -> Result<Entered, Status> {
        let held = self.calls.began(method);
        let request_id = admission::request_id(metadata);
        match admission::admit(&self.engine, metadata, &request_id).await {
            Ok(caller) => Ok(Entered { caller, held }),
            Err(status) => {
                self.calls.answered(method, status.code());
                Err(status)
            }
        }
    }

    /// Counts what a call came to, and names the request in its answer.
    fn leave<T>(&self, method: &'static str, request_id: &RequestId, done: Result<T, Status>) -> Result<Response<T>, Status> {
        self.calls.answered(method, done.as_ref().map_or_else(Status::code, |_| tonic::Code::Ok));
        let mut response = Response::new(done?);
        if let Ok(id) = request_id.as_str().parse() {
            response.metadata_mut().insert(REQUEST_ID, id);
        }
        Ok(response)
    }

    /// What a statement would answer with, its columns as they will be sent.
    async fn described(&self, caller: &Caller, statement: &Statement) -> Result<Described, Status> {
        let described = self.engine.describe_statement(caller, statement.sql.clone(), statement.params()).await;
        let described = described.map_err(|error| refused(&error, &caller.request_id))?;
        let schema = Arc::clone(Plain::of(&described.schema).all_nullable().schema());
        Ok(Described { schema, ..described })
    }

    /// Runs a statement; its first rows are there when this returns.
    async fn fly(
        &self,
        method: &'static str,
        entered: Entered,
        statement: Result<Statement, Status>,
    ) -> Result<Response<Flown>, Status> {
        let Entered { caller, held } = entered;
        let request_id = caller.request_id.clone();
        let run = async {
            let statement = statement?;
            let request = QueryRequest { params: statement.params(), sql: statement.sql, ..QueryRequest::default() };
            self.engine.query(&caller, request).await.map_err(|error| refused(&error, &request_id))
        };
        let started = run.await;
        let query_id = started.as_ref().ok().map(|started| started.id.clone());
        let flown =
            started.map(|started| rows::of_answer(&self.engine, started, Arc::clone(&self.calls), request_id.clone(), held));
        let mut response = self.leave(method, &request_id, flown)?;
        if let Some(id) = query_id.and_then(|id| id.as_str().parse().ok()) {
            response.metadata_mut().insert(QUERY_ID, id);
        }
        Ok(response)
    }

    /// Says where a catalog's answer is: at the very command that was asked.
    async fn flight_of(
        &self,
        method: &'static str,
        command: impl ProstMessageExt + Send,
        schema: Option<SchemaRef>,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let entered = self.enter(method, request.metadata()).await?;
        let ticket = Bytes::from(command_bytes(&command));
        let info = flight_info(ticket, schema.as_deref(), request.into_inner());
        self.leave(method, entered.request_id(), info)
    }

    /// An answer without rows.
    async fn nothing(
        &self,
        method: &'static str,
        schema: SchemaRef,
        request: Request<Ticket>,
    ) -> Result<Response<Flown>, Status> {
        let entered = self.enter(method, request.metadata()).await?;
        self.fetched(method, entered, Ok(RecordBatch::new_empty(schema)))
    }

    /// What nobody may do here, told to whoever may come in.
    async fn refuse<T>(&self, method: &'static str, metadata: &MetadataMap, what: &str) -> Result<T, Status> {
        let entered = self.enter(method, metadata).await?;
        let code = Code::StatementRefused;
        let status = told(code, code.kind(), what, entered.request_id());
        self.calls.answered(method, status.code());
        Err(status)
    }

    fn fetched(
        &self,
        method: &'static str,
        entered: Entered,
        batch: Result<RecordBatch, CatalogFailure>,
    ) -> Result<Response<Flown>, Status> {
        let request_id = entered.request_id().clone();
        let flown = match batch {
            Ok(batch) => Ok(rows::of_batch(batch.schema(), batch, entered.held)),
            Err(CatalogFailure::Engine(error)) => Err(refused(error.as_ref(), &request_id)),
            Err(CatalogFailure::Encoding) => {
                Err(told(Code::Internal, Code::Internal.kind(), "the catalog could not be written as Arrow", &request_id))
            }
        };
        self.leave(method, &request_id, flown)
    }
}

fn command_bytes(command: &impl ProstMessageExt) -> Vec<u8> {
    command.as_any().encode_to_vec()
}

fn flight_info(ticket: Bytes, schema: Option<&Schema>, descriptor: FlightDescriptor) -> Result<FlightInfo, Status> {
    let info = FlightInfo::new()
        .with_descriptor(descriptor)
        .with_endpoint(FlightEndpoint::new().with_ticket(Ticket { ticket }))
        .with_total_records(-1)
        .with_total_bytes(-1);
    match schema {
        Some(schema) => info.try_with_schema(schema).map_err(|_| Status::internal("the schema could not be encoded")),
        None => Ok(info),
    }
}

fn schema_bytes(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let message: Result<IpcMessage, ArrowError> = SchemaAsIpc::new(schema, &options).try_into();
    message.map(|IpcMessage(bytes)| bytes).map_err(|_| Status::internal("the schema could not be encoded"))
}
