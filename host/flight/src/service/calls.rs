//! The calls, one by one.

use std::pin::Pin;

use arrow_flight::{
    Action, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse, Ticket,
    sql::{
        ActionBeginTransactionRequest, ActionBeginTransactionResult, ActionClosePreparedStatementRequest,
        ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, CommandGetCatalogs, CommandGetCrossReference,
        CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys, CommandGetPrimaryKeys, CommandGetSqlInfo,
        CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo, CommandPreparedStatementQuery,
        CommandPreparedStatementUpdate, CommandStatementIngest, CommandStatementQuery, CommandStatementSubstraitPlan,
        CommandStatementUpdate, DoPutPreparedStatementResult, SqlInfo, TicketStatementQuery,
        server::{FlightSqlService, PeekableFlightDataStream},
    },
};
use bytes::Bytes;
use futures::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::{Service, command_bytes, flight_info, parameters, schema_bytes};
use crate::{
    admission,
    catalog::{self, CatalogFailure},
    handle::Statement,
    info::{SQL_INFO, TYPES},
    rows::Flown,
};

const WRITES: &str = "only reading statements are answered here; write through POST /ingest/file";

type Handshakes = Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>;

#[tonic::async_trait]
impl FlightSqlService for Service {
    type FlightService = Self;

    async fn do_handshake(&self, request: Request<Streaming<HandshakeRequest>>) -> Result<Response<Handshakes>, Status> {
        const METHOD: &str = "Handshake";
        let _held = self.calls.began(METHOD);
        let request_id = admission::request_id(request.metadata());
        let token = admission::shake_hands(&self.engine, request.metadata(), &request_id).await;
        let answer = token.map(|token| {
            let payload = HandshakeResponse { protocol_version: 0, payload: Bytes::copy_from_slice(token.as_bytes()) };
            (Box::pin(futures::stream::iter([Ok(payload)])) as Handshakes, token)
        });
        let (answer, token) = match answer {
            Ok((answer, token)) => (Ok(answer), Some(token)),
            Err(status) => (Err(status), None),
        };
        let mut response = self.leave(METHOD, &request_id, answer)?;
        if let Some(token) = token {
            response.metadata_mut().insert("authorization", token);
        }
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        const METHOD: &str = "GetFlightInfo.Statement";
        let entered = self.enter(METHOD, request.metadata()).await?;
        let descriptor = request.into_inner();
        let info = async {
            let statement = Statement::new(query.query);
            let described = self.described(&entered.caller, &statement).await?;
            let ticket = TicketStatementQuery { statement_handle: statement.encode()? };
            flight_info(command_bytes(&ticket).into(), Some(&described.schema), descriptor)
        };
        let info = info.await;
        self.leave(METHOD, entered.request_id(), info)
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, request: Request<Ticket>) -> Result<Response<Flown>, Status> {
        const METHOD: &str = "DoGet.Statement";
        let entered = self.enter(METHOD, request.metadata()).await?;
        self.fly(METHOD, entered, Statement::decode(&ticket.statement_handle)).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        const METHOD: &str = "CreatePreparedStatement";
        let entered = self.enter(METHOD, request.metadata()).await?;
        let prepared = async {
            let statement = Statement::new(query.query);
            let described = self.described(&entered.caller, &statement).await?;
            Ok(ActionCreatePreparedStatementResult {
                prepared_statement_handle: statement.encode()?,
                dataset_schema: schema_bytes(&described.schema)?,
                parameter_schema: schema_bytes(&parameters::schema(&described.params))?,
            })
        };
        let prepared = prepared.await;
        Ok(self.leave(METHOD, entered.request_id(), prepared)?.into_inner())
    }

    /// Nothing is kept of it.
    async fn do_action_close_prepared_statement(
        &self,
        _query: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        const METHOD: &str = "ClosePreparedStatement";
        let entered = self.enter(METHOD, request.metadata()).await?;
        self.leave(METHOD, entered.request_id(), Ok(())).map(Response::into_inner)
    }

    /// Answers with a new handle, which holds the parameters.
    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        const METHOD: &str = "DoPut.PreparedStatement";
        let entered = self.enter(METHOD, request.metadata()).await?;
        let bound = async {
            let statement = Statement::decode(&query.prepared_statement_handle)?;
            let params = parameters::read(request.into_inner(), self.engine.settings().server.body_idle_timeout).await?;
            let prepared_statement_handle = Some(Statement { params, ..statement }.encode()?);
            Ok(DoPutPreparedStatementResult { prepared_statement_handle })
        };
        let bound = bound.await;
        Ok(self.leave(METHOD, entered.request_id(), bound)?.into_inner())
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        const METHOD: &str = "GetFlightInfo.PreparedStatement";
        let entered = self.enter(METHOD, request.metadata()).await?;
        let descriptor = request.into_inner();
        let info = async {
            let statement = Statement::decode(&query.prepared_statement_handle)?;
            let described = self.described(&entered.caller, &statement).await?;
            flight_info(command_bytes(&query).into(), Some(&described.schema), descriptor)
        };
        let info = info.await;
        self.leave(METHOD, entered.request_id(), info)
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<Flown>, Status> {
        const METHOD: &str = "DoGet.PreparedStatement";
        let entered = self.enter(METHOD, request.metadata()).await?;
        self.fly(METHOD, entered, Statement::decode(&query.prepared_statement_handle)).await
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.flight_of("GetFlightInfo.Catalogs", query, Some(query.into_builder().schema()), request).await
    }

