//! Answers as Flight data.
//!
//! **Invariant**: a stream that is not whole ends in a status, never in silence: failures after the first batch, and rows that the row limit
//! left out.

use std::{pin::Pin, sync::Arc};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::{FlightData, encode::FlightDataEncoderBuilder, error::FlightError};
use futures::{Stream, StreamExt, stream};
use lakehouse_engine::{Engine, QueryError, Started, format::Plain};
use lakehouse_types::RequestId;
use tonic::Status;

use crate::{admission::Calls, service::Held, status::refused};

/// What `DoGet` answers with.
pub(crate) type Flown = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>>;

/// Encodes an answer on the CPU runtime, a few messages ahead of the client. `held` lasts as long as the stream.
pub(crate) fn of_answer(engine: &Engine, started: Started, calls: Arc<dyn Calls>, request_id: RequestId, held: Held) -> Flown {
    let answer = started.answer;
    let plain = Plain::of(&answer.schema).all_nullable();
    let schema = Arc::clone(plain.schema());
    let outcome = answer.outcome;
    let rows = answer.batches.map(move |batch| {
        let batch = batch.and_then(|batch| plain.batch(&batch))?;
        calls.rows(batch.num_rows() as u64);
        Ok(batch)
    });
    // The last word: whether rows were left out.
    let whole = stream::once(async move {
        match outcome.truncated() {
            true => Some(Err(QueryError::TooManyRows { limit: outcome.rows() })),
            false => None,
        }
    });
    let rows = rows.chain(whole.filter_map(|word| async move { word }));
    let encoded = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .build(rows.map(|batch| batch.map_err(|error: QueryError| FlightError::ExternalError(Box::new(error)))))
        .map(|item| item.map_err(back));
    let flown = engine.on_cpu(encoded.boxed()).map(move |item| {
        let _ = &held;
        item.map_err(|error| refused(&error, &request_id))
    });
    Box::pin(flown)
}

/// One batch that is there already.
pub(crate) fn of_batch(schema: SchemaRef, batch: RecordBatch, held: Held) -> Flown {
    let encoded = FlightDataEncoderBuilder::new().with_schema(schema).build(stream::iter([Ok(batch)]));
    Box::pin(encoded.map(move |item| {
        let _ = &held;
        item.map_err(|_| Status::internal("the answer could not be encoded"))
    }))
}

/// The failure that the encoder passed on, or its own.
fn back(error: FlightError) -> QueryError {
    match error {
        FlightError::ExternalError(error) => match error.downcast::<QueryError>() {
            Ok(error) => *error,
            Err(_) => QueryError::Internal { detail: "an answer could not be read".into() },
        },
        _ => QueryError::Internal { detail: "a batch could not be written as Flight data".into() },
    }
}