    async fn do_get_catalogs(&self, query: CommandGetCatalogs, request: Request<Ticket>) -> Result<Response<Flown>, Status> {
        const METHOD: &str = "DoGet.Catalogs";
        let entered = self.enter(METHOD, request.metadata()).await?;
        self.fetched(METHOD, entered, catalog::catalogs(query).map_err(Into::into))
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = query.clone().into_builder().schema();
        self.flight_of("GetFlightInfo.Schemas", query, Some(schema), request).await
    }

    async fn do_get_schemas(&self, query: CommandGetDbSchemas, request: Request<Ticket>) -> Result<Response<Flown>, Status> {
        const METHOD: &str = "DoGet.Schemas";
        let entered = self.enter(METHOD, request.metadata()).await?;
        let batch = catalog::schemas(&self.engine, &entered.caller, query).await;
        self.fetched(METHOD, entered, batch)
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = query.clone().into_builder().schema();
        self.flight_of("GetFlightInfo.Tables", query, Some(schema), request).await
    }

    async fn do_get_tables(&self, query: CommandGetTables, request: Request<Ticket>) -> Result<Response<Flown>, Status> {
        const METHOD: &str = "DoGet.Tables";
        let entered = self.enter(METHOD, request.metadata()).await?;
        let batch = catalog::tables(&self.engine, &entered.caller, query).await;
        self.fetched(METHOD, entered, batch)
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.flight_of("GetFlightInfo.TableTypes", query, Some(query.into_builder().schema()), request).await
    }

    async fn do_get_table_types(&self, query: CommandGetTableTypes, request: Request<Ticket>) -> Result<Response<Flown>, Status> {
        const METHOD: &str = "DoGet.TableTypes";
        let entered = self.enter(METHOD, request.metadata()).await?;
        self.fetched(METHOD, entered, catalog::table_types(query).map_err(Into::into))
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = SQL_INFO.as_ref().ok().map(|info| query.clone().into_builder(info).schema());
        self.flight_of("GetFlightInfo.SqlInfo", query, schema, request).await
    }

    async fn do_get_sql_info(&self, query: CommandGetSqlInfo, request: Request<Ticket>) -> Result<Response<Flown>, Status> {
        const METHOD: &str = "DoGet.SqlInfo";
        let entered = self.enter(METHOD, request.metadata()).await?;
        let info = SQL_INFO.as_ref().map_err(|_| CatalogFailure::Encoding);
        self.fetched(METHOD, entered, info.and_then(|info| Ok(query.into_builder(info).build()?)))
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = TYPES.as_ref().ok().map(|types| query.into_builder(types).schema());
        self.flight_of("GetFlightInfo.XdbcTypeInfo", query, schema, request).await
    }

    async fn do_get_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<Ticket>,
    ) -> Result<Response<Flown>, Status> {
        const METHOD: &str = "DoGet.XdbcTypeInfo";
        let entered = self.enter(METHOD, request.metadata()).await?;
        let types = TYPES.as_ref().map_err(|_| CatalogFailure::Encoding);
        self.fetched(METHOD, entered, types.and_then(|types| Ok(query.into_builder(types).build()?)))
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.flight_of("GetFlightInfo.PrimaryKeys", query, Some(catalog::primary_keys()), request).await
    }

    async fn do_get_primary_keys(
        &self,
        _query: CommandGetPrimaryKeys,
        request: Request<Ticket>,
    ) -> Result<Response<Flown>, Status> {
        self.nothing("DoGet.PrimaryKeys", catalog::primary_keys(), request).await
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.flight_of("GetFlightInfo.ExportedKeys", query, Some(catalog::foreign_keys()), request).await
    }

    async fn do_get_exported_keys(
        &self,
        _query: CommandGetExportedKeys,
        request: Request<Ticket>,
    ) -> Result<Response<Flown>, Status> {
        self.nothing("DoGet.ExportedKeys", catalog::foreign_keys(), request).await
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.flight_of("GetFlightInfo.ImportedKeys", query, Some(catalog::foreign_keys()), request).await
    }

    async fn do_get_imported_keys(
        &self,
        _query: CommandGetImportedKeys,
        request: Request<Ticket>,
    ) -> Result<Response<Flown>, Status> {
        self.nothing("DoGet.ImportedKeys", catalog::foreign_keys(), request).await
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.flight_of("GetFlightInfo.CrossReference", query, Some(catalog::foreign_keys()), request).await
    }

    async fn do_get_cross_reference(
        &self,
        _query: CommandGetCrossReference,
        request: Request<Ticket>,
    ) -> Result<Response<Flown>, Status> {
        self.nothing("DoGet.CrossReference", catalog::foreign_keys(), request).await
    }

    async fn do_put_statement_update(
        &self,
        _ticket: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        self.refuse("DoPut.StatementUpdate", request.metadata(), WRITES).await
    }

    async fn do_put_prepared_statement_update(
        &self,
        _query: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        self.refuse("DoPut.PreparedStatementUpdate", request.metadata(), WRITES).await
    }

    async fn do_put_statement_ingest(
        &self,
        _ticket: CommandStatementIngest,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        self.refuse("DoPut.StatementIngest", request.metadata(), WRITES).await
    }

    async fn get_flight_info_substrait_plan(
        &self,
        _query: CommandStatementSubstraitPlan,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.refuse("GetFlightInfo.SubstraitPlan", request.metadata(), "Substrait plans are not read; send SQL").await
    }

    async fn do_action_begin_transaction(
        &self,
        _query: ActionBeginTransactionRequest,
        request: Request<Action>,
    ) -> Result<ActionBeginTransactionResult, Status> {
        self.refuse("BeginTransaction", request.metadata(), "there are no transactions: each statement reads one version").await
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}
